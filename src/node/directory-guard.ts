import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ShoalError } from '../base/index.ts'
import { PEER } from './config.ts'
import type { DataDirectory } from './data-directory.ts'
import { IDENTITY_FILE } from './net/identity.ts'
import { isErrno } from './net/secret-file.ts'

/** The directory itself and what stays the same file in it as long as the peer runs. */
const WATCHED = ['.', 'meta', 'blocks', IDENTITY_FILE] as const

/**
 * Looks whether the data directory is still the one that was opened. Files that are open can be written and synced long after
 * somebody removed them: a peer would acknowledge what is gone with its process.
 */
export class DirectoryGuard implements Disposable {
  readonly #path: string
  readonly #known: ReadonlyMap<string, string>
  readonly #timer: NodeJS.Timeout
  readonly lost: Promise<ShoalError<'DATA_DIR_LOST'>>
  #looking = false

  /** Remembers what is there now, and looks again every `everyMs`. */
  static async start(
    { path }: Pick<DataDirectory, 'path'>,
    everyMs: number = PEER.directoryCheckMs,
  ): Promise<DirectoryGuard> {
    const known = await Promise.all(
      WATCHED.map(async name => [name, await identityOf(join(path, name))] as const),
    )
    return new DirectoryGuard(path, new Map(known), everyMs)
  }

  private constructor(path: string, known: ReadonlyMap<string, string>, everyMs: number) {
    this.#path = path
    this.#known = known
    const lost = Promise.withResolvers<ShoalError<'DATA_DIR_LOST'>>()
    this.lost = lost.promise
    this.#timer = setInterval(() => {
      if (this.#looking) return
      this.#looking = true
      void this.look().then(error => {
        this.#looking = false
        if (error !== undefined) lost.resolve(error)
      })
    }, everyMs)
    this.#timer.unref()
  }

  /** What is wrong with the directory; a disk that does not answer is none of it. Never rejects. */
  async look(): Promise<ShoalError<'DATA_DIR_LOST'> | undefined> {
    for (const [name, known] of this.#known) {
      const file = join(this.#path, name)
      try {
        if ((await identityOf(file)) !== known) return dataDirLost(this.#path, `${file} is not what it was`)
      } catch (error) {
        if (isErrno(error, 'ENOENT') || isErrno(error, 'ENOTDIR') || isErrno(error, 'ESTALE'))
          return dataDirLost(this.#path, `${file} is gone`)
      }
    }
    return undefined
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}

/** The same as long as it is the same file, wherever it is moved; numbers may be larger than what a double holds. */
async function identityOf(path: string): Promise<string> {
  const { dev, ino } = await stat(path, { bigint: true })
  return `${dev}:${ino}`
}

function dataDirLost(directory: string, reason: string): ShoalError<'DATA_DIR_LOST'> {
  return new ShoalError(
    'DATA_DIR_LOST',
    { directory, reason },
    `data directory ${directory} was removed or replaced while this peer ran: ${reason}. The peer stops: what it writes would be lost. ` +
      `Put the directory back and start it again, or start it with an empty one as a new peer.`,
  )
}
