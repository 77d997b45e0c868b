import { SingleBar } from 'cli-progress'
import { isWatched } from './terminal.ts'
import { humanBytes, humanMs } from './units.ts'

const BAR_CHARS = 24

export interface ByteProgressOptions {
  label: string
  totalBytes?: number
  /** Shows also how many files are done. */
  totalFiles?: number
  /** Show nothing. */
  quiet?: boolean
}

/** How many bytes went by, how fast, and how long the rest will take: one line on a terminal, nothing elsewhere. */
export class ByteProgress implements Disposable {
  readonly #options: ByteProgressOptions
  readonly #startedMs = performance.now()
  readonly #bar: SingleBar | undefined
  #bytes = 0
  #files = 0
  #skippedBytes = 0

  constructor(options: ByteProgressOptions) {
    this.#options = options
    if (options.quiet === true || !isWatched()) return
    this.#bar = new SingleBar({
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
      linewrap: true,
      gracefulExit: false,
      format: () => this.#line(),
    })
    this.#bar.start(options.totalBytes ?? 0, 0)
  }

  /**
   * Takes negative numbers too: bytes that have to go by again.
   * @param before they were there from an earlier attempt, and say nothing about the speed
   */
  add(bytes: number, before = false): void {
    if (before) this.#skippedBytes += bytes
    this.#bytes += bytes
    this.#bar?.update(this.#bytes)
  }

  fileDone(): void {
    this.#files++
    this.#bar?.updateETA()
  }

  /** Passes bytes through and counts them. */
  async *measure(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of source) {
      this.add(chunk.byteLength)
      yield chunk
    }
  }

  [Symbol.dispose](): void {
    this.#bar?.stop()
  }

  #line(): string {
    const { label, totalBytes, totalFiles } = this.#options
    const elapsedMs = performance.now() - this.#startedMs
    const line = byteLine(label, this.#bytes, totalBytes, elapsedMs, this.#skippedBytes)
    return totalFiles === undefined ? line : `${line}, file ${this.#files} of ${totalFiles}`
  }
}

/** 'moby.txt ━━━━━━╌╌╌╌ 60% 1.2 MiB of 2.0 MiB, 10.0 MiB/s, 80 ms left'. */
export function byteLine(
  label: string,
  bytes: number,
  totalBytes: number | undefined,
  elapsedMs: number,
  skippedBytes = 0,
): string {
  const perMs = elapsedMs > 0 ? Math.max(0, bytes - skippedBytes) / elapsedMs : 0
  const speed = `${humanBytes(Math.round(perMs * 1_000))}/s`
  if (totalBytes === undefined || totalBytes === 0) return `${label} ${humanBytes(bytes)}, ${speed}`
  const share = Math.min(1, bytes / totalBytes)
  const left = perMs > 0 && share < 1 ? `, ${humanMs((totalBytes - bytes) / perMs)} left` : ''
  return `${label} ${drawBar(share)} ${Math.floor(share * 100)}% ${humanBytes(bytes)} of ${humanBytes(totalBytes)}, ${speed}${left}`
}

export function drawBar(share: number): string {
  const full = Math.round(share * BAR_CHARS)
  return '━'.repeat(full) + '╌'.repeat(BAR_CHARS - full)
}
