import { hasCode } from '../../base/errors.ts'
import type { FileEntry } from '../../dht/index.ts'
import { attached } from '../attached.ts'
import { ByteProgress } from '../byte-progress.ts'
import { EXIT_FAILED, reportError } from '../error-report.ts'
import { Interrupted } from '../interrupt.ts'
import type { Settings } from '../settings.ts'
import { print, printJson } from '../terminal.ts'
import { consistency, expandAll } from './paths.ts'

/** `shoal fs test` could not find out: neither yes (0) nor no (1). */
export const EXIT_UNKNOWN = 3

export type TestName = 'exists' | 'directory' | 'file' | 'notEmpty' | 'empty'

const TESTS: Record<TestName, (entry: FileEntry) => boolean> = {
  exists: () => true,
  directory: ({ type }) => type === 'directory',
  file: ({ type }) => type === 'file',
  notEmpty: ({ type, sizeBytes, children = 0 }) => (type === 'file' ? sizeBytes : children) > 0,
  empty: ({ type, sizeBytes }) => type === 'file' && sizeBytes === 0,
}

/** `shoal fs test`: says yes with exit code 0, no with 1. All tests must hold. */
export async function testPath(path: string, tests: readonly TestName[], settings: Settings): Promise<void> {
  try {
    const holds = await attached(settings, async (mesh, signal) => {
      const options = { signal, ...consistency(settings) }
      const entry = await mesh.fs.stat(path, options).catch((error: unknown) => {
        if (hasCode(error, 'NOT_FOUND') || hasCode(error, 'NOT_A_DIRECTORY')) return undefined
        throw error
      })
      return entry !== undefined && tests.every(name => TESTS[name](entry))
    })
    if (settings.json) printJson({ path, holds })
    if (!holds) process.exitCode = EXIT_FAILED
  } catch (error) {
    if (error instanceof Interrupted || hasCode(error, 'CONFIG_INVALID')) throw error
    reportError(error, settings)
    process.exitCode = EXIT_UNKNOWN
  }
}

/** `shoal fs checksum`, in the form of `sha256sum`, so that `sha256sum --check` can compare copies. */
export async function showChecksums(
  patterns: readonly string[],
  options: { quiet?: boolean },
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const sums = []
    for (const { path, name, sizeBytes } of await expandAll(mesh, patterns, signal, settings)) {
      using progress = new ByteProgress({
        label: name,
        totalBytes: sizeBytes,
        quiet: options.quiet === true,
      })
      const sum = await mesh.fs.checksum(path, {
        signal,
        ...consistency(settings),
        onBytes: bytes => progress.add(bytes),
      })
      progress[Symbol.dispose]()
      if (settings.json) sums.push(sum)
      else print(`${sum.value}  ${path}`)
    }
    if (settings.json) printJson(sums.length === 1 ? sums[0] : sums)
  })
}
