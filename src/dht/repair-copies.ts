import { invariant, type BlockId, type PeerId } from '../base/index.ts'
import { copyDeadlineMs, type RepairOptions } from './config.ts'

export interface Copy {
  slot: number
  blockId: BlockId
  to: PeerId
  /** Who is asked for the bytes first. */
  source: PeerId
  sizeBytes: number
  urgent: boolean
  sinceMs: number
  /** False when the copy is made and only its report is to come: it no longer burdens anyone. */
  running: boolean
}

/** Doublings of the wait after failures of one copy. */
const BACKOFF_MAX = 5
/** Failures in a row after which another peer is asked for an urgent copy. */
const UNFIT_FAILURES = 2

/** A copy of one block on one peer. */
export function copyKey(blockId: BlockId, peer: PeerId): string {
  return `${blockId}>${peer}`
}

/**
 * Copies under way, within their bounds: in the whole mesh, and streams into and out of each peer. Urgent ones have bounds of
 * their own, so that nothing else keeps them waiting. A copy that failed waits before it is tried again.
 */
export class RepairCopies {
  readonly #options: RepairOptions
  readonly #copies = new Map<string, Copy>()
  readonly #backoff = new Map<string, { failures: number; untilMs: number }>()
  /** Running copies by target and by source, urgent ones apart. */
  readonly #streams = { normal: new StreamCounts(), urgent: new StreamCounts() }

  constructor(options: RepairOptions) {
    this.#options = options
  }

  get(blockId: BlockId, to: PeerId): Copy | undefined {
    return this.#copies.get(copyKey(blockId, to))
  }

  running(): Copy[] {
    return [...this.#copies.values()].filter(copy => copy.running)
  }

  get runningCount(): number {
    return this.#streams.normal.total + this.#streams.urgent.total
  }

  get urgentCount(): number {
    return this.#streams.urgent.total
  }

  /** True while another copy may be begun at all. */
  hasRoom(urgent: boolean): boolean {
    const { copiesMax, urgentCopiesMax } = this.#options
    return this.#counts(urgent).total < (urgent ? urgentCopiesMax : copiesMax)
  }

  /** True when this copy has to wait for the peers at its ends, or because it failed not long ago. */
  mustWait(blockId: BlockId, to: PeerId, source: PeerId, urgent: boolean, nowMs: number): boolean {
    const { copiesPerPeerMax, urgentCopiesPerPeerMax } = this.#options
    const perPeerMax = urgent ? urgentCopiesPerPeerMax : copiesPerPeerMax
    const { into, from } = this.#counts(urgent)
    if ((into.get(to) ?? 0) >= perPeerMax || (from.get(source) ?? 0) >= perPeerMax) return true
    return (this.#backoff.get(copyKey(blockId, to))?.untilMs ?? 0) > nowMs
  }

  /** A target that failed again and again: its disk may be full or broken. */
  isUnfit(blockId: BlockId, to: PeerId): boolean {
    return (this.#backoff.get(copyKey(blockId, to))?.failures ?? 0) >= UNFIT_FAILURES
  }

  /** Living holders, the one that serves the fewest copies first; `turn` decides among equals, so that not all pull from the same. */
  sourcesByLoad(sources: readonly PeerId[], turn: number): PeerId[] {
    const first = turn % sources.length
    const load = (peer: PeerId): number =>
      (this.#streams.normal.from.get(peer) ?? 0) + (this.#streams.urgent.from.get(peer) ?? 0)
    return [...sources.slice(first), ...sources.slice(0, first)].sort((a, b) => load(a) - load(b))
  }

  begin(copy: Copy): void {
    this.#copies.set(copyKey(copy.blockId, copy.to), copy)
    this.#counts(copy.urgent).count(copy, 1)
  }

  /** The copy is made; it stays known until `reported`. Undefined when nobody waits for it any more. */
  finish(blockId: BlockId, to: PeerId): Copy | undefined {
    const copy = this.get(blockId, to)
    if (copy === undefined || !copy.running) return undefined
    this.#end(copy)
    this.#backoff.delete(copyKey(blockId, to))
    return copy
  }

  /** Undefined when nobody waits for it any more. */
  fail(blockId: BlockId, to: PeerId, nowMs: number): Copy | undefined {
    const copy = this.get(blockId, to)
    if (copy === undefined || !copy.running) return undefined
    this.#end(copy)
    const key = copyKey(blockId, to)
    this.#copies.delete(key)
    const failures = (this.#backoff.get(key)?.failures ?? 0) + 1
    const waitMs = this.#options.retryMs * 2 ** Math.min(failures - 1, BACKOFF_MAX)
    this.#backoff.set(key, { failures, untilMs: nowMs + waitMs })
    return copy
  }

  reported(blockId: BlockId, to: PeerId): void {
    this.#copies.delete(copyKey(blockId, to))
  }

  /** Running copies that nobody reported on in time: the driver lost them, or a peer hangs. */
  overdue(nowMs: number): Copy[] {
    const { effectTimeoutMs } = this.#options
    return this.running().filter(
      copy => nowMs - copy.sinceMs > effectTimeoutMs + copyDeadlineMs(copy.sizeBytes),
    )
  }

  /** Forgets waits that ended before this time: most are of blocks that are gone. */
  forgetWaits(beforeMs: number): void {
    for (const [key, { untilMs }] of this.#backoff) if (untilMs < beforeMs) this.#backoff.delete(key)
  }

  assertInvariants(isAlive: (peer: PeerId) => boolean): void {
    const { copiesMax, urgentCopiesMax, copiesPerPeerMax, urgentCopiesPerPeerMax } = this.#options
    const { normal, urgent } = this.#streams
    invariant(normal.total <= copiesMax && urgent.total <= urgentCopiesMax, 'copies are bounded')
    for (const [counts, limit] of [
      [normal, copiesPerPeerMax],
      [urgent, urgentCopiesPerPeerMax],
    ] as const) {
      for (const count of [...counts.into.values(), ...counts.from.values()])
        invariant(count <= limit, 'copies into and out of one peer are bounded')
    }
    const running = this.running()
    invariant(running.length === this.runningCount, 'running copies are counted right')
    for (const { to } of running) invariant(isAlive(to), 'copies go to living peers')
  }

  #end(copy: Copy): void {
    copy.running = false
    this.#counts(copy.urgent).count(copy, -1)
  }

  #counts(urgent: boolean): StreamCounts {
    return urgent ? this.#streams.urgent : this.#streams.normal
  }
}

class StreamCounts {
  total = 0
  readonly into = new Map<PeerId, number>()
  readonly from = new Map<PeerId, number>()

  count({ to, source }: Copy, change: 1 | -1): void {
    this.total += change
    add(this.into, to, change)
    add(this.from, source, change)
  }
}

function add(counts: Map<PeerId, number>, peer: PeerId, change: number): void {
  const count = (counts.get(peer) ?? 0) + change
  if (count === 0) counts.delete(peer)
  else counts.set(peer, count)
}
