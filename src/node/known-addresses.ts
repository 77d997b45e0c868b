import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Logger } from '../base/index.ts'
import { textOf } from './net/secret-file.ts'

const FILE = 'addresses.json'
/** Enough to find one living peer of any mesh; the rest comes from that one. */
const ADDRESSES_MAX = 256

const record = z.array(z.string().max(1_024)).max(ADDRESSES_MAX)

/**
 * Where the other members listened when this peer last ran. Its log says so too, but not before a leader has been found
 * who commits it: without this a peer that starts again alone would not know whom to ask. Only a hint: lost or damaged,
 * it is as if it were empty.
 */
export class KnownAddresses implements AsyncDisposable {
  readonly #path: string
  readonly #log: Logger
  #saved = ''
  #wanted = ''
  #writing: Promise<void> | undefined

  constructor(directory: string, log: Logger) {
    this.#path = join(directory, FILE)
    this.#log = log
  }

  async read(): Promise<string[]> {
    try {
      const parsed = record.safeParse(JSON.parse(await readFile(this.#path, 'utf8')))
      return parsed.success ? parsed.data : []
    } catch {
      return []
    }
  }

  /** Returns at once; while one write is under way only the newest that comes is kept. */
  save(addresses: readonly string[]): void {
    // None are no improvement on those of the last time.
    if (addresses.length === 0) return
    this.#wanted = JSON.stringify(addresses.slice(0, ADDRESSES_MAX))
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing
  }

  async #write(): Promise<void> {
    while (this.#wanted !== this.#saved) {
      const text = this.#wanted
      try {
        await writeFile(`${this.#path}.new`, text, { mode: 0o600 })
        await rename(`${this.#path}.new`, this.#path)
      } catch (error) {
        this.#log.warn({ path: this.#path, reason: textOf(error) }, 'addresses of the others were not kept')
      }
      this.#saved = text
    }
  }
}
