import type { SpillFile } from '../task.ts'

/** The files of one attempt, for what its operators have no memory for, and how much went there. */
export class TaskSpill {
  /** Bytes and rows written, those that were written twice twice. */
  bytes = 0
  records = 0
  readonly #open: () => SpillFile
  readonly #files = new Set<SpillFile>()

  constructor(open: () => SpillFile) {
    this.#open = open
  }

  /** Throws DISK_FULL or DISK_FAILED, as writing and reading do. */
  open(): SpillFile {
    const file = this.#open()
    this.#files.add(file)
    return file
  }

  /** Nobody reads the file any more. */
  close(file: SpillFile): void {
    if (this.#files.delete(file)) file.close()
  }

  /** The attempt is over. */
  closeAll(): void {
    for (const file of this.#files) file.close()
    this.#files.clear()
  }
}
