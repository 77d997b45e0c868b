import type { PeerId } from '../base/index.ts'
import { invariant } from '../base/index.ts'
import type { RaftEntry, RaftState, SnapshotMeta } from './raft-types.ts'

/** Bookkeeping of an entry in memory and on the wire beyond its data. */
const ENTRY_OVERHEAD_BYTES = 32
/** A peer id in a config entry. */
const PEER_ID_BYTES = 56

export function entrySizeBytes(entry: RaftEntry): number {
  if (entry.kind === 'command') return ENTRY_OVERHEAD_BYTES + entry.data.byteLength
  return ENTRY_OVERHEAD_BYTES + (entry.kind === 'config' ? entry.voters.length * PEER_ID_BYTES : 0)
}

interface Config {
  index: number
  voters: PeerId[]
}

/**
 * The entries in memory: all after the base, which is the last entry that was compacted away (index 0, term 0 at
 * first). Knows which voter set each index stands under, because a truncation must bring the earlier set back.
 */
export class RaftLog {
  #baseIndex = 0
  #baseTerm = 0
  #entries: RaftEntry[] = []
  /** Ascending by index; the first is what holds at the snapshot (or nothing at all, at index 0). */
  #configs: Config[] = [{ index: 0, voters: [] }]
  #snapshot: SnapshotMeta | undefined
  #commitIndex = 0

