import type { PeerId } from '../base/index.ts'
import { invariant } from '../base/index.ts'
import type { RaftContext } from './raft-context.ts'
import { entrySizeBytes } from './raft-log.ts'
import { RaftProgress } from './raft-progress.ts'
import { hasMajority, majorityValue, votersDifference } from './raft-quorum.ts'
import type { Read } from './raft-reads.ts'
import { RaftReads } from './raft-reads.ts'
import type {
  LifeTold,
  LogLife,
  MessageOf,
  Proposal,
  ProposalRefusal,
  RaftEntry,
  RaftMessage,
} from './raft-types.ts'

/** The machine's rules that bind a leader. */
export interface LeaderRules {
  hasCommittedInTerm(): boolean
  mayCommit(index: number): boolean
  mayChangeConfig(): boolean
  mayAnswerRead(acks: ReadonlySet<PeerId>): boolean
  mayCount(life: LogLife | undefined): boolean
  ownMatch(): number
}

/** How far a fed peer is, and how long ago it answered, in the leader's waking time. */
export interface FedPeer {
  peer: PeerId
  voter: boolean
  match: number
  silentMs: number
  /** It said itself how far it is, in this term; before that `match` and `silentMs` say nothing of it. */
  answered: boolean
  state: RaftProgress['state']
  /** Its log was lost: what it says counts for nothing until a change of the voters settles it. */
  forgot: boolean
  /** It has no room on its disk, so it should not lead. */
  unfit: boolean
}

/**
 * What a leader knows and does in its term: whom it feeds and how far they are, what it appended and for whom, who waits
 * for a read. Made when an election is won and dropped when the term ends, so nothing of it can leak into another term.
 */
export class RaftLeader {
  readonly term: number
  readonly #context: RaftContext
  readonly #rules: LeaderRules
  /** Live peers as the driver was told, voters or not. */
  #peers: readonly PeerId[]
  #progress = new Map<PeerId, RaftProgress>()
  #reads = new RaftReads()
  /** Proposal id by index of its entry, until that is committed. */
  #proposals = new Map<number, number>()
  /** Of the entries of this term. */
  #uncommittedBytes = 0
  /** Counts the heartbeats: a reply tells which question it answers. */
  #round = 0
  #heartbeatAtMs: number
  #learnerHeartbeatAtMs: number
  #announceAtMs = 0

  constructor(context: RaftContext, term: number, peers: readonly PeerId[], rules: LeaderRules) {
    this.term = term
    this.#context = context
    this.#rules = rules
    this.#peers = peers
    this.#heartbeatAtMs = context.nowMs + context.options.heartbeatMs
    this.#learnerHeartbeatAtMs = context.nowMs + context.options.learnerHeartbeatMs
  }

  /** Its first entry says nothing; when that is committed, so is everything before it (thesis §6.4). */
  begin(): void {
    const { log } = this.#context
    this.#feedPeers()
    this.#append({ kind: 'no-op', term: this.term, index: log.lastIndex + 1, timeMs: log.lastTimeMs })
    this.#announce()
    this.#sendAppends()
  }

