import { SingleBar } from 'cli-progress'
import { isWatched } from './terminal.ts'
import { humanBytes, humanMs } from './units.ts'

const BAR_CHARS = 24

/** Passes bytes through and shows how many went by, on a terminal. */
export async function* measured(
  source: AsyncIterable<Uint8Array>,
  options: { label: string; totalBytes?: number },
): AsyncGenerator<Uint8Array, void> {
  if (!isWatched()) {
    yield* source
    return
  }
  const { label, totalBytes } = options
  const startedMs = performance.now()
  const bar = new SingleBar({
    stream: process.stderr,
    clearOnComplete: true,
    hideCursor: true,
    linewrap: true,
    gracefulExit: false,
    format: (_options, { value }) => byteLine(label, value, totalBytes, performance.now() - startedMs),
  })
  let bytes = 0
  bar.start(totalBytes ?? 0, 0)
  try {
    for await (const chunk of source) {
      bytes += chunk.byteLength
      bar.update(bytes)
      yield chunk
    }
  } finally {
    bar.stop()
  }
}

/** 'moby.txt ━━━━━━╌╌╌╌ 60% 1.2 MiB of 2.0 MiB, 10.0 MiB/s, 80 ms left'. */
export function byteLine(
  label: string,
  bytes: number,
  totalBytes: number | undefined,
  elapsedMs: number,
): string {
  const perMs = elapsedMs > 0 ? bytes / elapsedMs : 0
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
