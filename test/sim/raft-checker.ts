import type { PeerId } from '../../src/base/index.ts'
import { majorityOf, votersDifference } from '../../src/gossip/raft-quorum.ts'
import type { RaftEffect, RaftEntry, RaftMessage } from '../../src/gossip/raft-types.ts'
import type { RaftMachine } from '../../src/gossip/raft.machine.ts'
import { check } from './check.ts'
import type { FakeDisk } from './fake-disk.ts'

interface Committed {
  /** Term of the entry. */
  term: number
  /** Term of the leader that committed it, as far as was seen: only later leaders must hold it. */
  inTerm: number
}

interface View {
  machine: RaftMachine
  term: number
  commit: number
  applied: number
  role: string
}

/**
 * What Raft promises, told by looking at all peers from outside (invariants 1–9 and 11 of the protocols page).
 * "The leader has every committed entry" holds only for entries committed in lower terms: a delayed winner of an older
 * term is legal.
 */
export class RaftChecker {
  readonly #disks = new Map<PeerId, FakeDisk>()
  readonly #views = new Map<PeerId, View>()
  readonly #leaders = new Map<number, PeerId>()
  /** By voter and term. */
  readonly #votes = new Map<string, PeerId>()
  /** By index and term: what the entry is, and the term of the one before it. */
  readonly #entries = new Map<string, string>()
  readonly #committed: (Committed | undefined)[] = []
  readonly #stateAt: (string | undefined)[] = []
  readonly #durableTerms = new Map<PeerId, number>()
  /** By peers that lost their log: the last entry that they had. */
  readonly #heldBeforeLoss = new Map<PeerId, number>()
  /** Index of each command that a client was told is committed. */
  readonly acked = new Map<number, number>()
  /** The highest of those: what a read that begins now must see. */
  ackedIndex = 0
  /** Index at which each command was applied. */
  readonly #appliedAt = new Map<number, number>()
  leaderChanges = 0
  readonly #consequencesOnly: boolean

  /**
   * @param options `consequencesOnly`: let breaches of the rules themselves pass (syncing before speaking, changing
   * voters too early), and look only at what they lead to
   */
  constructor(options: { consequencesOnly?: boolean } = {}) {
    this.#consequencesOnly = options.consequencesOnly ?? false
  }

