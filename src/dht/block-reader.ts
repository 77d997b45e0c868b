import { createHash, type Hash } from 'node:crypto'
import {
  hasCode,
  raceAbort,
  ShoalError,
  shuffled,
  sleep,
  withDeadline,
  type AbortOptions,
  type PeerId,
} from '../base/index.ts'
import type { FileOptions } from './config.ts'
import { forget, type FileServicePorts } from './file-ports.ts'
import { blockRead } from './messages.ts'
import type { BlockStatus } from './namespace-types.ts'

export interface BlockRange extends AbortOptions {
  /** First byte. @default 0 */
  start?: number
  /** One past the last byte. @default the end */
  end?: number
}

/** A replica that is not what it should be: gone, short, or with other bytes. */
export type BadReplicaListener = (peer: PeerId, block: BlockStatus) => void

/** Failures of one holder that say something about its replica, not about the way to it. */
const BAD_REPLICA_CODES = ['CORRUPT_REPLICA', 'NOT_FOUND'] as const

/**
 * Reads one block from whoever has it: this peer, then living holders, then the rest. When a holder fails, the next one goes on at the
 * very next byte, so the reader sees each byte once. Holders check each 64 KiB against its checksum before it leaves;
 * a block that is read whole from elsewhere is also checked here against the committed SHA-256, and its last chunk
 * is not handed out before that.
 */
export class BlockReader {
  readonly #ports: FileServicePorts
  readonly #options: FileOptions
  readonly #onBadReplica: BadReplicaListener

  constructor(ports: FileServicePorts, options: FileOptions, onBadReplica: BadReplicaListener) {
    this.#ports = ports
    this.#options = options
    this.#onBadReplica = onBadReplica
  }

  /** Errors: BLOCK_UNAVAILABLE naming the peers tried, CORRUPT_REPLICA, the signal's reason. */
  async *read(path: string, block: BlockStatus, range: BlockRange = {}): AsyncGenerator<Uint8Array, void> {
    const { start = 0, end = block.sizeBytes, signal } = range
    const bad = new Set<PeerId>()
    const failures = new Map<PeerId, string>()
    const progress: Progress = { at: start, end, hash: this.#hashFor(block, start, end) }
    let round = 0
    while (progress.at < end) {
      if (round === this.#options.readRounds) throw this.#unavailable(path, block, failures)
      if (round > 0) await sleep(this.#options.readRetryMs, signal === undefined ? {} : { signal })
      round++
      for (const peer of this.#candidates(block)) {
        if (bad.has(peer) || progress.at >= end) continue
        const from = progress.at
        try {
          yield* this.#readFrom(peer, block, progress, signal)
        } catch (error) {
          signal?.throwIfAborted()
          failures.set(peer, error instanceof Error ? error.message : String(error))
          if (BAD_REPLICA_CODES.some(code => hasCode(error, code))) {
            bad.add(peer)
            this.#onBadReplica(peer, block)
          }
          // What was handed out already cannot be taken back, so another holder's bytes cannot mend it.
          if (hasCode(error, 'CORRUPT_REPLICA') && progress.hash === 'contradicted') throw error
        }
        // Each round with progress is a new beginning, or a long read would use up its tries.
        if (progress.at > from) round = 0
      }
    }
  }

  async *#readFrom(
    peer: PeerId,
    block: BlockStatus,
    progress: Progress,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void> {
    const began = progress.at
    let held: Uint8Array | undefined
    for await (const chunk of this.#open(peer, block, began, progress.end, signal)) {
      if (held !== undefined) {
        progress.at += held.length
        if (typeof progress.hash === 'object') progress.hash.update(held)
        yield held
      }
      held = chunk
      if (progress.at + held.length > progress.end) throw corrupt(block, peer, 'it has too many bytes')
    }
    if (held === undefined || progress.at + held.length < progress.end) {
      // The bytes in hand are good: the holder checked them.
      if (held !== undefined) {
        progress.at += held.length
        if (typeof progress.hash === 'object') progress.hash.update(held)
        yield held
      }
      throw corrupt(block, peer, 'it has too few bytes')
    }
    if (typeof progress.hash === 'object' && progress.hash.update(held).digest('hex') !== block.sha256) {
      // Only when nothing of the block was handed out yet can another holder still serve it right.
      progress.hash = progress.at === 0 ? createHash('sha256') : 'contradicted'
      throw corrupt(block, peer, 'its bytes differ from the SHA-256 that was committed')
    }
    progress.at += held.length
    yield held
  }

  async *#open(
    peer: PeerId,
    block: BlockStatus,
    start: number,
    end: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void> {
    const { transport, store } = this.#ports
    const { blockId } = block
    if (peer === transport.self) {
      yield* store.read(blockId, signal === undefined ? { start, end } : { start, end, signal })
      return
    }
    const { readHeadTimeoutMs, readIdleMs } = this.#options
    const reply = await transport.call(
      peer,
      blockRead,
      { blockId, start, end },
      { timeoutMs: readHeadTimeoutMs, signal },
    )
    yield* withIdleLimit(reply.body, `block ${blockId} from ${peer}`, readIdleMs, signal)
  }

  /** Local first; then living holders in random order, which shares the load; then owners that may have it unreported. */
  #candidates(block: BlockStatus): PeerId[] {
    const { transport, random } = this.#ports
    const holders = this.#ports.namespace().blockOf(block.blockId)?.holders ?? block.holders
    const known = new Set(holders)
    const others = this.#ports
      .slots()
      .writersOf(block.slot)
      .filter(peer => !known.has(peer))
    const rank = (peer: PeerId): number => {
      if (peer === transport.self) return 0
      return (this.#ports.isAlive(peer) ? 1 : 3) + (known.has(peer) ? 0 : 1)
    }
    const ordered = shuffled(random, [...known, ...others])
    return ordered.sort((a, b) => rank(a) - rank(b))
  }

  /** Ranges cannot be checked against the hash of the whole; local bytes were checked on this very machine. */
  #hashFor(block: BlockStatus, start: number, end: number): Hash | undefined {
    const whole = start === 0 && end === block.sizeBytes
    const local =
      this.#candidates(block)[0] === this.#ports.transport.self && this.#ports.store.has(block.blockId)
    return whole && !local ? createHash('sha256') : undefined
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
  /** Of what was handed out; absent when the read cannot be checked as a whole. */
  hash: Hash | 'contradicted' | undefined
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
