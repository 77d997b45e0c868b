import { below } from '../../src/base/index.ts'
import type { Random } from '../../src/base/index.ts'
import type { LogLife, PersistEffect, RaftEntry, RaftState, Snapshot } from '../../src/gossip/raft-types.ts'

/** The disk of one peer: what was synced survives a crash, of the rest a part may, in the order of writing. */
export class FakeDisk {
  #hardState: RaftState['hardState']
  #snapshot: Snapshot | undefined
  #entries: RaftEntry[]
  #life: LogLife | undefined
  readonly #unsynced: PersistEffect[] = []
  /** While set, every flush fails. */
  failing = false
  /** While set, there is no room: flushes wait until there is. */
  full = false

  constructor(state: RaftState) {
    this.#hardState = state.hardState
    this.#entries = [...state.entries]
  }

  get hardState(): RaftState['hardState'] {
    return this.#hardState
  }

  get snapshot(): Snapshot | undefined {
    return this.#snapshot
  }

  get unsynced(): number {
    return this.#unsynced.length
  }

  write(effect: PersistEffect): void {
    this.#unsynced.push(effect)
  }

  /** Makes the first `count` writes durable, as a flush that began when there were so many. */
  sync(count: number): void {
    for (const effect of this.#unsynced.splice(0, count)) this.#keep(effect, Infinity)
  }

  /** The kernel forgets what it could not write. */
  drop(count: number): void {
    this.#unsynced.splice(0, count)
  }

  /** Some of the unsynced writes reached the platter, the last of them perhaps in part. */
  crash(random: Random): void {
    const survivors = below(random, this.#unsynced.length + 1)
    this.sync(survivors)
    const torn = this.#unsynced[0]
    if (torn !== undefined && random.next() > 0.5)
      this.#keep(torn, below(random, (torn.entries?.length ?? 0) + 1))
    this.#unsynced.length = 0
  }

  /** The log is damaged, which its next start finds out: it is set aside, and a new life begins. */
  lose(): void {
    this.#hardState = { term: 0 }
    this.#entries = []
    this.#snapshot = undefined
    this.#unsynced.length = 0
    this.#life = { number: (this.#life?.number ?? 0) + 1, forgot: true }
  }

  /** Its log was lost, and what that promised is not settled yet. */
  get forgot(): boolean {
    return this.#life?.forgot === true
  }

  /** What a starting peer finds. */
  read(): RaftState {
    const state: RaftState = { hardState: this.#hardState, entries: [...this.#entries] }
    if (this.#life !== undefined) state.life = this.#life
    if (this.#snapshot !== undefined) {
      const { data: _, ...meta } = this.#snapshot
      state.snapshot = meta
    }
    return state
  }

  /** Whether the entry, or a snapshot that stands for it, is durable here. */
  holds(index: number, term: number): boolean {
    if (index <= (this.#snapshot?.index ?? 0)) return true
    const first = this.#entries[0]?.index ?? 0
    return this.#entries[index - first]?.term === term
  }

  get lastIndex(): number {
    return this.#entries.at(-1)?.index ?? this.#snapshot?.index ?? 0
  }

  #keep(effect: PersistEffect, entriesMax: number): void {
    const { hardState, settled, snapshot, log, truncateFrom, entries } = effect
    if (settled === true) this.#life = { ...this.#life!, forgot: false }
    if (hardState !== undefined) this.#hardState = hardState
    if (snapshot !== undefined) this.#snapshot = snapshot
    if (log === 'reset') this.#entries = []
    else if (log !== undefined) this.#entries = this.#entries.filter(entry => entry.index >= log.keepFrom)
    if (truncateFrom !== undefined) this.#entries = this.#entries.filter(entry => entry.index < truncateFrom)
    if (entries !== undefined) this.#entries.push(...entries.slice(0, entriesMax))
  }
}
