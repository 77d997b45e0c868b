#!/usr/bin/env node
// Plain JavaScript on purpose: an older Node must be able to read this file and say what it needs.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 24 || (major === 24 && minor < 12)) {
  console.error(`shoal needs Node 24.12 or newer; this is Node ${process.versions.node}.`)
  process.exit(1)
}
// Halves the time until a command begins: compiled code is kept where only this user writes.
const { enableCompileCache } = await import('node:module')
const { homedir } = await import('node:os')
enableCompileCache(
  process.env.NODE_COMPILE_CACHE ?? `${process.env.XDG_CACHE_HOME ?? `${homedir()}/.cache`}/shoal`,
)

const { main } = await import('../src/cli/main.ts')
await main(process.argv.slice(2))
