import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Lines written at once. */
const LINES_PER_WRITE = 10_000

/** A temporary text file of generated lines, the same on every run. */
export class BenchRows implements Disposable {
  readonly path: string
  readonly #directory: string

  private constructor(directory: string, path: string) {
    this.#directory = directory
    this.path = path
  }

  /** @param line The text of line i, from the numbers of one seeded sequence. */
  static async write(lines: number, line: (i: number, random: () => number) => string): Promise<BenchRows> {
    const directory = mkdtempSync(join(tmpdir(), 'shoal-bench-rows-'))
    const path = join(directory, 'rows.csv')
    const random = sequence(1)
    await using file = await open(path, 'w')
    for (let from = 0; from < lines; from += LINES_PER_WRITE) {
      const chunk: string[] = []
      for (let i = from; i < Math.min(from + LINES_PER_WRITE, lines); i++) chunk.push(line(i, random))
      await file.write(`${chunk.join('\n')}\n`)
    }
    return new BenchRows(directory, path)
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

/** Numbers in [0, 1): the generator mulberry32, good enough to spread keys. */
export function sequence(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}
