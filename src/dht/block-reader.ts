import { createHash, type Hash } from 'node:crypto'
import {
  hasCode,
  raceAbort,
  ShoalError,
  sleep,
  withDeadline,
  type AbortOptions,
  type PeerId,
} from '../base/index.ts'
import type { FileOptions } from './config.ts'
import { forget, type FileServicePorts } from './file-ports.ts'
import { HedgePolicy, type ReadCounts } from './hedge-policy.ts'
import { HedgedStream } from './hedged-stream.ts'
import { HolderRanking } from './holder-ranking.ts'
import { blockRead } from './messages.ts'
import type { BlockStatus } from './namespace-types.ts'
import { isBadReplica } from './replica-mender.ts'

export interface BlockRange extends AbortOptions {
  /** First byte. @default 0 */
  start?: number
  /** One past the last byte. @default the end */
  end?: number
}

/** A replica that is not what it should be: gone, unreadable, short, or with other bytes. */
export type BadReplicaListener = (peer: PeerId, block: BlockStatus) => void

/**
 * Reads one block from whoever has it, the nearest first. When a holder fails, the next one goes on at the very next byte,
 * so the reader sees each byte once; when it lets wait, a second one is asked too, and the faster goes on. Holders check
 * each 64 KiB against its checksum before it leaves; a block that is read whole from elsewhere is also checked here
 * against the committed SHA-256, and its last chunk is not handed out before that.
 */
export class BlockReader {
  readonly #ports: FileServicePorts
  readonly #options: FileOptions
  readonly #onBadReplica: BadReplicaListener
  readonly #ranking: HolderRanking
  readonly #policy: HedgePolicy

  constructor(ports: FileServicePorts, options: FileOptions, onBadReplica: BadReplicaListener) {
    this.#ports = ports
    this.#options = options
    this.#onBadReplica = onBadReplica
    this.#ranking = new HolderRanking(ports)
    this.#policy = new HedgePolicy(options)
  }

