import type { PeerId, Random } from '../base/index.ts'
import { invariant } from '../base/index.ts'
import type { RaftOptions } from './config.ts'
import { RaftLog, entrySizeBytes } from './raft-log.ts'
import { RaftOutbox } from './raft-outbox.ts'
import { RaftProgress } from './raft-progress.ts'
import { hasMajority, majorityValue, votersDifference } from './raft-quorum.ts'
import type { Read } from './raft-reads.ts'
import { RaftReads } from './raft-reads.ts'
import type {
  Proposal,
  ProposalRefusal,
  RaftEffect,
  RaftEntry,
  RaftEvent,
  RaftMessage,
  RaftRole,
  RaftState,
  Snapshot,
  SnapshotMeta,
} from './raft-types.ts'

type MessageOf<Type extends RaftMessage['type']> = Extract<RaftMessage, { type: Type }>

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
  readonly #random: Random

  #nowMs: number
  #term: number
  #votedFor: PeerId | undefined
  #role: Exclude<RaftRole, 'learner'> = 'follower'
  #leader: PeerId | undefined
  /** What gossip says when no leader spoke to us: good for asking, for nothing else. */
  #hint: { leader: PeerId; term: number } | undefined
  #commit: number
  #applied: number
  #snapshot: SnapshotMeta | undefined
  /** Live peers as the driver was told, voters or not. */
  #peers: PeerId[] = []

  #electionAtMs: number
  #heardLeaderMs = -Infinity
  /** Answers to this (pre-)candidate. */
  #votes = new Map<PeerId, boolean>()

  // Leader only
  #progress = new Map<PeerId, RaftProgress>()
  #reads = new RaftReads()
  /** Proposal id by log index. */
  #proposals = new Map<number, number>()
  #uncommittedBytes = 0
  #heartbeatAtMs = 0
  #learnerHeartbeatAtMs = 0
  #announceAtMs = 0
  #round = 0
  /** Log time and the (monotonic) moment it was read; from there it runs with the monotonic clock. */
  #logTime: { timeMs: number; atMs: number } | undefined

  #appliedBytes = 0
  #snapshotAsked = false

  readonly #out: RaftOutbox
  #told = ''

  constructor(components: RaftComponents) {
    const { self, state, random, options, nowMs } = components
    this.self = self
    this.options = options
    this.#random = random
    this.#nowMs = nowMs
    this.log = new RaftLog(state)
    if (state.snapshot !== undefined) {
      this.log.compact(state.snapshot, state.snapshot.index - options.trailingEntries + 1)
    }
    this.#term = state.hardState.term
    this.#votedFor = state.hardState.votedFor
    this.#snapshot = state.snapshot
    this.#commit = state.snapshot?.index ?? 0
    this.#applied = this.#commit
    this.#out = new RaftOutbox(this.log.lastIndex)
    // A sole voter has nobody to wait for.
    const alone = this.voters.length === 1 && this.isVoter
    this.#electionAtMs = alone ? nowMs : nowMs + this.#electionTimeoutMs()
    this.#told = this.#roleKey()
  }

  // ---- What others may look at

  get term(): number {
    return this.#term
  }

  get votedFor(): PeerId | undefined {
    return this.#votedFor
  }

  get role(): RaftRole {
    return this.#role === 'follower' && !this.isVoter ? 'learner' : this.#role
  }

  /** The leader of this term, or at least of the last one that gossip told of. */
  get leader(): PeerId | undefined {
    if (this.#leader !== undefined) return this.#leader
    return this.#hint !== undefined && this.#hint.term >= this.#term ? this.#hint.leader : undefined
  }

  get commitIndex(): number {
    return this.#commit
  }

  get appliedIndex(): number {
    return this.#applied
  }

  get durableIndex(): number {
    return this.#out.durableIndex
  }

  get snapshotMeta(): SnapshotMeta | undefined {
    return this.#snapshot
  }

  get voters(): readonly PeerId[] {
    return this.log.voters
  }

  get isVoter(): boolean {
    return this.log.voters.includes(this.self)
  }

  /** True while the voter set in force may still be taken back. */
  get configPending(): boolean {
    return this.log.configIndex > this.#commit
  }

  /** Leader, and an entry of its own term is committed: only then does it know all that was committed before. */
  get ready(): boolean {
    return this.#role === 'leader' && this.hasCommittedInTerm()
  }

  /** Leader only: how far each fed peer is, and how long ago it answered. */
  progress(): { peer: PeerId; voter: boolean; match: number; silentMs: number }[] {
    const voters = new Set(this.voters)
    return [...this.#progress].map(([peer, progress]) => ({
      peer,
      voter: voters.has(peer),
      match: progress.match,
      silentMs: Math.max(0, this.#nowMs - progress.heardMs),
    }))
  }

  // ---- Rules

  /** Raft §5.2, §5.4.1: one vote a term, and only for a log that has all of ours that may be committed. */
  protected mayVoteFor(candidate: PeerId, lastIndex: number, lastTerm: number): boolean {
    return (
      (this.#votedFor === undefined || this.#votedFor === candidate) &&
      this.log.isUpToDate(lastIndex, lastTerm)
    )
  }

  /** Whoever heard a leader within the window lets nobody depose it (thesis §4.2.3); a leader checks its own quorum. */
  protected mayDisturbLeader(): boolean {
    if (this.#role === 'leader') return false
    return this.#leader === undefined || this.#nowMs - this.#heardLeaderMs >= this.options.quorumWindowMs
  }

  /**
   * Only a voter of a configuration it knows campaigns: a joiner never founds a mesh of its own. One that is being
   * removed campaigns until that is committed, without counting its own vote: the voters that stay cannot elect one of
   * themselves while its log is longer than theirs (thesis §4.2.2).
   */
  protected mayCampaign(): boolean {
    if (this.isVoter || !this.configPending) return this.isVoter
    return this.log.votersAt(this.log.configIndex - 1).includes(this.self)
  }

  /** Raft §5.4.2: entries of earlier terms are committed only along with one of this term, never by counting. */
  protected mayCommit(index: number): boolean {
    return this.log.termAt(index) === this.#term
  }

  /** Until then it does not know which of the entries before its term are committed. */
  protected hasCommittedInTerm(): boolean {
    return this.log.termAt(this.#commit) === this.#term
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
    this.#nowMs = nowMs
    switch (event.type) {
      case 'ticked':
        this.#onTicked()
        break
      case 'received':
        if (event.from !== this.self) this.#onReceived(event.from, event.message)
        break
      case 'proposed':
        this.#onProposed(event.proposals, event.wallMs)
        break
      case 'voters-proposed':
        this.#onVotersProposed(event.voters)
        break
      case 'read-requested':
        this.#onReadRequested({ id: event.id })
        break
      case 'persisted':
        this.#onPersisted(event.seq)
        break
      case 'peers-changed':
        this.#peers = [...event.peers]
        if (this.#role === 'leader') this.#feedPeers()
        break
      case 'connection-closed':
        this.#onConnectionClosed(event.peer)
        break
      case 'snapshot-taken':
        this.#onSnapshotTaken(event.index, event.data)
        break
      case 'snapshot-sent':
        this.#onSnapshotSent(event.to, event.ok)
        break
      case 'transfer-requested':
        this.#onTransferRequested(event.to)
        break
    }
    return this.#takeEffects()
  }

  assertInvariants(): void {
    this.log.assertInvariants()
    invariant(this.#applied <= this.#commit, 'only committed entries are applied')
    invariant(this.#commit <= this.log.lastIndex, 'committed entries are in the log')
    invariant((this.#snapshot?.index ?? 0) <= this.#applied, 'a snapshot holds only what was applied')
    invariant(this.durableIndex <= this.log.lastIndex, 'what is durable is in the log')
    invariant(this.log.lastTerm <= this.#term, 'no entry is of a later term than its holder')
    if (this.#role === 'leader') {
      invariant(this.#votedFor === this.self, 'a leader voted for itself')
      invariant(this.#leader === this.self, 'a leader knows that it leads')
      for (const { match } of this.#progress.values())
        invariant(match <= this.log.lastIndex, 'no peer is ahead')
    } else {
      invariant(
        this.#progress.size === 0 && this.#reads.size === 0,
        'only a leader feeds peers and answers reads',
      )
      invariant(this.#leader !== this.self, 'who does not lead does not think so')
    }
    for (const index of this.#proposals.keys()) {
      invariant(
        index > this.#applied && this.#role === 'leader',
        'proposals wait for their entry at the leader',
      )
    }
  }

  // ---- Timers

  #onTicked(): void {
    if (this.#role === 'leader') this.#onLeaderTicked()
    else if (this.#nowMs >= this.#electionAtMs && this.mayCampaign()) this.#askPreVotes()
  }

  #onLeaderTicked(): void {
    const now = this.#nowMs
    const { quorumWindowMs, snapshotTimeoutMs } = this.options
    const hears = (voter: PeerId): boolean =>
      voter === this.self || now - (this.#progress.get(voter)?.heardMs ?? -Infinity) < quorumWindowMs
    if (!hasMajority(this.voters, hears)) {
      this.#becomeFollower(this.#term, undefined)
      return
    }
    for (const progress of this.#progress.values()) {
      if (progress.state === 'snapshot' && now - progress.snapshotSinceMs >= snapshotTimeoutMs) {
        progress.abandonSnapshot()
      }
    }
    if (now >= this.#heartbeatAtMs) this.#sendHeartbeats()
    if (now >= this.#announceAtMs) this.#announce()
  }

  /** One round: every voter is asked whether we still lead; learners at their slower pace. */
  #sendHeartbeats(): void {
    const toLearners = this.#nowMs >= this.#learnerHeartbeatAtMs
    this.#round++
    this.#heartbeatAtMs = this.#nowMs + this.options.heartbeatMs
    if (toLearners) this.#learnerHeartbeatAtMs = this.#nowMs + this.options.learnerHeartbeatMs
    const voters = new Set(this.voters)
    for (const [peer, progress] of this.#progress) {
      if (!toLearners && !voters.has(peer)) continue
      // A commit index beyond what the peer has would make it commit entries of another leader.
      const commit = Math.min(progress.match, this.#commit)
      this.#out.early({
        type: 'send',
        to: peer,
        message: { type: 'heartbeat', term: this.#term, commit, round: this.#round },
      })
    }
  }

  #announce(): void {
    this.#announceAtMs = this.#nowMs + this.options.announceMs
    const message: RaftMessage = { type: 'leader-here', term: this.#term, commit: this.#commit }
    this.#out.late({ type: 'publish', topic: 'leader', message })
  }

  #electionTimeoutMs(): number {
    const { electionMinMs, electionMaxMs } = this.options
    return electionMinMs + this.#random.next() * (electionMaxMs - electionMinMs)
  }

  // ---- Election

  #askPreVotes(): void {
    this.#role = 'pre-candidate'
    this.#leader = undefined
    this.#electionAtMs = this.#nowMs + this.#electionTimeoutMs()
    this.#votes = new Map([[this.self, true]])
    if (this.#hasWon()) {
      this.#campaign(false)
      return
    }
    const { lastIndex, lastTerm } = this.log
    this.#askVoters({ type: 'pre-vote', term: this.#term + 1, lastIndex, lastTerm })
  }

  #campaign(transfer: boolean): void {
    this.#role = 'candidate'
    this.#leader = undefined
    this.#setTerm(this.#term + 1)
    this.#setVote(this.self)
    this.#electionAtMs = this.#nowMs + this.#electionTimeoutMs()
    this.#votes = new Map([[this.self, true]])
    if (this.#hasWon()) {
      this.#becomeLeader()
      return
    }
    const { lastIndex, lastTerm } = this.log
    const message: RaftMessage = { type: 'vote', term: this.#term, lastIndex, lastTerm }
    this.#askVoters(transfer ? { ...message, transfer } : message)
  }

  #askVoters(message: RaftMessage): void {
    for (const voter of this.voters) if (voter !== this.self) this.#send(voter, message)
    this.#out.late({ type: 'publish', topic: 'vote', message })
  }

  #hasWon(): boolean {
    return hasMajority(this.voters, voter => this.#votes.get(voter) === true)
  }

  #hasLost(): boolean {
    return hasMajority(this.voters, voter => this.#votes.get(voter) === false)
  }

  #becomeLeader(): void {
    this.#role = 'leader'
    this.#leader = this.self
    this.#hint = undefined
    this.#votes.clear()
    this.#uncommittedBytes = 0
    this.#logTime = undefined
    this.#heartbeatAtMs = this.#nowMs + this.options.heartbeatMs
    this.#learnerHeartbeatAtMs = this.#nowMs + this.options.learnerHeartbeatMs
    this.#progress.clear()
    this.#feedPeers()
    this.#appendOwn({
      kind: 'no-op',
      term: this.#term,
      index: this.log.lastIndex + 1,
      timeMs: this.log.lastTimeMs,
    })
    this.#announce()
    this.#sendAppends()
  }

  #becomeFollower(term: number, leader: PeerId | undefined): void {
    if (term > this.#term) this.#setTerm(term)
    if (this.#role === 'leader') this.#abdicate()
    this.#role = 'follower'
    this.#leader = leader
    this.#votes.clear()
    this.#electionAtMs = this.#nowMs + this.#electionTimeoutMs()
  }

  /** What was appended may or may not survive; what was asked can be asked elsewhere. */
  #abdicate(): void {
    this.#progress.clear()
    for (const read of this.#reads.takeAll()) this.#refuseRead(read)
    for (const [index, id] of this.#proposals) {
      if (index <= this.#commit) continue
      this.#proposals.delete(index)
      this.#out.late({ type: 'proposal-refused', id, code: 'UNKNOWN_OUTCOME', term: this.#term })
    }
  }

  #onConnectionClosed(peer: PeerId): void {
    const progress = this.#progress.get(peer)
    if (progress?.state === 'snapshot') progress.abandonSnapshot()
    else if (progress?.state === 'replicate') progress.becomeProbe()
    if (this.#hint?.leader === peer) this.#hint = undefined
    if (this.#leader !== peer || this.#role !== 'follower') return
    // Only a hint: those that still hear the leader refuse our pre-vote, and nothing is lost.
    this.#leader = undefined
    this.#electionAtMs = this.#nowMs + this.#random.next() * this.options.earlyElectionMs
  }

  #onTransferRequested(to: PeerId): void {
    if (this.#role !== 'leader' || !this.voters.includes(to)) return
    if (this.#progress.get(to)?.match !== this.log.lastIndex) return
    this.#send(to, { type: 'timeout-now', term: this.#term })
  }

  // ---- Messages

  #onReceived(from: PeerId, message: RaftMessage): void {
    switch (message.type) {
      case 'leader-here':
        if (message.term >= this.#term) this.#hint = { leader: from, term: message.term }
        return
      case 'read-index':
        this.#onReadRequested({ id: message.id, from })
        return
      case 'read-index-reply':
        this.#onReadIndexReply(message)
        return
      case 'pre-vote':
        this.#onPreVote(from, message)
        return
      case 'vote':
        this.#onVote(from, message)
        return
      case 'pre-vote-reply':
      case 'vote-reply':
      case 'append':
      case 'append-reply':
      case 'heartbeat':
      case 'heartbeat-reply':
      case 'snapshot':
      case 'timeout-now':
        this.#onTermMessage(from, message)
    }
  }

  #onPreVote(from: PeerId, message: MessageOf<'pre-vote'>): void {
    const { term, lastIndex, lastTerm } = message
    if (term <= this.#term) {
      this.#send(from, { type: 'pre-vote-reply', term: this.#term, granted: false })
    } else if (this.mayDisturbLeader()) {
      const granted = this.log.isUpToDate(lastIndex, lastTerm)
      this.#send(from, { type: 'pre-vote-reply', term: granted ? term : this.#term, granted })
    }
  }

  #onVote(from: PeerId, message: MessageOf<'vote'>): void {
    const { term, lastIndex, lastTerm, transfer } = message
    if (term >= this.#term && transfer !== true && !this.mayDisturbLeader()) return
    if (term > this.#term) this.#becomeFollower(term, undefined)
    const granted = term === this.#term && this.mayVoteFor(from, lastIndex, lastTerm)
    if (granted) {
      this.#setVote(from)
      this.#electionAtMs = this.#nowMs + this.#electionTimeoutMs()
    }
    this.#send(from, { type: 'vote-reply', term: this.#term, granted })
  }

  /** Everything that obeys terms: a later one makes us its follower, an earlier one is not obeyed. */
  #onTermMessage(
    from: PeerId,
    message: Exclude<
      RaftMessage,
      { type: 'leader-here' | 'read-index' | 'read-index-reply' | 'pre-vote' | 'vote' }
    >,
  ): void {
    const fromLeader =
      message.type === 'append' || message.type === 'heartbeat' || message.type === 'snapshot'
    const promise = message.type === 'pre-vote-reply' && message.granted
    if (message.term < this.#term) {
      // Tells a leader that was cut off that its time is over.
      if (fromLeader) this.#refuseAppend(from, 0, 0, 0)
      return
    }
    if (message.term > this.#term && !promise) this.#becomeFollower(message.term, undefined)
    if (fromLeader) {
      if (this.#role === 'leader') return
      if (this.#role !== 'follower') this.#becomeFollower(this.#term, from)
      this.#leader = from
      this.#heardLeaderMs = this.#nowMs
      this.#electionAtMs = this.#nowMs + this.#electionTimeoutMs()
    }
    switch (message.type) {
      case 'append':
        this.#onAppend(from, message)
        break
      case 'heartbeat':
        this.#commitTo(Math.min(message.commit, this.log.lastIndex))
        this.#send(from, { type: 'heartbeat-reply', term: this.#term, round: message.round })
        break
      case 'snapshot':
        this.#onSnapshot(from, message.snapshot)
        break
      case 'append-reply':
        this.#onAppendReply(from, message)
        break
      case 'heartbeat-reply':
        this.#onHeartbeatReply(from, message.round)
        break
      case 'pre-vote-reply':
        if (this.#role !== 'pre-candidate' || (promise && message.term !== this.#term + 1)) break
        this.#votes.set(from, message.granted)
        if (this.#hasWon()) this.#campaign(false)
        else if (this.#hasLost()) this.#becomeFollower(this.#term, undefined)
        break
      case 'vote-reply':
        if (this.#role !== 'candidate') break
        this.#votes.set(from, message.granted)
        if (this.#hasWon()) this.#becomeLeader()
        else if (this.#hasLost()) this.#becomeFollower(this.#term, undefined)
        break
      case 'timeout-now':
        if (this.mayCampaign() && this.#role !== 'leader') this.#campaign(true)
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
    if (prevIndex < this.#commit) {
      // Old news: what is committed here is the same there.
      this.#send(from, { type: 'append-reply', term: this.#term, ok: true, match: this.#commit })
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
    this.#commitTo(Math.min(message.commit, match))
    this.#send(from, { type: 'append-reply', term: this.#term, ok: true, match })
  }

  #refuseAppend(to: PeerId, rejected: number, hintIndex: number, hintTerm: number): void {
    this.#send(to, { type: 'append-reply', term: this.#term, ok: false, rejected, hintIndex, hintTerm })
  }

  /** The leader's entries win over what we hold from that index on. */
  #appendForeign(entries: RaftEntry[]): void {
    const from = entries[0]!.index
    const persist = this.#out.draft
    if (from <= this.log.lastIndex) {
      invariant(from > this.#commit, `committed entry ${from} is never replaced`)
      this.log.truncateFrom(from)
      this.#out.truncatedFrom(from)
      persist.truncateFrom = from
    }
    this.log.append(entries)
    persist.entries = entries
  }

  #onSnapshot(from: PeerId, snapshot: Snapshot): void {
    const { data: _, ...meta } = snapshot
    const known = meta.index <= this.#commit
    if (!known && this.log.termAt(meta.index) === meta.term) {
      // The log already agrees with it: only the commit index is news.
      this.#commitTo(meta.index)
    } else if (!known) {
      this.log.reset(meta)
      this.#out.truncatedFrom(1)
      this.#snapshot = meta
      this.#snapshotAsked = false
      this.#commit = meta.index
      this.#applied = meta.index
      this.#appliedBytes = 0
      const persist = this.#out.draft
      persist.snapshot = snapshot
      persist.log = 'reset'
      this.#out.late({ type: 'restore', snapshot })
    }
    this.#send(from, { type: 'append-reply', term: this.#term, ok: true, match: this.#commit })
  }

  // ---- Leading

  /** Progress for exactly the voters and the live peers, without ourselves. */
  #feedPeers(): void {
    const wanted = new Set([...this.voters, ...this.#peers])
    wanted.delete(this.self)
    for (const peer of this.#progress.keys()) if (!wanted.has(peer)) this.#progress.delete(peer)
    for (const peer of wanted) {
      if (this.#progress.has(peer)) continue
      this.#progress.set(
        peer,
        new RaftProgress(this.log.lastIndex + 1, this.#nowMs, this.options.inflightMax),
      )
      if (this.hasCommittedInTerm()) this.#sendAppend(peer, true)
    }
  }

  #onProposed(proposals: readonly Proposal[], wallMs: number): void {
    const refuse = (id: number, code: ProposalRefusal): void => {
      this.#out.late({ type: 'proposal-refused', id, code, leader: this.leader, term: this.#term })
    }
    for (const { id, data } of proposals) {
      if (this.#role !== 'leader') {
        refuse(id, 'NOT_LEADER')
      } else if (data.byteLength > this.options.entryBytesMax) {
        refuse(id, 'TOO_LARGE')
      } else if (
        this.log.lastIndex - this.#commit >= this.options.uncommittedMax ||
        this.#uncommittedBytes + data.byteLength > this.options.uncommittedBytesMax
      ) {
        refuse(id, 'BUSY')
      } else {
        const index = this.log.lastIndex + 1
        this.#proposals.set(index, id)
        this.#appendOwn({ kind: 'command', term: this.#term, index, timeMs: this.#logTimeMs(wallMs), data })
      }
    }
    if (this.#out.hasEntries) this.#sendAppends()
  }

  #onVotersProposed(proposed: readonly PeerId[]): void {
    const voters = [...proposed]
    const refuse = (reason: string): void => {
      this.#out.late({ type: 'voters-refused', voters, reason })
    }
    if (this.#role !== 'leader') return refuse('this peer does not lead')
    if (!this.mayChangeConfig())
      return refuse('the last change, or the first entry of this term, is not committed yet')
    if (voters.length === 0 || new Set(voters).size !== voters.length)
      return refuse('voters must be a non-empty set')
    if (votersDifference(this.voters, voters) !== 1)
      return refuse('exactly one voter may come or go at a time')
    this.#appendOwn({
      kind: 'config',
      term: this.#term,
      index: this.log.lastIndex + 1,
      timeMs: this.log.lastTimeMs,
      voters,
    })
    this.#feedPeers()
    this.#sendAppends()
  }

  #appendOwn(entry: RaftEntry): void {
    this.log.append([entry])
    this.#uncommittedBytes += entrySizeBytes(entry)
    const persist = this.#out.draft
    persist.entries ??= []
    persist.entries.push(entry)
  }

  /** The wall clock counts once a term; a clock that jumps, or a predecessor's that ran ahead, stops no lease. */
  #logTimeMs(wallMs: number): number {
    this.#logTime ??= { timeMs: Math.max(this.log.lastTimeMs, Math.floor(wallMs)), atMs: this.#nowMs }
    const timeMs = this.#logTime.timeMs + Math.floor(this.#nowMs - this.#logTime.atMs)
    return Math.max(this.log.lastTimeMs, timeMs)
  }

  #sendAppends(): void {
    for (const peer of this.#progress.keys()) this.#sendAppend(peer, true)
  }

  /** The next entries; `evenEmpty` also when there are none, for the commit index or to find the agreement. */
  #sendAppend(peer: PeerId, evenEmpty: boolean): boolean {
    const progress = this.#progress.get(peer)
    if (progress === undefined || progress.paused) return false
    const prevIndex = progress.next - 1
    const prevTerm = this.log.termAt(prevIndex)
    if (prevTerm === undefined) return this.#sendSnapshot(peer, progress)
    const entries = this.log.slice(progress.next, this.options.appendEntriesMax, this.options.appendBytesMax)
    if (entries.length === 0 && !evenEmpty) return false
    progress.sent(entries.length, prevIndex + entries.length)
    progress.commitTold = this.#commit
    this.#out.early({
      type: 'send',
      to: peer,
      message: { type: 'append', term: this.#term, prevIndex, prevTerm, entries, commit: this.#commit },
    })
    return true
  }

  #sendSnapshot(peer: PeerId, progress: RaftProgress): boolean {
    const snapshot = this.#snapshot
    invariant(snapshot !== undefined, 'what is compacted is in a snapshot')
    progress.becomeSnapshot(snapshot.index, this.#nowMs)
    this.#out.late({ type: 'send-snapshot', to: peer, term: this.#term, snapshot })
    return true
  }

  #onAppendReply(from: PeerId, message: MessageOf<'append-reply'>): void {
    const progress = this.#progress.get(from)
    if (progress === undefined || this.#role !== 'leader') return
    progress.heardMs = this.#nowMs
    if (!message.ok) {
      const agreement =
        message.hintTerm > 0
          ? this.log.agreementBefore(message.hintIndex, message.hintTerm).index
          : message.hintIndex
      if (progress.backUp(message.rejected, agreement)) this.#sendAppend(from, true)
      return
    }
    if (message.match > this.log.lastIndex || !progress.acknowledged(message.match)) return
    if (progress.state === 'probe') progress.becomeReplicate()
    else if (progress.state === 'snapshot' && this.log.termAt(progress.match) !== undefined)
      progress.becomeReplicate()
    this.#commitByCounting()
    while (this.#sendAppend(from, false));
    // Its entries were committed by the others while this answer was on its way.
    if (progress.commitTold < this.#commit) this.#sendAppend(from, true)
  }

  #onHeartbeatReply(from: PeerId, round: number): void {
    const progress = this.#progress.get(from)
    if (progress === undefined || this.#role !== 'leader') return
    progress.heardMs = this.#nowMs
    progress.resume()
    if (progress.match < this.log.lastIndex || progress.state === 'probe') this.#sendAppend(from, true)
    this.#reads.acknowledged(from, round)
    this.#answerReads()
  }

  #onSnapshotSent(to: PeerId, ok: boolean): void {
    const progress = this.#progress.get(to)
    if (progress?.state !== 'snapshot') return
    if (ok) progress.becomeProbe()
    else progress.abandonSnapshot()
  }

  #onPersisted(seq: number): void {
    this.#out.flushed(seq)
    this.#commitByCounting()
  }

  // ---- Committing

  #commitByCounting(): void {
    if (this.#role !== 'leader') return
    const index = majorityValue(this.voters, voter =>
      voter === this.self ? this.ownMatch() : (this.#progress.get(voter)?.match ?? 0),
    )
    if (index <= this.#commit || !this.mayCommit(index)) return
    const configWasPending = this.configPending
    this.#commitTo(index)
    this.#sendAppends()
    if (this.hasCommittedInTerm()) for (const read of this.#reads.takeWaiting()) this.#beginRead(read)
    if (!configWasPending || this.configPending) return
    this.#out.late({ type: 'voters-committed', voters: [...this.voters], index: this.log.configIndex })
    if (!this.isVoter) this.#becomeFollower(this.#term, undefined)
  }

  #commitTo(index: number): void {
    if (index > this.#commit) this.#commit = index
  }

  // ---- Reading

  #onReadRequested(read: Read): void {
    if (this.#role === 'leader') {
      if (this.#reads.size >= this.options.readsMax) this.#refuseRead(read)
      else if (this.hasCommittedInTerm()) this.#beginRead(read)
      else this.#reads.wait(read)
    } else if (read.from === undefined && this.leader !== undefined) {
      this.#send(this.leader, { type: 'read-index', term: this.#term, id: read.id })
    } else {
      this.#refuseRead(read)
    }
  }

  #beginRead(read: Read): void {
    this.#sendHeartbeats()
    this.#reads.begin(read, this.#commit, this.#round)
    this.#answerReads()
  }

  #answerReads(): void {
    for (const { read, index } of this.#reads.takeConfirmed(acks => this.mayAnswerRead(acks))) {
      const { id, from } = read
      if (from === undefined) this.#out.late({ type: 'read-ready', id, index })
      else this.#send(from, { type: 'read-index-reply', term: this.#term, id, index })
    }
  }

  #refuseRead(read: Read): void {
    const { id, from } = read
    if (from === undefined)
      this.#out.late({ type: 'read-refused', id, leader: this.leader, term: this.#term })
    else this.#send(from, { type: 'read-index-reply', term: this.#term, id })
  }

  #onReadIndexReply({ id, index }: MessageOf<'read-index-reply'>): void {
    if (index === undefined) this.#refuseRead({ id })
    else this.#out.late({ type: 'read-ready', id, index })
  }

  // ---- Snapshots

  #onSnapshotTaken(index: number, data: Uint8Array): void {
    this.#snapshotAsked = false
    if (index <= (this.#snapshot?.index ?? 0) || index > this.#applied) return
    const entry = this.log.entryAt(index)
    invariant(entry !== undefined, 'entries after the last snapshot are held')
    const meta: SnapshotMeta = {
      index,
      term: entry.term,
      timeMs: entry.timeMs,
      voters: this.log.votersAt(index),
    }
    const keepFrom = Math.max(this.log.firstIndex, index - this.options.trailingEntries + 1)
    this.log.compact(meta, keepFrom)
    this.#snapshot = meta
    const persist = this.#out.draft
    persist.snapshot = { ...meta, data }
    persist.log = { keepFrom }
  }

  // ---- Effects

  #send(to: PeerId, message: RaftMessage): void {
    this.#out.late({ type: 'send', to, message })
  }

  #setTerm(term: number): void {
    this.#term = term
    this.#votedFor = undefined
    this.#out.draft.hardState = { term }
  }

  #setVote(candidate: PeerId): void {
    if (this.#votedFor === candidate) return
    this.#votedFor = candidate
    this.#out.draft.hardState = { term: this.#term, votedFor: candidate }
  }

  #takeEffects(): RaftEffect[] {
    const effects = this.#out.take(this.log.lastIndex)
    this.#applyCommitted(effects)
    this.#tellRole(effects)
    return effects
  }

  #applyCommitted(effects: RaftEffect[]): void {
    if (this.#applied < this.#commit) {
      const entries = this.log.slice(this.#applied + 1, this.#commit - this.#applied, Infinity)
      invariant(entries.length === this.#commit - this.#applied, 'committed entries are at hand')
      this.#applied = this.#commit
      effects.push({ type: 'apply', entries })
      for (const entry of entries) {
        const bytes = entrySizeBytes(entry)
        this.#appliedBytes += bytes
        this.#uncommittedBytes = Math.max(0, this.#uncommittedBytes - bytes)
        const id = this.#proposals.get(entry.index)
        if (id === undefined) continue
        this.#proposals.delete(entry.index)
        effects.push({ type: 'proposal-committed', id, index: entry.index })
      }
    }
    const { snapshotEntries, snapshotBytes } = this.options
    const since = this.#applied - (this.#snapshot?.index ?? 0)
    if (this.#snapshotAsked || (since < snapshotEntries && this.#appliedBytes < snapshotBytes)) return
    this.#snapshotAsked = true
    this.#appliedBytes = 0
    effects.push({ type: 'take-snapshot', index: this.#applied })
  }

  #roleKey(): string {
    return `${this.role} ${this.#term} ${this.leader ?? ''} ${this.ready}`
  }

  #tellRole(effects: RaftEffect[]): void {
    const key = this.#roleKey()
    if (key === this.#told) return
    this.#told = key
    const { role, leader, ready } = this
    effects.push({ type: 'role-changed', role, term: this.#term, leader, ready })
  }
}