  constructor(state: RaftState) {
    const { snapshot, entries } = state
    const first = entries[0]
    if (snapshot !== undefined) {
      this.reset(snapshot)
      const held = entries.find(entry => entry.index === snapshot.index)
      invariant(
        first === undefined || first.index === snapshot.index + 1 || held?.term === snapshot.term,
        'the stored log continues the stored snapshot',
      )
      if (first !== undefined && first.index <= snapshot.index) {
        // Entries before the snapshot serve slow followers; the oldest only lends its term to the one after it.
        this.#baseIndex = first.index
        this.#baseTerm = first.term
        this.#entries = entries.slice(1)
        for (const entry of this.#entries) if (entry.index > snapshot.index) this.#noteConfig(entry)
        return
      }
    }
    this.append(entries)
  }

  /** Index of the oldest entry held. */
  get firstIndex(): number {
    return this.#baseIndex + 1
  }

  get lastIndex(): number {
    return this.#baseIndex + this.#entries.length
  }

  get lastTerm(): number {
    return this.#entries.at(-1)?.term ?? this.#baseTerm
  }

  get lastTimeMs(): number {
    return this.#entries.at(-1)?.timeMs ?? this.#snapshot?.timeMs ?? 0
  }

  /** Everything up to here is committed, as far as this peer knows. */
  get commitIndex(): number {
    return this.#commitIndex
  }

  /** The newest one; entries after it are all held. */
  get snapshot(): SnapshotMeta | undefined {
    return this.#snapshot
  }

  /** The voter set in force: that of the last config entry, committed or not. */
  get voters(): readonly PeerId[] {
    return this.#configs.at(-1)!.voters
  }

  /** Index of the entry that set the voters in force. */
  get configIndex(): number {
    return this.#configs.at(-1)!.index
  }

  /** True while the voter set in force may still be taken back. */
  get configPending(): boolean {
    return this.configIndex > this.#commitIndex
  }

  votersAt(index: number): PeerId[] {
    return [...this.#configs.findLast(config => config.index <= index)!.voters]
  }

  /** Undefined for what is compacted away or not there yet. */
  termAt(index: number): number | undefined {
    if (index === this.#baseIndex) return this.#baseTerm
    return this.entryAt(index)?.term
  }

  entryAt(index: number): RaftEntry | undefined {
    return index <= this.#baseIndex ? undefined : this.#entries[index - this.#baseIndex - 1]
  }

  /** Entries from `from` on: at least one if there is one, then as many as both limits allow. */
  slice(from: number, entriesMax: number, bytesMax: number): RaftEntry[] {
    const out: RaftEntry[] = []
    let bytes = 0
    for (let index = from; out.length < entriesMax; index++) {
      const entry = this.entryAt(index)
      if (entry === undefined) break
      bytes += entrySizeBytes(entry)
      if (out.length > 0 && bytes > bytesMax) break
      out.push(entry)
    }
    return out
  }

  append(entries: readonly RaftEntry[]): void {
    for (const entry of entries) {
      invariant(entry.index === this.lastIndex + 1, `entry ${entry.index} follows ${this.lastIndex}`)
      this.#entries.push(entry)
      this.#noteConfig(entry)
    }
  }

  /** Never goes back: an earlier index is old news. */
  commitTo(index: number): void {
    invariant(index <= this.lastIndex, 'committed entries are in the log')
    this.#commitIndex = Math.max(this.#commitIndex, index)
  }

  truncateFrom(index: number): void {
    invariant(index > this.#commitIndex, `committed entry ${index} is never replaced`)
    this.#entries.length = index - this.#baseIndex - 1
    while (this.#configs.length > 1 && this.#configs.at(-1)!.index >= index) this.#configs.pop()
  }

  /** Forgets entries before `firstIndex`; `snapshot` says what holds from there on. */
  compact(snapshot: SnapshotMeta, firstIndex: number): void {
    const baseIndex = Math.min(firstIndex - 1, snapshot.index)
    const later = this.#configs.filter(config => config.index > snapshot.index)
    this.#configs = [{ index: snapshot.index, voters: [...snapshot.voters] }, ...later]
    this.#snapshot = snapshot
    if (baseIndex <= this.#baseIndex) return
    const baseTerm = this.termAt(baseIndex)
    invariant(baseTerm !== undefined, 'the log is compacted only where it has entries')
    this.#entries.splice(0, baseIndex - this.#baseIndex)
    this.#baseIndex = baseIndex
    this.#baseTerm = baseTerm
  }

  /** Throws the whole log away: it continues after a snapshot from elsewhere. */
  reset(snapshot: SnapshotMeta): void {
    this.#baseIndex = snapshot.index
    this.#baseTerm = snapshot.term
    this.#entries = []
    this.#configs = [{ index: snapshot.index, voters: [...snapshot.voters] }]
    this.#snapshot = snapshot
    this.#commitIndex = snapshot.index
  }

  /** Raft §5.4.1: the later last term wins, then the longer log. */
  isUpToDate(lastIndex: number, lastTerm: number): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex)
  }

  /**
   * The largest index ≤ `index` whose term is ≤ `term`: where a log with that entry may agree with this one.
   * Both sides use it, so a conflict of k terms costs k messages (etcd `findConflictByTerm`).
   */
  agreementBefore(index: number, term: number): { index: number; term: number } {
    for (let at = Math.min(index, this.lastIndex); at >= this.#baseIndex; at--) {
      const own = this.termAt(at)!
      if (own <= term) return { index: at, term: own }
    }
    return { index: Math.min(index, this.#baseIndex), term: 0 }
  }

  assertInvariants(): void {
    invariant(this.#commitIndex <= this.lastIndex, 'committed entries are in the log')
    invariant((this.#snapshot?.index ?? 0) <= this.#commitIndex, 'what a snapshot holds is committed')
    let term = this.#baseTerm
    let timeMs = 0
    this.#entries.forEach((entry, at) => {
      invariant(entry.index === this.#baseIndex + 1 + at, 'indexes have no gap')
      invariant(entry.term >= term, 'terms never go back along the log')
      invariant(entry.timeMs >= timeMs, 'log time never goes back')
      term = entry.term
      timeMs = entry.timeMs
    })
  }

  #noteConfig(entry: RaftEntry): void {
    if (entry.kind === 'config') this.#configs.push({ index: entry.index, voters: entry.voters })
  }
}
