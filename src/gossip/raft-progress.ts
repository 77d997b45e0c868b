import type { LogLife } from './raft-types.ts'

/**
 * What the leader knows of one peer's log (etcd `tracker.Progress`).
 *
 * - probe: does not know where the logs agree; one append at a time, the next after a reply or a heartbeat's reply.
 * - replicate: sends ahead, at most `inflightMax` appends without a reply.
 * - snapshot: entries the peer needs are compacted; waits for the snapshot's arrival.
 */
export class RaftProgress {
  /** Highest index known to be durable there. */
  match = 0
  /** It said itself what it has of this leader's log; until then its `match` and `heardMs` are only where counting begins. */
  answered = false
  /** Next index to send. */
  next: number
  state: 'probe' | 'replicate' | 'snapshot' = 'probe'
  /** The highest commit index it was told of. */
  commitTold = 0
  /** When it last answered in this term. */
  heardMs: number
  /** The same, in the leader's waking time. */
  heardAwakeMs: number
  /** Of its log, as its answers say; undefined while it is the first. */
  life: LogLife | undefined
  /** It does not want to lead. */
  unfit = false
  /** While in `snapshot`: its index, and when sending began. */
  snapshotIndex = 0
  snapshotSinceMs = 0
  #probeSent = false
  /** Last index of each append in flight, ascending. */
  #inflight: number[] = []
  readonly #inflightMax: number

  constructor(next: number, now: { nowMs: number; awakeMs: number }, inflightMax: number) {
    this.next = next
    this.heardMs = now.nowMs
    this.heardAwakeMs = now.awakeMs
    this.#inflightMax = inflightMax
  }

  heard(now: { nowMs: number; awakeMs: number }): void {
    this.heardMs = now.nowMs
    this.heardAwakeMs = now.awakeMs
  }

  get paused(): boolean {
    if (this.state === 'probe') return this.#probeSent
    return this.state === 'snapshot' || this.#inflight.length >= this.#inflightMax
  }

  /** An append that ends at `lastIndex` was sent; `count` entries long. */
  sent(count: number, lastIndex: number): void {
    if (this.state === 'probe') {
      this.#probeSent = true
    } else if (count > 0) {
      this.next = lastIndex + 1
      this.#inflight.push(lastIndex)
    }
  }

  /** The peer has everything up to `match`. True when that is news, or answers a probe. */
  acknowledged(match: number): boolean {
    const answersProbe = this.state === 'probe' && match === this.match
    const news = match > this.match
    this.answered = true
    if (news) this.match = match
    this.next = Math.max(this.next, match + 1)
    while (this.#inflight.length > 0 && this.#inflight[0]! <= match) this.#inflight.shift()
    return news || answersProbe
  }

  /** An append after `rejected` did not fit; `agreement` is where it might. False when the reply is stale. */
  backUp(rejected: number, agreement: number): boolean {
    if (this.state === 'replicate') {
      if (rejected <= this.match) return false
      this.becomeProbe()
      return true
    }
    if (this.state !== 'probe' || this.next - 1 !== rejected) return false
    this.next = Math.max(Math.min(rejected, agreement + 1), this.match + 1)
    this.#probeSent = false
    return true
  }

  /** Another log answers than before: nothing that was known of the old one holds. */
  begin(life: LogLife, next: number): void {
    this.life = life
    this.match = 0
    this.answered = false
    this.snapshotIndex = 0
    this.commitTold = 0
    this.next = next
    this.#enter('probe')
  }

  /** A heartbeat came back: the link works, so what is still unanswered may be lost. */
  resume(): void {
    this.#probeSent = false
    if (this.#inflight.length >= this.#inflightMax) this.#inflight.shift()
  }

  becomeProbe(): void {
    this.next = Math.max(this.match, this.state === 'snapshot' ? this.snapshotIndex : 0) + 1
    this.#enter('probe')
  }

  becomeReplicate(): void {
    this.next = this.match + 1
    this.#enter('replicate')
  }

  becomeSnapshot(snapshotIndex: number, nowMs: number): void {
    this.snapshotIndex = snapshotIndex
    this.snapshotSinceMs = nowMs
    this.#enter('snapshot')
  }

  /** The snapshot did not arrive: probe from what is known. */
  abandonSnapshot(): void {
    this.snapshotIndex = 0
    this.becomeProbe()
  }

  #enter(state: 'probe' | 'replicate' | 'snapshot'): void {
    this.state = state
    this.#probeSent = false
    this.#inflight = []
  }
}
