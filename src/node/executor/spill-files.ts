import { closeSync, mkdirSync, openSync, readSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { ShoalError } from '../../base/index.ts'
import type { SpillFile } from '../../rdd/index.ts'

/** The free space of the disk is looked at after so many bytes. */
const LOOK_EVERY_BYTES = 64 * 1024 * 1024

export interface SpillFilesOptions {
  /** Where files are made; emptied when the peer starts. */
  directory: string
  /** Begins the names of this thread's files. */
  prefix: string
  /** Free space that is left to others. */
  reserveBytes: number
  /** Named in errors. */
  peer: string
}

/**
 * Files that tasks write for want of memory, read and written without waiting: a worker has nothing else to do meanwhile.
 * Scratch files lose their name at once where the system allows it, so they go with the thread, however it ends.
 */
export class SpillFiles {
  readonly #options: SpillFilesOptions
  #made = 0
  #unlooked = LOOK_EVERY_BYTES

  constructor(options: SpillFilesOptions) {
    this.#options = options
  }

  /** @param name Of a file that is kept; a scratch file needs none. */
  open(name?: string): SpillFile {
    const path = join(this.#options.directory, name ?? `${this.#options.prefix}-${this.#made++}.spill`)
    const descriptor = this.#try('open', () => {
      mkdirSync(this.#options.directory, { recursive: true })
      return openSync(path, 'w+')
    })
    const hasName = name !== undefined || !removed(path)
    return this.#file(path, descriptor, hasName)
  }

  #file(path: string, descriptor: number, hasName: boolean): SpillFile {
    let size = 0
    let isOpen = true
    const close = (remove: boolean): void => {
      if (!isOpen) return
      isOpen = false
      closeSync(descriptor)
      if (remove && hasName) removed(path)
    }
    return {
      append: bytes => {
        const start = size
        this.#look(bytes.length)
        this.#try('write', () => {
          for (let at = 0; at < bytes.length;) {
            const written = writeSync(descriptor, bytes, at, bytes.length - at, start + at)
            at += written
          }
        })
        size = start + bytes.length
        return start
      },
      read: (start, end) =>
        this.#try('read', () => {
          const bytes = new Uint8Array(end - start)
          for (let at = 0; at < bytes.length;) {
            const read = readSync(descriptor, bytes, at, bytes.length - at, start + at)
            if (read === 0) throw new Error(`${path} ends before byte ${end}`)
            at += read
          }
          return bytes
        }),
      seal: () => {
        close(false)
        return path
      },
      close: () => close(true),
    }
  }

  #look(bytes: number): void {
    this.#unlooked += bytes
    if (this.#unlooked < LOOK_EVERY_BYTES) return
    this.#unlooked = 0
    const { bavail, bsize } = this.#try('statfs', () => statfsSync(this.#options.directory))
    const freeBytes = bavail * bsize
    if (freeBytes < this.#options.reserveBytes) throw diskFull(this.#options.peer, freeBytes)
  }

  #try<T>(operation: string, act: () => T): T {
    try {
      return act()
    } catch (error) {
      throw spillFailure(this.#options.peer, operation, error)
    }
  }
}

/** DISK_FULL or DISK_FAILED for what the system said. */
export function spillFailure(peer: string, operation: string, error: unknown): ShoalError {
  if (error instanceof ShoalError) return error
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT') return diskFull(peer, 0, error)
  const reason = String(error)
  return new ShoalError(
    'DISK_FAILED',
    { peer, operation: `spill ${operation}`, reason },
    `a task could not ${operation} what it has no memory for: ${reason}`,
    { cause: error },
  )
}

function diskFull(peer: string, freeBytes: number, cause?: unknown): ShoalError<'DISK_FULL'> {
  return new ShoalError(
    'DISK_FULL',
    { peer, freeBytes },
    `the disk has no room for what tasks cannot hold in memory (${Math.floor(freeBytes / 2 ** 20)} MiB free): free space, give tasks more memory, or use more peers`,
    { cause },
  )
}

function removed(path: string): boolean {
  try {
    rmSync(path, { force: true })
    return true
  } catch {
    // Open files keep their name on some systems; it is removed when the file is closed, or when the peer starts.
    return false
  }
}
