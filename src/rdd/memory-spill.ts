import { joined } from './codec/index.ts'
import type { SpillFile } from './task.ts'

/** Spill files of a runner that has no disk of its own: bytes in memory. */
export class MemorySpill {
  readonly #sealed = new Map<string, Uint8Array>()
  #opened = 0
  #openNow = 0

  /** Files that nobody has closed. */
  get openFiles(): number {
    return this.#openNow
  }

  open(): SpillFile {
    const chunks: Uint8Array[] = []
    let size = 0
    let isOpen = true
    const name = String(this.#opened++)
    this.#openNow++
    const close = (): void => {
      if (isOpen) this.#openNow--
      isOpen = false
      chunks.length = 0
    }
    const all = (): Uint8Array => {
      const bytes = joined(chunks, size)
      chunks.splice(0, chunks.length, bytes)
      return bytes
    }
    return {
      append(bytes) {
        const start = size
        chunks.push(bytes)
        size += bytes.length
        return start
      },
      read: (start, end) => all().subarray(start, end),
      seal: () => {
        this.#sealed.set(name, all())
        close()
        return name
      },
      close,
    }
  }

  /** Bytes of a sealed file, which is gone then. */
  takeSealed(name: string): Uint8Array {
    const bytes = this.#sealed.get(name)
    if (bytes === undefined) throw new Error(`no file ${name} was sealed`)
    this.#sealed.delete(name)
    return bytes
  }
}
