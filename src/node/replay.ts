import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { pack } from '../base/index.ts'

export interface ReplayStart {
  base: Uint8Array | undefined
}

export interface ReplayBatch {
  /** Packed: index, term, log time and command of each. */
  entries: Uint8Array
  last: boolean
}

export interface ReplayedCommand {
  index: number
  term: number
  timeMs: number
  data: Uint8Array
}

/** Handed to the other thread in one go: a fraction of a millisecond to copy. */
const BATCH_BYTES = 256 * 1024

/**
 * The replicated state's snapshot after those commands on top of `base` (whose bytes move to the other thread), or of an
 * empty state. The state is the same wherever the log is applied, so this thread need not stop to write its own down.
 */
export async function replay(
  base: Uint8Array | undefined,
  commands: readonly ReplayedCommand[],
  signal: AbortSignal,
): Promise<Uint8Array> {
  signal.throwIfAborted()
  const worker = new Worker(new URL('./snapshot-worker.ts', import.meta.url), {
    workerData: { base } satisfies ReplayStart,
    transferList: base === undefined ? [] : [base.buffer as ArrayBuffer],
    execArgv: [],
  })
  worker.unref()
  try {
    const made = once(worker, 'message', { signal }) as Promise<[Uint8Array]>
    const ended = once(worker, 'exit', { signal }).then(([code]) => {
      throw new Error(`the thread that makes snapshots ended with code ${String(code)}`)
    })
    ended.catch(() => {})
    made.catch(() => {})
    for await (const batch of batchesOf(commands))
      worker.postMessage(batch, [batch.entries.buffer as ArrayBuffer])
    const [snapshot] = await Promise.race([made, ended])
    return snapshot
  } finally {
    await worker.terminate()
  }
}

async function* batchesOf(commands: readonly ReplayedCommand[]): AsyncGenerator<ReplayBatch> {
  let batch: [number, number, number, Uint8Array][] = []
  let bytes = 0
  for (const { index, term, timeMs, data } of commands) {
    batch.push([index, term, timeMs, data])
    bytes += data.byteLength
    if (bytes < BATCH_BYTES) continue
    yield { entries: ownBytes(batch), last: false }
    await nextTurn()
    batch = []
    bytes = 0
  }
  yield { entries: ownBytes(batch), last: true }
}

/** In a buffer of their own, which can move. */
function ownBytes(value: unknown): Uint8Array {
  return new Uint8Array(pack(value))
}
