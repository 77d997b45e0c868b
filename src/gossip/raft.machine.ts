import type { PeerId, Random } from '../base/index.ts'
import { invariant } from '../base/index.ts'
import type { RaftOptions } from './config.ts'
import { LogTime } from './log-time.ts'
import type { RaftContext } from './raft-context.ts'
import { RaftElection } from './raft-election.ts'
import type { ElectionReport } from './raft-election.ts'
import { RaftLeader } from './raft-leader.ts'
import type { FedPeer } from './raft-leader.ts'
import { RaftLog, entrySizeBytes } from './raft-log.ts'
import { RaftOutbox } from './raft-outbox.ts'
import { hasMajority } from './raft-quorum.ts'
import type { Read } from './raft-reads.ts'
import type {
  LifeTold,
  LogLife,
  MessageOf,
  Proposal,
  RaftEffect,
  RaftEntry,
  RaftEvent,
  RaftMessage,
  RaftRole,
  RaftState,
  Snapshot,
  SnapshotMeta,
} from './raft-types.ts'

export interface RaftComponents {
  self: PeerId
  /** What the disk holds; `emptyRaftState()` for a joiner, `genesisRaftState([self])` for a founder. */
  state: RaftState
  random: Random
  options: RaftOptions
  nowMs: number
}

/**
 * Election and replicated log: Raft (Ongaro's thesis) with pre-vote, check-quorum, learners, single-server changes of
 * the voters, ReadIndex and snapshots, in the manner of etcd-io/raft. Reads no clock, sends nothing.
 *
 * Made of three parts over one log: `RaftElection` (term, vote, whom to follow), `RaftLeader` (exists only while this
 * peer leads), and here what every peer does: take a leader's entries, apply what is committed, keep snapshots.
 *
 * Contract of the driver: perform effects in order over all steps; a `persist` is durable before any later effect is
 * performed, and is reported by `persisted`. Several `persist`s may share one flush. The leader's own appends come
 * before its `persist`, so that its disk and its followers' work at the same time; it counts its own entries only when
 * they are durable, and followers answer after their `persist`.
 *
 * Every rule whose breach loses data is a small protected method (`may…`), so that tests can break one at a time.
 */
export class RaftMachine {
  readonly self: PeerId
  readonly log: RaftLog
  protected readonly options: RaftOptions
  readonly #out: RaftOutbox
  readonly #context: RaftContext
  readonly #election: RaftElection
  #leading: RaftLeader | undefined
  /** When a majority last answered it as a leader, in its last term as one. */
  #ledUntilMs: number | undefined
  /** Live peers as the driver was told, voters or not. */
  #peers: readonly PeerId[] = []

  /** The last tick, or the beginning. */
  #ticked: { nowMs: number; awakeMs: number }
  /** Undefined while the log is the peer's first. */
  #life: LogLife | undefined
  #applied: number
  /** Bytes applied since the last snapshot was asked for. */
  #appliedBytes = 0
  #snapshotAsked = false
  /** The last `role-changed`, as text. */
  #told: string