  get counts(): ReadCounts {
    return { ...this.#policy.counts }
  }

  /** Errors: BLOCK_UNAVAILABLE naming the peers tried, CORRUPT_REPLICA, the signal's reason. */
  async *read(path: string, block: BlockStatus, range: BlockRange = {}): AsyncGenerator<Uint8Array, void> {
    const { start = 0, end = block.sizeBytes, signal } = range
    this.#policy.onRead()
    const progress: Progress = {
      at: start,
      end,
      whole: start === 0 && end === block.sizeBytes,
      hash: undefined,
      bad: new Set(),
      failures: new Map(),
    }
    let round = 0
    while (progress.at < end) {
      if (round === this.#options.readRounds) throw this.#unavailable(path, block, progress.failures)
      if (round > 0) await sleep(this.#options.readRetryMs, signal === undefined ? {} : { signal })
      round++
      for (const peer of this.#ranking.order(block)) {
        if (progress.bad.has(peer) || progress.at >= end) continue
        const from = progress.at
        yield* this.#readFrom(peer, block, progress, signal)
        // Each round with progress is a new beginning, or a long read would use up its tries.
        if (progress.at > from) round = 0
      }
    }
  }

  /** Ends without all bytes when the holder failed; why is in `progress`. */
  async *#readFrom(
    peer: PeerId,
    block: BlockStatus,
    progress: Progress,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void> {
    using stream = this.#stream(peer, block, progress, signal)
    try {
      yield* this.#checked(stream, block, progress)
    } catch (error) {
      signal?.throwIfAborted()
      this.#onFailed(stream.peer, block, progress, error)
      // What was handed out already cannot be taken back, so another holder's bytes cannot mend it.
      if (hasCode(error, 'CORRUPT_REPLICA') && progress.hash === 'contradicted') throw error
    }
  }

  /** The holder's bytes, one chunk late, so that the last is handed out only when all of them are right. */
  async *#checked(
    stream: HedgedStream,
    block: BlockStatus,
    progress: Progress,
  ): AsyncGenerator<Uint8Array, void> {
    let held: Uint8Array | undefined
    for (;;) {
      const at = progress.at + (held?.length ?? 0)
      let chunk: Uint8Array | undefined
      try {
        chunk = await stream.next(at)
        if (chunk === undefined && at < progress.end)
          throw corrupt(block, stream.peer, 'it has too few bytes')
        if (chunk !== undefined && at + chunk.length > progress.end)
          throw corrupt(block, stream.peer, 'it has too many bytes')
      } catch (error) {
        // The bytes in hand are good, as far as their holder checked them; the last of the block only with the hash.
        if (held !== undefined && at < progress.end) yield handOut(progress, held)
        throw error
      }
      if (chunk === undefined) break
      if (held !== undefined) yield handOut(progress, held)
      // Local bytes were checked on this very machine; ranges cannot be checked against the hash of the whole.
      else if (progress.at === 0 && progress.whole && stream.peer !== this.#ports.transport.self)
        progress.hash = createHash('sha256')
      held = chunk
    }
    if (held === undefined) return
    if (typeof progress.hash === 'object' && progress.hash.update(held).digest('hex') !== block.sha256) {
      // Only when nothing of the block was handed out yet can another holder still serve it right.
      progress.hash = progress.at === 0 ? undefined : 'contradicted'
      throw corrupt(block, stream.peer, 'its bytes differ from the SHA-256 that was committed')
    }
    progress.at += held.length
    yield held
  }

  #stream(
    peer: PeerId,
    block: BlockStatus,
    progress: Progress,
    signal: AbortSignal | undefined,
  ): HedgedStream {
    const tried = new Set([peer])
    const parts = {
      policy: this.#policy,
      open: (source: PeerId, at: number, ended: AbortSignal) => {
        const either = signal === undefined ? ended : AbortSignal.any([signal, ended])
        return this.#open(source, block, at, progress.end, either)
      },
      spare: (at: number) => {
        if (at >= progress.end) return undefined
        // Living holders only: to ask others is for when all of these have failed.
        const spare = this.#ranking
          .order(block)
          .find(
            other =>
              !tried.has(other) &&
              !progress.bad.has(other) &&
              block.holders.includes(other) &&
              this.#ports.isAlive(other),
          )
        if (spare !== undefined) tried.add(spare)
        return spare
      },
      onSlow: (slow: PeerId) => this.#ranking.onSlow(slow),
      onFailed: (failed: PeerId, error: unknown) => this.#onFailed(failed, block, progress, error),
    }
    return new HedgedStream(parts, peer, progress.at)
  }

  #onFailed(peer: PeerId, block: BlockStatus, progress: Progress, error: unknown): void {
    progress.failures.set(peer, error instanceof Error ? error.message : String(error))
    if (hasCode(error, 'TIMEOUT')) this.#ranking.onSlow(peer)
    if (!isBadReplica(error)) return
    progress.bad.add(peer)
    this.#onBadReplica(peer, block)
  }

  async *#open(
    peer: PeerId,
    block: BlockStatus,
    start: number,
    end: number,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void> {
    using _reading = this.#ranking.begin(peer)
    const { transport, store } = this.#ports
    const { blockId } = block
    const { readHeadTimeoutMs, readIdleMs } = this.#options
    const what = `block ${blockId} from ${this.#ports.nameOf(peer)}`
    if (peer === transport.self) {
      // A disk may hang too.
      yield* withIdleLimit(store.read(blockId, { start, end, signal }), what, readIdleMs, signal)
      return
    }
    const timeoutMs = readHeadTimeoutMs
    const reply = await transport.call(peer, blockRead, { blockId, start, end }, { timeoutMs, signal })
    yield* withIdleLimit(reply.body, what, readIdleMs, signal)
  }

  #unavailable(path: string, block: BlockStatus, failures: ReadonlyMap<PeerId, string>): ShoalError {
    const tried = [...failures.keys()].map(peer => this.#ports.nameOf(peer))
    const reasons = [...failures].map(([peer, reason]) => `${this.#ports.nameOf(peer)}: ${reason}`)
    return new ShoalError(
      'BLOCK_UNAVAILABLE',
      { path, block: block.index, tried },
      `no peer could give partition ${block.index} of ${path} (${reasons.join('; ') || 'no holder is known'})`,
    )
  }
}

interface Progress {
  /** The next byte to hand out. */
  at: number
  end: number
  /** True when all bytes of the block are read. */
  whole: boolean
  /** Of what was handed out; absent when the read cannot be checked as a whole. */
  hash: Hash | 'contradicted' | undefined
  /** Holders whose replica is no good. */
  bad: Set<PeerId>
  /** By holder: what went wrong. */
  failures: Map<PeerId, string>
}

function handOut(progress: Progress, chunk: Uint8Array): Uint8Array {
  progress.at += chunk.length
  if (typeof progress.hash === 'object') progress.hash.update(chunk)
  return chunk
}

function corrupt(block: BlockStatus, peer: PeerId, reason: string): ShoalError {
  return new ShoalError(
    'CORRUPT_REPLICA',
    { block: block.blockId, peer },
    `the copy of block ${block.blockId} on ${peer} is bad: ${reason}`,
  )
}

/** The source's chunks; TIMEOUT when one does not come in time. */
export async function* withIdleLimit(
  source: AsyncIterable<Uint8Array>,
  what: string,
  idleMs: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void> {
  const iterator = source[Symbol.asyncIterator]()
  let finished = false
  try {
    for (;;) {
      const result = await nextWithin(iterator, what, idleMs, signal)
      if (result.done === true) {
        finished = true
        return
      }
      yield result.value
    }
  } finally {
    // Not awaited: a source that hangs in `next` may hang in `return` too.
    if (!finished) forget(iterator.return?.())
  }
}

async function nextWithin(
  iterator: AsyncIterator<Uint8Array>,
  what: string,
  idleMs: number,
  signal: AbortSignal | undefined,
): Promise<IteratorResult<Uint8Array>> {
  using deadline = withDeadline(what, idleMs, signal)
  deadline.throwIfAborted()
  return await raceAbort(iterator.next(), deadline)
}
