import { hasCode, toWire, type Logger } from '../base/index.ts'
import type { FileEntry } from '../dht/index.ts'
import { SESSION_FILES } from './config.ts'

export interface SessionSweeperParts {
  files: {
    ls(path: string): Promise<Pick<FileEntry, 'name' | 'path'>[]>
    rm(path: string, options: { recursive: boolean; skipTrash: boolean }): Promise<unknown>
  }
  /** Whether somebody renews that session's lease with this peer; undefined while it does not lead. */
  knows: (session: string) => boolean | undefined
  log: Logger
}

/** While this peer leads: removes the files of sessions whose processes are gone. */
export class SessionSweeper {
  readonly #parts: SessionSweeperParts
  /** Looks in a row at which nobody knew the session. */
  readonly #unknown = new Map<string, number>()
  #timer: NodeJS.Timeout | undefined
  #busy = false

  constructor(parts: SessionSweeperParts) {
    this.#parts = parts
  }

  start(): void {
    this.#timer = setInterval(() => void this.sweep(), SESSION_FILES.sweepEveryMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** One look. */
  async sweep(): Promise<void> {
    const { files, knows, log } = this.#parts
    if (this.#busy) return
    this.#busy = true
    try {
      if (knows('') === undefined) {
        this.#unknown.clear()
        return
      }
      const folders = await files.ls(SESSION_FILES.folder)
      const seen = new Set(folders.map(({ name }) => name))
      for (const session of this.#unknown.keys()) if (!seen.has(session)) this.#unknown.delete(session)
      for (const { name, path } of folders) {
        const looks = knows(name) === false ? (this.#unknown.get(name) ?? 0) + 1 : 0
        this.#unknown.set(name, looks)
        if (looks < SESSION_FILES.sweepsMin) continue
        await files.rm(path, { recursive: true, skipTrash: true })
        log.info({ session: name }, 'files of a session that is gone are removed')
      }
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND'))
        log.debug({ error: toWire(error) }, 'files of sessions were not looked at')
    } finally {
      this.#busy = false
    }
  }
}