  started(peer: PeerId, machine: RaftMachine, disk: FakeDisk): void {
    this.#disks.set(peer, disk)
    const { term, commitIndex: commit, appliedIndex: applied, role } = machine
    check(term >= (this.#durableTerms.get(peer) ?? 0), `${peer} came back in an earlier term`)
    this.#views.set(peer, { machine, term, commit, applied, role })
  }

  /**
   * Its log is about to be lost: it comes back knowing nothing. What it promised before still binds it, and what it
   * acknowledged before may still be counted by a leader that has not heard of the loss.
   */
  loses(peer: PeerId): void {
    this.#durableTerms.delete(peer)
    this.#heldBeforeLoss.set(peer, this.#disks.get(peer)!.lastIndex)
  }

  machine(peer: PeerId): RaftMachine {
    return this.#views.get(peer)!.machine
  }

  get committedIndex(): number {
    return this.#committed.length - 1
  }

  stepped(peer: PeerId, machine: RaftMachine, effects: readonly RaftEffect[]): void {
    const view = this.#views.get(peer)!
    const { term, commitIndex: commit, appliedIndex: applied, role } = machine
    check(term >= view.term, `the term of ${peer} went back`)
    check(commit >= view.commit, `the commit index of ${peer} went back`)
    check(applied >= view.applied, `the applied index of ${peer} went back`)
    for (const effect of effects) {
      if (effect.type === 'persist')
        for (const entry of effect.entries ?? []) this.#appended(peer, machine, entry)
    }
    if (role === 'leader' && (view.role !== 'leader' || view.term !== term)) this.#elected(peer, machine)
    if (commit > view.commit) this.#advanced(peer, machine, view.commit)
    view.term = term
    view.commit = commit
    view.applied = applied
    view.role = role
  }

  /** Called when a message leaves, which is after everything before it is durable. */
  said(peer: PeerId, to: PeerId | undefined, message: RaftMessage): void {
    const disk = this.#disks.get(peer)!
    const { hardState } = disk
    const { type, term } = message
    const promise = type === 'pre-vote' || (type === 'pre-vote-reply' && message.granted)
    const obeysTerm = !promise && type !== 'read-index' && type !== 'read-index-reply'
    if (obeysTerm)
      this.#rule(hardState.term >= term, `${peer} says ${type} in term ${term} before it is synced`)
    this.#durableTerms.set(peer, hardState.term)
    if (type === 'vote') this.#voted(peer, term, peer, disk)
    else if (type === 'vote-reply' && message.granted && to !== undefined) this.#voted(peer, term, to, disk)
    else if (type === 'append-reply' && message.ok && hardState.term === term) {
      this.#rule(disk.lastIndex >= message.match, `${peer} acknowledges ${message.match} before it is synced`)
    }
  }

  #rule(kept: boolean, claim: string): void {
    if (!this.#consequencesOnly) check(kept, claim)
  }

  #voted(voter: PeerId, term: number, candidate: PeerId, disk: FakeDisk): void {
    const key = `${voter} ${term}`
    const earlier = this.#votes.get(key)
    check(
      earlier === undefined || earlier === candidate,
      `${voter} voted for ${earlier} and ${candidate} in term ${term}`,
    )
    this.#votes.set(key, candidate)
    const { hardState } = disk
    const synced = hardState.term > term || (hardState.term === term && hardState.votedFor === candidate)
    this.#rule(synced, `${voter} votes for ${candidate} in term ${term} before that is synced`)
  }

  #elected(peer: PeerId, machine: RaftMachine): void {
    const { term, log, commitIndex } = machine
    const other = this.#leaders.get(term)
    check(other === undefined || other === peer, `${peer} and ${other} both lead in term ${term}`)
    if (other === undefined) this.leaderChanges++
    this.#leaders.set(term, peer)
    this.#committed.forEach((entry, index) => {
      if (entry === undefined || entry.inTerm >= term || index <= commitIndex) return
      check(
        log.termAt(index) === entry.term,
        `${peer}, leader of term ${term}, lacks committed entry ${index}`,
      )
    })
  }

  #appended(peer: PeerId, machine: RaftMachine, entry: RaftEntry): void {
    const key = `${entry.index} ${entry.term}`
    const print = `${fingerprint(entry)} after ${machine.log.termAt(entry.index - 1)}`
    const known = this.#entries.get(key)
    check(known === undefined || known === print, `${peer}: entry ${key} is ${print}, elsewhere ${known}`)
    // A sole voter elects itself before that is on its disk. What it appends by then has been told to nobody, so after
    // a crash it may be leader of the same term again, with other entries.
    const untold = machine.role === 'leader' && this.#disks.get(peer)!.hardState.term < entry.term
    if (!untold) this.#entries.set(key, print)
    if (
      entry.kind !== 'config' ||
      machine.role !== 'leader' ||
      entry.term !== machine.term ||
      entry.index === 1
    )
      return
    const before = machine.log.votersAt(entry.index - 1)
    this.#rule(votersDifference(before, entry.voters) === 1, `${peer} changes several voters at a time`)
    this.#rule(
      machine.log.termAt(machine.commitIndex) === machine.term,
      `${peer} changes voters before its own term's commit`,
    )
  }

  #advanced(peer: PeerId, machine: RaftMachine, from: number): void {
    const { log, commitIndex, term, role, voters } = machine
    for (let index = from + 1; index <= commitIndex; index++) {
      const entryTerm = log.termAt(index)
      if (entryTerm === undefined) continue
      const known = this.#committed[index]
      check(
        known === undefined || known.term === entryTerm,
        `${peer}: committed entry ${index} differs from another peer's`,
      )
      if (known === undefined) this.#committed[index] = { term: entryTerm, inTerm: term }
    }
    if (role !== 'leader') return
    const entryTerm = log.termAt(commitIndex)!
    const holders = voters.filter(
      voter =>
        this.#disks.get(voter)?.holds(commitIndex, entryTerm) === true ||
        commitIndex <= (this.#heldBeforeLoss.get(voter) ?? 0),
    )
    this.#rule(
      holders.length >= majorityOf(voters),
      `${peer} commits ${commitIndex}, which no majority of disks holds`,
    )
  }

  /** The state machine of a peer after this index: everywhere the same. */
  applied(peer: PeerId, index: number, stateHash: string, command: number | undefined): void {
    const known = this.#stateAt[index]
    check(
      known === undefined || known === stateHash,
      `the state of ${peer} after ${index} differs from another peer's`,
    )
    this.#stateAt[index] = stateHash
    if (command === undefined) return
    const at = this.#appliedAt.get(command)
    check(at === undefined || at === index, `command ${command} is applied at ${at} and at ${index}`)
    this.#appliedAt.set(command, index)
  }

  acknowledged(command: number, index: number): void {
    this.acked.set(command, index)
    this.ackedIndex = Math.max(this.ackedIndex, index)
    check(
      this.#appliedAt.get(command) === index,
      `command ${command} was acknowledged at ${index}, but is not there`,
    )
  }

  /** @param ackedBefore the highest index acknowledged to anybody before the read began */
  readAnswered(peer: PeerId, index: number, ackedBefore: number): void {
    check(
      index >= ackedBefore,
      `stale read at ${peer}: may see ${index}, but ${ackedBefore} was acknowledged before it`,
    )
  }

  /** After healing: everything acknowledged is on every one of these peers. */
  nothingLost(peers: readonly PeerId[]): void {
    for (const peer of peers) {
      const { appliedIndex } = this.machine(peer)
      check(appliedIndex >= this.ackedIndex, `${peer} lacks what was acknowledged up to ${this.ackedIndex}`)
    }
    for (const [command, index] of this.acked) {
      check(this.#appliedAt.get(command) === index, `acknowledged command ${command} is lost`)
    }
  }
}

function fingerprint(entry: RaftEntry): string {
  if (entry.kind === 'command') return `command ${entry.data.join(' ')} at ${entry.timeMs}`
  return entry.kind === 'config' ? `config ${entry.voters.join(' ')}` : 'no-op'
}
