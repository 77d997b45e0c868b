import type { PeerId } from '../base/index.ts'

export interface Read {
  id: string
  /** The peer that asked; undefined when it is this one. */
  from?: PeerId | undefined
}

interface Round {
  round: number
  /** The commit index when the read came: what it must see. */
  index: number
  read: Read
  /** Peers that answered a heartbeat sent after the read came. */
  acks: Set<PeerId>
}

/**
 * Reads that the leader has not answered yet (ReadIndex, thesis §6.4). A read waits first for an entry of the
 * leader's own term to be committed, then for a majority to answer a heartbeat round that began after it.
 */
export class RaftReads {
  #waiting: Read[] = []
  #rounds: Round[] = []

  get size(): number {
    return this.#waiting.length + this.#rounds.length
  }

  wait(read: Read): void {
    this.#waiting.push(read)
  }

  takeWaiting(): Read[] {
    const waiting = this.#waiting
    this.#waiting = []
    return waiting
  }

  begin(read: Read, index: number, round: number): void {
    this.#rounds.push({ read, index, round, acks: new Set() })
  }

  acknowledged(from: PeerId, round: number): void {
    for (const pending of this.#rounds) if (pending.round <= round) pending.acks.add(from)
  }

  takeConfirmed(mayAnswer: (acks: ReadonlySet<PeerId>) => boolean): { read: Read; index: number }[] {
    // Rounds are in order and a later one has no more acks than an earlier one, so the confirmed ones come first.
    const open = this.#rounds.findIndex(pending => !mayAnswer(pending.acks))
    return this.#rounds.splice(0, open === -1 ? this.#rounds.length : open)
  }

  /** Everything unanswered, which is forgotten. */
  takeAll(): Read[] {
    const all = [...this.#waiting, ...this.#rounds.map(pending => pending.read)]
    this.#waiting = []
    this.#rounds = []
    return all
  }
}