  /** Reads can be asked elsewhere; what was appended may or may not survive. Use nothing of it after this. */
  end(refuseRead: (read: Read) => void): void {
    for (const read of this.#reads.takeAll()) refuseRead(read)
    for (const id of this.#proposals.values()) {
      this.#context.out.late({ type: 'proposal-refused', id, code: 'UNKNOWN_OUTCOME', term: this.term })
    }
  }

  /** A majority of the voters answered lately; without one it must assume that another leads. */
  get hearsMajority(): boolean {
    const { self, awakeMs, log, options } = this.#context
    return hasMajority(log.voters, voter => {
      if (voter === self) return true
      const progress = this.#progress.get(voter)
      return (
        progress !== undefined &&
        this.#rules.mayCount(progress.life) &&
        awakeMs - progress.heardAwakeMs < options.quorumWindowMs
      )
    })
  }

  /** The last moment at which it had answers of a majority that were newer than that. */
  get heardMajorityMs(): number {
    const { self, nowMs, log } = this.#context
    return majorityValue(log.voters, voter => {
      if (voter === self) return nowMs
      const progress = this.#progress.get(voter)
      return progress === undefined || !this.#rules.mayCount(progress.life) ? 0 : progress.heardMs
    })
  }

  /** The voters without it are committed: its work is done (thesis §4.2.2). */
  get removed(): boolean {
    const { log, self } = this.#context
    return !log.configPending && !log.voters.includes(self)
  }

  fed(): FedPeer[] {
    const { log, awakeMs } = this.#context
    const voters = new Set(log.voters)
    return [...this.#progress].map(([peer, progress]) => ({
      peer,
      voter: voters.has(peer),
      match: progress.match,
      silentMs: awakeMs - progress.heardAwakeMs,
      answered: progress.answered,
      state: progress.state,
      forgot: progress.life?.forgot === true,
      unfit: progress.unfit,
    }))
  }

  assertInvariants(): void {
    const { commitIndex, lastIndex } = this.#context.log
    for (const { match } of this.#progress.values()) invariant(match <= lastIndex, 'no peer is ahead')
    for (const index of this.#proposals.keys()) {
      invariant(index > commitIndex && index <= lastIndex, 'proposals wait for the commit of their entry')
    }
    invariant(this.#uncommittedBytes >= 0, 'no entry is counted out twice')
  }

  // ---- Timers

  ticked(): void {
    const { nowMs, options } = this.#context
    for (const progress of this.#progress.values()) {
      if (progress.state === 'snapshot' && nowMs - progress.snapshotSinceMs >= options.snapshotTimeoutMs) {
        progress.abandonSnapshot()
      }
    }
    if (nowMs >= this.#heartbeatAtMs) this.#sendHeartbeats()
    if (nowMs >= this.#announceAtMs) this.#announce()
  }

  /** One round: every voter is asked whether we still lead; learners at their slower pace. */
  #sendHeartbeats(): void {
    const { nowMs, awakeMs, options, log, out } = this.#context
    const urgent = out.mayPassDisk(awakeMs, options.writeStallMs)
    const toLearners = nowMs >= this.#learnerHeartbeatAtMs
    this.#round++
    this.#heartbeatAtMs = nowMs + options.heartbeatMs
    if (toLearners) this.#learnerHeartbeatAtMs = nowMs + options.learnerHeartbeatMs
    const voters = new Set(log.voters)
    for (const [peer, progress] of this.#progress) {
      if (!toLearners && !voters.has(peer)) continue
      // A commit index beyond what the peer has would make it commit entries of another leader.
      const commit = Math.min(progress.match, log.commitIndex)
      const heartbeat: RaftMessage = { type: 'heartbeat', term: this.term, commit, round: this.#round }
      const life = progress.life?.number
      out.early({
        type: 'send',
        to: peer,
        message: life === undefined ? heartbeat : { ...heartbeat, life },
        ...(urgent && { urgent }),
      })
    }
  }

  #announce(): void {
    const { nowMs, options, log, out } = this.#context
    this.#announceAtMs = nowMs + options.announceMs
    const message: RaftMessage = { type: 'leader-here', term: this.term, commit: log.commitIndex }
    out.late({ type: 'publish', topic: 'leader', message })
  }

  // ---- Appending

  propose(proposals: readonly Proposal[], wallMs: number): void {
    const { log, nowMs, options, out, self, time } = this.#context
    const refuse = (id: number, code: ProposalRefusal): void => {
      out.late({ type: 'proposal-refused', id, code, leader: self, term: this.term })
    }
    for (const { id, data } of proposals) {
      if (data.byteLength > options.entryBytesMax) {
        refuse(id, 'TOO_LARGE')
      } else if (
        log.lastIndex - log.commitIndex >= options.uncommittedMax ||
        this.#uncommittedBytes + data.byteLength > options.uncommittedBytesMax
      ) {
        refuse(id, 'BUSY')
      } else {
        const index = log.lastIndex + 1
        const timeMs = time.next(wallMs, log.lastTimeMs, nowMs)
        this.#proposals.set(index, id)
        this.#append({ kind: 'command', term: this.term, index, timeMs, data })
      }
    }
    if (out.hasEntries) this.#sendAppends()
  }

  proposeVoters(voters: PeerId[]): void {
    const { log, out } = this.#context
    const reason = this.#whyNotVoters(voters)
    if (reason !== undefined) {
      out.late({ type: 'voters-refused', voters, reason })
      return
    }
    const index = log.lastIndex + 1
    const settles = this.#lifeSettledBy(voters)
    const entry = { kind: 'config', term: this.term, index, timeMs: log.lastTimeMs, voters } as const
    this.#append(settles === undefined ? entry : { ...entry, settles })
    this.#feedPeers()
    this.#sendAppends()
  }

  #whyNotVoters(voters: readonly PeerId[]): string | undefined {
    if (!this.#rules.mayChangeConfig())
      return 'the last change, or the first entry of this term, is not committed yet'
    if (voters.length === 0 || new Set(voters).size !== voters.length) return 'voters must be a non-empty set'
    if (votersDifference(this.#context.log.voters, voters) !== 1)
      return 'exactly one voter may come or go at a time'
    return undefined
  }

  /** The one that comes or goes may have lost its log: the change says which loss it makes up for. */
  #lifeSettledBy(voters: readonly PeerId[]): number | undefined {
    const before = this.#context.log.voters
    const changed =
      voters.find(voter => !before.includes(voter)) ?? before.find(voter => !voters.includes(voter))
    const life = changed === undefined ? undefined : this.#progress.get(changed)?.life
    return life?.forgot === true ? life.number : undefined
  }

  #append(entry: RaftEntry): void {
    const { log, out } = this.#context
    log.append([entry])
    this.#uncommittedBytes += entrySizeBytes(entry)
    const persist = out.draft
    persist.entries ??= []
    persist.entries.push(entry)
  }

  // ---- Feeding

  peersChanged(peers: readonly PeerId[]): void {
    this.#peers = peers
    this.#feedPeers()
  }

  /** Progress for exactly the voters and the live peers, without ourselves. */
  #feedPeers(): void {
    const { self, log, options } = this.#context
    const wanted = new Set([...log.voters, ...this.#peers])
    wanted.delete(self)
    for (const peer of this.#progress.keys()) if (!wanted.has(peer)) this.#progress.delete(peer)
    for (const peer of wanted) {
      if (this.#progress.has(peer)) continue
      this.#progress.set(peer, new RaftProgress(log.lastIndex + 1, this.#context, options.inflightMax))
      if (this.#rules.hasCommittedInTerm()) this.#sendAppend(peer, true)
    }
  }

  #sendAppends(): void {
    for (const peer of this.#progress.keys()) this.#sendAppend(peer, true)
  }

  /** The next entries; `evenEmpty` also when there are none, for the commit index or to find the agreement. */
  #sendAppend(peer: PeerId, evenEmpty: boolean): boolean {
    const { log, out, options } = this.#context
    const progress = this.#progress.get(peer)
    if (progress === undefined || progress.paused) return false
    const prevIndex = progress.next - 1
    const prevTerm = log.termAt(prevIndex)
    if (prevTerm === undefined) return this.#sendSnapshot(peer, progress)
    const entries = log.slice(progress.next, options.appendEntriesMax, options.appendBytesMax)
    if (entries.length === 0 && !evenEmpty) return false
    const commit = log.commitIndex
    progress.sent(entries.length, prevIndex + entries.length)
    progress.commitTold = commit
    out.early({
      type: 'send',
      to: peer,
      message: { type: 'append', term: this.term, prevIndex, prevTerm, entries, commit },
    })
    return true
  }

  #sendSnapshot(peer: PeerId, progress: RaftProgress): boolean {
    const { log, nowMs, out } = this.#context
    const { snapshot } = log
    invariant(snapshot !== undefined, 'what is compacted is in a snapshot')
    progress.becomeSnapshot(snapshot.index, nowMs)
    out.late({ type: 'send-snapshot', to: peer, term: this.term, snapshot })
    return true
  }

  onAppendReply(from: PeerId, reply: MessageOf<'append-reply'>): void {
    const { log } = this.#context
    const progress = this.#progress.get(from)
    if (progress === undefined) return
    if (!this.#sameLife(from, progress, reply)) return
    progress.heard(this.#context)
    if (!reply.ok) {
      const { rejected, hintIndex, hintTerm } = reply
      const agreement = hintTerm > 0 ? log.agreementBefore(hintIndex, hintTerm).index : hintIndex
      if (progress.backUp(rejected, agreement)) this.#sendAppend(from, true)
      return
    }
    if (reply.match > log.lastIndex || !progress.acknowledged(reply.match)) return
    const continues = progress.state === 'snapshot' && log.termAt(progress.match) !== undefined
    if (progress.state === 'probe' || continues) progress.becomeReplicate()
    this.commitByCounting()
    if (this.removed) return
    while (this.#sendAppend(from, false));
    // Its entries were committed by the others while this answer was on its way.
    if (progress.commitTold < log.commitIndex) this.#sendAppend(from, true)
  }

  onHeartbeatReply(from: PeerId, reply: MessageOf<'heartbeat-reply'>): void {
    const { log } = this.#context
    const progress = this.#progress.get(from)
    if (progress === undefined) return
    if (!this.#sameLife(from, progress, reply)) return
    progress.heard(this.#context)
    progress.unfit = reply.unfit === true
    progress.resume()
    if (progress.match < log.lastIndex || progress.state === 'probe') this.#sendAppend(from, true)
    if (this.#rules.mayCount(reply.life)) this.#reads.acknowledged(from, reply.round)
    this.#answerReads()
  }

  /** False for an answer of an earlier life, and for the first of a new one: it is asked anew what it has. */
  #sameLife(from: PeerId, progress: RaftProgress, { life }: LifeTold): boolean {
    const known = progress.life?.number ?? 0
    const told = life?.number ?? 0
    if (told < known) return false
    if (told === known) {
      progress.life = life
      return true
    }
    progress.begin(life!, this.#context.log.lastIndex + 1)
    progress.heard(this.#context)
    this.#sendAppend(from, true)
    return false
  }

  snapshotSent(to: PeerId, ok: boolean): void {
    const progress = this.#progress.get(to)
    if (progress?.state !== 'snapshot') return
    if (ok) progress.becomeProbe()
    else progress.abandonSnapshot()
  }

  connectionClosed(peer: PeerId): void {
    const progress = this.#progress.get(peer)
    if (progress?.state === 'snapshot') progress.abandonSnapshot()
    else if (progress?.state === 'replicate') progress.becomeProbe()
  }

  /** Only to a voter whose log is complete: any other could not win. */
  handOver(to: PeerId): void {
    const { log, out } = this.#context
    const heir = this.#progress.get(to)
    if (!log.voters.includes(to) || heir?.match !== log.lastIndex || heir.life?.forgot === true) return
    out.late({ type: 'send', to, message: { type: 'timeout-now', term: this.term } })
  }

  // ---- Committing

  /** Called whenever a log grew durably, ours or another's. */
  commitByCounting(): void {
    const { log, out, self } = this.#context
    const index = majorityValue(log.voters, voter =>
      voter === self ? this.#rules.ownMatch() : this.#countedMatch(voter),
    )
    if (index <= log.commitIndex || !this.#rules.mayCommit(index)) return
    const configWasPending = log.configPending
    this.#settle(log.commitIndex, index)
    log.commitTo(index)
    this.#sendAppends()
    if (this.#rules.hasCommittedInTerm()) for (const read of this.#reads.takeWaiting()) this.#beginRead(read)
    if (!configWasPending || log.configPending) return
    out.late({ type: 'voters-committed', voters: [...log.voters], index: log.configIndex })
  }

  #countedMatch(voter: PeerId): number {
    const progress = this.#progress.get(voter)
    return progress === undefined || !this.#rules.mayCount(progress.life) ? 0 : progress.match
  }

  /** Entries after `from` up to `to` are committed. */
  #settle(from: number, to: number): void {
    const { log, out } = this.#context
    for (const entry of log.slice(from + 1, to - from, Infinity)) {
      if (entry.term === this.term) this.#uncommittedBytes -= entrySizeBytes(entry)
      const id = this.#proposals.get(entry.index)
      if (id === undefined) continue
      this.#proposals.delete(entry.index)
      out.afterApply({ type: 'proposal-committed', id, index: entry.index })
    }
  }

  // ---- Reading

  /** False when too many wait already. */
  read(read: Read): boolean {
    if (this.#reads.size >= this.#context.options.readsMax) return false
    if (this.#rules.hasCommittedInTerm()) this.#beginRead(read)
    else this.#reads.wait(read)
    return true
  }

  #beginRead(read: Read): void {
    this.#sendHeartbeats()
    this.#reads.begin(read, this.#context.log.commitIndex, this.#round)
    this.#answerReads()
  }

  #answerReads(): void {
    const { out } = this.#context
    for (const { read, index } of this.#reads.takeConfirmed(acks => this.#rules.mayAnswerRead(acks))) {
      const { id, from } = read
      if (from === undefined) out.late({ type: 'read-ready', id, index })
      else
        out.late({
          type: 'send',
          to: from,
          message: { type: 'read-index-reply', term: this.term, id, index },
        })
    }
  }
}
