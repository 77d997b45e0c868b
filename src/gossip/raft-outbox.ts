import type { PersistEffect, RaftEffect, RaftEntry } from './raft-types.ts'

export type PersistDraft = Omit<PersistEffect, 'type' | 'seq'>

/**
 * Effects of one step, put in the order that makes them safe: messages that claim nothing of our own disk, then at most
 * one `persist`, then everything that relies on it, then what is committed, with its consequences. Also knows how far the log is durable, which may be taken back.
 */
export class RaftOutbox {
  #early: RaftEffect[] = []
  #draft: PersistDraft | undefined
  #late: RaftEffect[] = []
  #afterApply: RaftEffect[] = []

  #seq = 0
  #durableIndex: number
  /** Flushes under way, and the last index that each makes durable. */
  #flushes: { seq: number; lastIndex: number; hardState: boolean; sinceMs: number }[] = []

  constructor(durableIndex: number) {
    this.#durableIndex = durableIndex
  }

  /** Everything up to here is durable, and still in the log. */
  get durableIndex(): number {
    return this.#durableIndex
  }

  /** Term and vote are on disk as they are here: what is said of them has left. */
  get hardStateDurable(): boolean {
    return this.#draft?.hardState === undefined && this.#flushes.every(flush => !flush.hardState)
  }

  /**
   * That one leads or follows is no matter of the disk, once the term is there: a slow disk must not cost the leader its majority.
   * One that finishes nothing must: somebody else has to take over.
   */
  mayPassDisk(nowMs: number, writeStallMs: number): boolean {
    return this.hardStateDurable && nowMs - (this.#flushes[0]?.sinceMs ?? nowMs) < writeStallMs
  }

  /** A leader's appends and heartbeats: its disk and its followers' may work at the same time. */
  early(effect: RaftEffect): void {
    this.#early.push(effect)
  }

  late(effect: RaftEffect): void {
    this.#late.push(effect)
  }

  /** What may be said only when everything committed by this step is applied. */
  afterApply(effect: RaftEffect): void {
    this.#afterApply.push(effect)
  }

  /** What this step writes; created by the first that asks. */
  get draft(): PersistDraft {
    this.#draft ??= {}
    return this.#draft
  }

  get hasEntries(): boolean {
    return this.#draft?.entries !== undefined
  }

  /** Entries from `index` on are replaced: reports of earlier flushes say nothing of what is there now. */
  truncatedFrom(index: number): void {
    this.#durableIndex = Math.min(this.#durableIndex, index - 1)
    for (const flush of this.#flushes) flush.lastIndex = Math.min(flush.lastIndex, index - 1)
  }

  flushed(seq: number): void {
    while (this.#flushes.length > 0 && this.#flushes[0]!.seq <= seq) {
      this.#durableIndex = Math.max(this.#durableIndex, this.#flushes.shift()!.lastIndex)
    }
  }

  /**
   * Empties it.
   * @param lastIndex of the log after the step
   * @param committed entries to apply
   * @param nowMs for how long flushes take, in the caller's time
   */
  take(lastIndex: number, committed: RaftEntry[], nowMs: number): RaftEffect[] {
    const draft = this.#draft
    const effects: RaftEffect[] = []
    // A message of a term that is not on disk must wait for it.
    if (draft?.hardState === undefined) effects.push(...this.#early)
    if (draft !== undefined) {
      const seq = ++this.#seq
      this.#flushes.push({ seq, lastIndex, hardState: draft.hardState !== undefined, sinceMs: nowMs })
      effects.push({ type: 'persist', seq, ...draft })
    }
    if (draft?.hardState !== undefined) effects.push(...this.#early)
    effects.push(...this.#late)
    if (committed.length > 0) effects.push({ type: 'apply', entries: committed })
    effects.push(...this.#afterApply)
    this.#early = []
    this.#late = []
    this.#afterApply = []
    this.#draft = undefined
    return effects
  }
}
