import fs, { type FileHandle } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'

/** Of what lies below these, syncs fail. */
let failing: readonly string[] = []
let clockOffsetMs = 0

const RealDate = Date

/**
 * Lets this process be given a disk that does not keep what it was told to keep, and a wall clock that somebody sets. Call it
 * before anything else: what was opened or read earlier is right. Monotonic clocks, file times and worker threads stay right.
 */
export function allowFaults(): void {
  const open = fs.open
  fs.open = async (path, ...rest) => withFaults(await open(path, ...rest), String(path))
  // What others have imported by name.
  syncBuiltinESMExports()
  globalThis.Date = class extends RealDate {
    constructor(...parts: unknown[]) {
      // With parts it is a date somebody names, without any it is now.
      super(...((parts.length === 0 ? [now()] : parts) as [number]))
    }

    static override now(): number {
      return now()
    }
  } as DateConstructor
}

function now(): number {
  return RealDate.now() + clockOffsetMs
}

/** Sets the wall clock of this process so far forward, or back. */
export function setClock(offsetMs: number): void {
  clockOffsetMs = offsetMs
}

/** From now on nothing below these paths gets durable: every sync of it ends with EIO. */
export function failSyncs(paths: readonly string[]): void {
  failing = paths
}

function withFaults(handle: FileHandle, path: string): FileHandle {
  for (const operation of ['datasync', 'sync'] as const) {
    const real = handle[operation].bind(handle)
    handle[operation] = async () => {
      if (failing.some(prefix => path.startsWith(prefix))) {
        throw Object.assign(new Error(`EIO: planted failure, ${operation} '${path}'`), { code: 'EIO' })
      }
      await real()
    }
  }
  return handle
}