  constructor(components: RaftComponents) {
    const { self, state, random, options, nowMs } = components
    this.self = self
    this.options = options
    this.#life = state.life
    this.log = new RaftLog(state)
    if (state.snapshot !== undefined) {
      this.log.compact(state.snapshot, state.snapshot.index - options.trailingEntries + 1)
    }
    this.#applied = this.log.commitIndex
    this.#out = new RaftOutbox(this.log.lastIndex)
    this.#context = {
      self,
      options,
      log: this.log,
      out: this.#out,
      time: new LogTime(),
      nowMs,
      awakeMs: nowMs,
    }
    this.#ticked = { nowMs, awakeMs: nowMs }
    this.#election = new RaftElection(this.#context, state.hardState, random, {
      mayCampaign: () => this.mayCampaign(),
      mayDisturbLeader: () => this.mayDisturbLeader(),
      mayVoteFor: (candidate, lastIndex, lastTerm) =>
        this.mayPromise() && this.mayVoteFor(candidate, lastIndex, lastTerm),
      mayPromise: () => this.mayPromise(),
      won: () => this.#lead(),
      deposed: () => this.#stopLeading(),
    })
    this.#told = this.#roleKey()
  }

  // ---- What others may look at

  get term(): number {
    return this.#election.term
  }

  get votedFor(): PeerId | undefined {
    return this.#election.votedFor
  }

  get role(): RaftRole {
    const { role } = this.#election
    return role === 'follower' && !this.isVoter ? 'learner' : role
  }

  /** The leader of this term, or at least of the last one that gossip told of. */
  get leader(): PeerId | undefined {
    return this.#election.leader
  }

  get commitIndex(): number {
    return this.log.commitIndex
  }

  get appliedIndex(): number {
    return this.#applied
  }

  get durableIndex(): number {
    return this.#out.durableIndex
  }

  get snapshotMeta(): SnapshotMeta | undefined {
    return this.log.snapshot
  }

  /** Of a snapshot after that entry; undefined when one holds it already, or it is not applied. */
  snapshotMetaAt(index: number): SnapshotMeta | undefined {
    if (index <= (this.snapshotMeta?.index ?? 0) || index > this.#applied) return undefined
    const entry = this.log.entryAt(index)
    invariant(entry !== undefined, 'entries after the last snapshot are held')
    return { index, term: entry.term, timeMs: entry.timeMs, voters: this.log.votersAt(index) }
  }

  get voters(): readonly PeerId[] {
    return this.log.voters
  }

  get isVoter(): boolean {
    return this.log.voters.includes(this.self)
  }

  /** Its log was lost: it follows, but neither votes nor counts until the log itself says that it may again. */
  get forgot(): boolean {
    return this.#life?.forgot === true
  }

  /** True while the voter set in force may still be taken back. */
  get configPending(): boolean {
    return this.log.configPending
  }

  /** Leader, and an entry of its own term is committed: only then does it know all that was committed before. */
  get ready(): boolean {
    return this.#leading !== undefined && this.hasCommittedInTerm()
  }

  /** Time without that at which this process stood still; begins as the clock does. For the one who chooses voters. */
  get awakeMs(): number {
    return this.#context.awakeMs
  }

  /** The answers to its last candidacy, and when it last heard a leader: what a person wants to know. */
  election(): ElectionReport {
    return this.#election.report()
  }

  /**
   * When this peer last knew of a leader that a majority followed; undefined when it has not since it began. A leader that was
   * cut off speaks to its followers for up to two `quorumWindowMs` more.
   */
  get heardLeaderMs(): number | undefined {
    if (this.#leading !== undefined) return this.#leading.heardMajorityMs
    const heardMs = this.#election.report().heardLeaderMs
    if (this.#ledUntilMs === undefined || heardMs === undefined) return heardMs ?? this.#ledUntilMs
    return Math.max(heardMs, this.#ledUntilMs)
  }

  /** How far each fed peer is; empty unless this peer leads. */
  progress(): FedPeer[] {
    return this.#leading?.fed() ?? []
  }

  // ---- Rules

  /** Who lost its log may have promised anything: a vote, or an entry's safety. It makes no new promises. */
  protected mayPromise(): boolean {
    return !this.forgot
  }

  /** A leader counts no answer of a peer that forgot: it may have forgotten a later leader too. */
  protected mayCount(life: LogLife | undefined): boolean {
    return life?.forgot !== true
  }

  /** Raft §5.2, §5.4.1: one vote a term, and only for a log that has all of ours that may be committed. */
  protected mayVoteFor(candidate: PeerId, lastIndex: number, lastTerm: number): boolean {
    return (
      (this.votedFor === undefined || this.votedFor === candidate) && this.log.isUpToDate(lastIndex, lastTerm)
    )
  }

  /** Whoever heard a leader within the window lets nobody depose it (thesis §4.2.3); a leader checks its own quorum. */
  protected mayDisturbLeader(): boolean {
    return this.#leading === undefined && !this.#election.hearsLeader(this.options.quorumWindowMs)
  }

  /**
   * Only a voter of a configuration it knows campaigns: a joiner never founds a mesh of its own. One that is being
   * removed campaigns until that is committed, without counting its own vote: the voters that stay cannot elect one of
   * themselves while its log is longer than theirs (thesis §4.2.2).
   */
  protected mayCampaign(): boolean {
    if (!this.mayPromise() || this.#election.fitness === 'unfit') return false
    if (this.isVoter || !this.configPending) return this.isVoter
    return this.log.votersAt(this.log.configIndex - 1).includes(this.self)
  }

  /** Raft §5.4.2: entries of earlier terms are committed only along with one of this term, never by counting. */
  protected mayCommit(index: number): boolean {
    return this.log.termAt(index) === this.term
  }

  /** Until then it does not know which of the entries before its term are committed. */
  protected hasCommittedInTerm(): boolean {
    return this.log.termAt(this.commitIndex) === this.term
  }

  /** One change at a time, and none before this term's no-op: two configurations in flight may have disjoint majorities. */
  protected mayChangeConfig(): boolean {
    return !this.configPending && this.hasCommittedInTerm()
  }

  /** A majority still took us for the leader after the read came, so no later leader had committed anything by then. */
  protected mayAnswerRead(acks: ReadonlySet<PeerId>): boolean {
    return hasMajority(this.voters, voter => voter === this.self || acks.has(voter))
  }

  /** What the leader may count of its own log. */
  protected ownMatch(): number {
    return this.#out.durableIndex
  }

  // ---- Step

  step(event: RaftEvent, nowMs: number): RaftEffect[] {
    this.#tell(nowMs)
    switch (event.type) {
      case 'ticked':
        this.#ticked = { nowMs, awakeMs: this.awakeMs }
        this.#onTicked()
        break
      case 'received':
        if (event.from !== this.self) this.#onReceived(event.from, event.message)
        break
      case 'proposed':
        this.#onProposed(event.proposals, event.wallMs)
        break
      case 'voters-proposed':
        this.#onVotersProposed([...event.voters])
        break
      case 'read-requested':
        this.#onReadRequested({ id: event.id })
        break
      case 'persisted':
        this.#out.flushed(event.seq)
        this.#election.flushed()
        this.#leading?.commitByCounting()
        break
      case 'peers-changed':
        this.#peers = [...event.peers]
        this.#leading?.peersChanged(this.#peers)
        break
      case 'connection-closed':
        this.#leading?.connectionClosed(event.peer)
        this.#election.connectionClosed(event.peer)
        break
      case 'snapshot-taken':
        this.#onSnapshotTaken(event.index, event.data)
        break
      case 'snapshot-sent':
        this.#leading?.snapshotSent(event.to, event.ok)
        break
      case 'fitness-changed':
        this.#election.fitness = event.fitness
        break
      case 'transfer-requested':
        this.#leading?.handOver(event.to)
        break
    }
    if (this.#leading?.removed === true)
      this.#election.follow(this.term, undefined, 'it is no voter any more')
    return this.#takeEffects()
  }

  assertInvariants(): void {
    this.log.assertInvariants()
    this.#election.assertInvariants()
    this.#leading?.assertInvariants()
    invariant(this.#applied <= this.commitIndex, 'only committed entries are applied')
    invariant((this.snapshotMeta?.index ?? 0) <= this.#applied, 'a snapshot holds only what was applied')
    invariant(this.durableIndex <= this.log.lastIndex, 'what is durable is in the log')
    invariant(this.log.lastTerm <= this.term, 'no entry is of a later term than its holder')
    const leads = this.#election.role === 'leader'
    invariant((this.#leading !== undefined) === leads, 'only a leader feeds peers and answers reads')
    invariant(this.#leading === undefined || this.#leading.term === this.term, 'who leads, leads this term')
  }

  #tell(nowMs: number): void {
    const { tickMs, stallMs } = this.options
    this.#context.nowMs = nowMs
    this.#context.awakeMs = this.#ticked.awakeMs + Math.min(nowMs - this.#ticked.nowMs, tickMs + stallMs)
  }

  // ---- Leading, or not

  #lead(): void {
    this.#leading = new RaftLeader(this.#context, this.term, this.#peers, {
      hasCommittedInTerm: () => this.hasCommittedInTerm(),
      mayCommit: index => this.mayCommit(index),
      mayChangeConfig: () => this.mayChangeConfig(),
      mayAnswerRead: acks => this.mayAnswerRead(acks),
      mayCount: life => this.mayCount(life),
      ownMatch: () => this.ownMatch(),
    })
    this.#leading.begin()
  }

  #stopLeading(): void {
    const ended = this.#leading
    this.#ledUntilMs = ended?.heardMajorityMs
    this.#leading = undefined
    ended?.end(read => this.#refuseRead(read))
  }

  #onTicked(): void {
    if (this.#leading === undefined) this.#election.ticked()
    else if (this.#leading.hearsMajority) this.#leading.ticked()
    else this.#election.follow(this.term, undefined, 'no majority of the voters answers any more')
  }

  #onProposed(proposals: readonly Proposal[], wallMs: number): void {
    if (this.#leading !== undefined) return this.#leading.propose(proposals, wallMs)
    const { leader, term } = this
    for (const { id } of proposals) {
      this.#out.late({ type: 'proposal-refused', id, code: 'NOT_LEADER', leader, term })
    }
  }

  #onVotersProposed(voters: PeerId[]): void {
    if (this.#leading !== undefined) this.#leading.proposeVoters(voters)
    else this.#out.late({ type: 'voters-refused', voters, reason: 'this peer does not lead' })
  }

  /** The leader answers; a question of our own goes to it, but nobody else's is passed on. */
  #onReadRequested(read: Read): void {
    if (this.#leading !== undefined) {
      if (!this.#leading.read(read)) this.#refuseRead(read)
    } else if (read.from === undefined && this.leader !== undefined) {
      this.#send(this.leader, { type: 'read-index', term: this.term, id: read.id })
    } else {
      this.#refuseRead(read)
    }
  }

  #refuseRead({ id, from }: Read): void {
    const { leader, term } = this
    if (from === undefined) this.#out.late({ type: 'read-refused', id, leader, term })
    else this.#send(from, { type: 'read-index-reply', term, id })
  }

  // ---- Messages

  #onReceived(from: PeerId, message: RaftMessage): void {
    switch (message.type) {
      case 'leader-here':
        this.#election.hinted(from, message.term)
        return
      case 'read-index':
        this.#onReadRequested({ id: message.id, from })
        return
      case 'read-index-reply':
        if (message.index === undefined) this.#refuseRead({ id: message.id })
        else this.#out.late({ type: 'read-ready', id: message.id, index: message.index })
        return
      case 'pre-vote':
        this.#election.onPreVote(from, message)
        return
      case 'vote':
        this.#election.onVote(from, message)
        return
      case 'append':
      case 'heartbeat':
      case 'snapshot':
        this.#onLeaderMessage(from, message)
        return
      case 'pre-vote-reply':
      case 'vote-reply':
      case 'append-reply':
      case 'heartbeat-reply':
      case 'timeout-now':
        this.#onTermMessage(from, message)
    }
  }

  /** What only a leader says. Of an earlier term it is told so, and not obeyed. */
  #onLeaderMessage(from: PeerId, message: MessageOf<'append' | 'heartbeat' | 'snapshot'>): void {
    if (message.term < this.term) {
      this.#refuseAppend(from, 0, 0, 0)
      return
    }
    if (message.term > this.term) this.#election.follow(message.term, undefined, `${from} leads a later term`)
    if (this.#leading !== undefined) return
    this.#election.heardLeader(from)
    switch (message.type) {
      case 'append':
        this.#onAppend(from, message)
        break
      case 'heartbeat':
        // What the leader knows of an earlier life of this log says nothing of what is in it now.
        if ((message.life ?? 0) === (this.#life?.number ?? 0))
          this.log.commitTo(Math.min(message.commit, this.log.lastIndex))
        this.#answerHeartbeat(from, message.round)
        break
      case 'snapshot':
        this.#onSnapshot(from, message.snapshot)
        break
    }
  }

  #answerHeartbeat(to: PeerId, round: number): void {
    const message: RaftMessage = {
      type: 'heartbeat-reply',
      term: this.term,
      round,
      ...(this.#election.fitness === 'fit' ? {} : { unfit: true }),
      ...this.#lifeTold(),
    }
    const urgent = this.#out.mayPassDisk(this.awakeMs, this.options.writeStallMs)
    this.#out.late({ type: 'send', to, message, ...(urgent && { urgent }) })
  }

  /** The rest that obeys terms: a later one makes us its follower, an earlier one is old news. */
  #onTermMessage(
    from: PeerId,
    message: MessageOf<'pre-vote-reply' | 'vote-reply' | 'append-reply' | 'heartbeat-reply' | 'timeout-now'>,
  ): void {
    if (message.term < this.term) return
    // A granted pre-vote is of the term that was asked about, in which nobody is yet.
    const promise = message.type === 'pre-vote-reply' && message.granted
    if (message.term > this.term && !promise)
      this.#election.follow(message.term, undefined, `${from} knows a later term`)
    switch (message.type) {
      case 'pre-vote-reply':
        this.#election.onPreVoteReply(from, message)
        break
      case 'vote-reply':
        this.#election.onVoteReply(from, message)
        break
      case 'append-reply':
        this.#leading?.onAppendReply(from, message)
        break
      case 'heartbeat-reply':
        this.#leading?.onHeartbeatReply(from, message)
        break
      case 'timeout-now':
        this.#election.onTimeoutNow()
        break
    }
  }

  // ---- Following

  #onAppend(from: PeerId, message: MessageOf<'append'>): void {
    const { prevIndex, prevTerm, entries } = message
    const gapless = entries.every(
      (entry, at) => entry.index === prevIndex + 1 + at && entry.term <= message.term,
    )
    if (!gapless) return
    if (prevIndex < this.commitIndex) {
      // Old news: what is committed here is the same there.
      this.#acknowledge(from, this.commitIndex)
      return
    }
    if (this.log.termAt(prevIndex) !== prevTerm) {
      const agreement = this.log.agreementBefore(prevIndex, prevTerm)
      this.#refuseAppend(from, prevIndex, agreement.index, agreement.term)
      return
    }
    const fresh = entries.findIndex(entry => this.log.termAt(entry.index) !== entry.term)
    if (fresh !== -1) this.#appendForeign(entries.slice(fresh))
    const match = prevIndex + entries.length
    this.log.commitTo(Math.min(message.commit, match))
    this.#acknowledge(from, match)
  }

  #acknowledge(to: PeerId, match: number): void {
    this.#send(to, { type: 'append-reply', term: this.term, ok: true, match, ...this.#lifeTold() })
  }

  /** Nothing of a first life: it is what all messages mean by default. */
  #lifeTold(): LifeTold {
    return this.#life === undefined ? {} : { life: this.#life }
  }

  #refuseAppend(to: PeerId, rejected: number, hintIndex: number, hintTerm: number): void {
    this.#send(to, {
      type: 'append-reply',
      term: this.term,
      ok: false,
      rejected,
      hintIndex,
      hintTerm,
      ...this.#lifeTold(),
    })
  }

  /** The leader's entries win over what we hold from that index on. */
  #appendForeign(entries: RaftEntry[]): void {
    const from = entries[0]!.index
    const persist = this.#out.draft
    if (from <= this.log.lastIndex) {
      this.log.truncateFrom(from)
      this.#out.truncatedFrom(from)
      persist.truncateFrom = from
    }
    this.log.append(entries)
    persist.entries = entries
    // A no-op only repeats the time before it.
    const newest = entries.findLast(({ kind }) => kind === 'command')
    if (newest !== undefined) this.#context.time.heard(newest.timeMs, this.#context.nowMs)
  }

  #onSnapshot(from: PeerId, snapshot: Snapshot): void {
    const { data: _, ...meta } = snapshot
    this.#context.time.heard(meta.timeMs, this.#context.nowMs)
    const known = meta.index <= this.commitIndex
    if (!known && this.log.termAt(meta.index) === meta.term) {
      // The log already agrees with it: only the commit index is news.
      this.log.commitTo(meta.index)
    } else if (!known) {
      this.log.reset(meta)
      this.#out.truncatedFrom(1)
      this.#snapshotAsked = false
      this.#applied = meta.index
      this.#appliedBytes = 0
      const persist = this.#out.draft
      persist.snapshot = snapshot
      persist.log = 'reset'
      this.#out.late({ type: 'restore', snapshot })
    }
    this.#acknowledge(from, this.commitIndex)
  }

  // ---- Snapshots

  #onSnapshotTaken(index: number, data: Uint8Array): void {
    this.#snapshotAsked = false
    const meta = this.snapshotMetaAt(index)
    if (meta === undefined) return
    const keepFrom = Math.max(this.log.firstIndex, index - this.options.trailingEntries + 1)
    this.log.compact(meta, keepFrom)
    const persist = this.#out.draft
    persist.snapshot = { ...meta, data }
    persist.log = { keepFrom }
  }

  // ---- Effects

  #send(to: PeerId, message: RaftMessage): void {
    this.#out.late({ type: 'send', to, message })
  }

  #takeEffects(): RaftEffect[] {
    const effects = this.#out.take(this.log.lastIndex, this.#takeCommitted(), this.awakeMs)
    if (this.#snapshotIsDue()) {
      this.#snapshotAsked = true
      this.#appliedBytes = 0
      effects.push({ type: 'take-snapshot', index: this.#applied })
    }
    this.#tellRole(effects)
    return effects
  }

  /** Entries to apply now, in log order; after a snapshot from elsewhere, those after it. */
  #takeCommitted(): RaftEntry[] {
    const count = this.commitIndex - this.#applied
    const entries = this.log.slice(this.#applied + 1, count, Infinity)
    invariant(entries.length === count, 'committed entries are at hand')
    this.#applied = this.commitIndex
    for (const entry of entries) {
      this.#appliedBytes += entrySizeBytes(entry)
      if (entry.kind === 'config' && this.forgot && entry.settles === this.#life?.number) this.#settle()
    }
    return entries
  }

  /**
   * A majority without us committed it, and counted nothing that we said since: whoever we voted for before can win no
   * more without their votes, and whatever we acknowledged before is in the log up to here.
   */
  #settle(): void {
    this.#life = { number: this.#life!.number, forgot: false }
    this.#out.draft.settled = true
  }

  #snapshotIsDue(): boolean {
    if (this.#snapshotAsked) return false
    const { snapshotEntries, snapshotBytes } = this.options
    const since = this.#applied - (this.snapshotMeta?.index ?? 0)
    return since >= snapshotEntries || this.#appliedBytes >= snapshotBytes
  }

  #roleKey(): string {
    return `${this.role} ${this.term} ${this.leader ?? ''} ${this.ready}`
  }

  #tellRole(effects: RaftEffect[]): void {
    const key = this.#roleKey()
    if (key === this.#told) return
    this.#told = key
    const { role, term, leader, ready } = this
    effects.push({ type: 'role-changed', role, term, leader, ready, reason: this.#election.reason })
  }
}
