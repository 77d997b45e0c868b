import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Screen } from '../../scripts/demo/screen.ts'
import { waitFor } from '../support/wait-for.ts'

const DEMO = fileURLToPath(new URL('../../scripts/demo/demo.ts', import.meta.url))
/** A minute is what it promises on two idle cores; a test may find them busy. */
const DEMO_TIMEOUT_MS = 180_000

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-demo-test-'))
})
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

function startDemo() {
  const env = { ...process.env, TMPDIR: folder, NO_COLOR: '1' }
  return spawn(process.execPath, ['--no-warnings', DEMO], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: DEMO_TIMEOUT_MS,
  })
}

/** Processes with an argument inside the demo's temporary folder: its peers. */
async function leftovers(): Promise<string[]> {
  const { stdout } = await promisify(execFile)('ps', ['-eo', 'args'])
  return stdout.split('\n').filter(line => line.includes(folder))
}

test('the demo finds every answer right although it kills the leader and another peer, and leaves nothing', async () => {
  const child = startDemo()
  const ended = once(child, 'close') as Promise<[number | null]>
  const [output, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), ended])
  expect(errors).toBe('')
  expect(code, output).toBe(0)
  expect(output).toMatch(/SIGKILL for p\d .*, the leader/)
  expect(output).toMatch(/p\d leads now/)
  expect(output).toMatch(/SIGKILL for p\d .*: its tasks go/)
  expect(output).toMatch(/✓ 13 of 13 checks hold/)
  expect(output).not.toContain('✗')
  expect(readdirSync(folder)).toEqual([])
  expect(await leftovers()).toEqual([])
})

test('the demo interrupted among its questions ends with 130 and leaves nothing', async () => {
  const child = startDemo()
  const ended = once(child, 'close') as Promise<[number | null]>
  let output = ''
  child.stdout.on('data', chunk => (output += String(chunk)))
  await waitFor('the questions to begin', () => output.includes('Questions') || child.exitCode !== null)
  expect((await leftovers()).length).toBeGreaterThan(4)
  child.kill('SIGINT')
  const [code] = await ended
  expect(code, output).toBe(130)
  expect(readdirSync(folder)).toEqual([])
  expect(await leftovers()).toEqual([])
})

test('an answer that differs is shown with both sides and counted', () => {
  const lines: string[] = []
  const write = vi.spyOn(process.stdout, 'write').mockImplementation(chunk => lines.push(String(chunk)) > 0)
  const screen = new Screen()
  try {
    screen.check('same', [1, [2]], [1, [2]])
    screen.check('other', new Map([['the', 3]]), new Map([['the', 4]]))
  } finally {
    write.mockRestore()
  }
  expect([screen.checks, screen.differences]).toEqual([2, 1])
  expect(lines.join('')).toMatch(/✓.* same\n[^]*✗.* other: NOT SO\n[^]*\["the",3\][^]*\["the",4\]/)
})
