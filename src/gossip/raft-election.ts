import type { PeerId, Random } from '../base/index.ts'
import { invariant } from '../base/index.ts'
import type { RaftContext } from './raft-context.ts'
import { hasMajority } from './raft-quorum.ts'
import type { Fitness, HardState, MessageOf, RaftMessage, RaftRole } from './raft-types.ts'

/** A candidate waits at most so many election timeouts for votes. */
const PATIENCE_MAX = 4

/** The machine around an election: the rules to ask, and what to do when leadership comes or goes. */
export interface ElectionHost {
  mayCampaign(): boolean
  mayDisturbLeader(): boolean
  mayPromise(): boolean
  mayVoteFor(candidate: PeerId, lastIndex: number, lastTerm: number): boolean
  won(): void
  /** It led, and does no longer. */
  deposed(): void
}

/** What one peer can tell of elections. Times are of its monotonic clock. */
export interface ElectionReport {
  votedFor: PeerId | undefined
  /** Undefined when it never heard one. */
  heardLeaderMs: number | undefined
  /** Its last candidacy; the candidate's own vote included. */
  candidacy: { term: number; atMs: number; granted: PeerId[]; refused: PeerId[] } | undefined
}

/**
 * Who leads in which term, as one peer sees it: its term and vote, whom it follows, how long it waits for a leader
 * before it asks for votes itself, and how it answers others that ask (thesis §3.4, §9.6 pre-vote).
 */
export class RaftElection {
  readonly #context: RaftContext
  readonly #random: Random
  readonly #host: ElectionHost
  #term: number
  #votedFor: PeerId | undefined
  #role: Exclude<RaftRole, 'learner'> = 'follower'
  #leader: PeerId | undefined
  /** What gossip says when no leader spoke to us: good for asking, for nothing else. */
  #hint: { leader: PeerId; term: number; atMs: number } | undefined
  #heardLeaderMs = -Infinity
  /** Waking time. */
  #heardLeaderAwakeMs = -Infinity
  /** Waking time. */
  #electionAtMs: number
  /** Answers to this pre-candidate. */
  #votes = new Map<PeerId, boolean>()
  /** Its last candidacy, as it went, also after the end of it. */
  #candidacy: { term: number; atMs: number; votes: Map<PeerId, boolean>; won: boolean } | undefined
  /** Candidacies since the last leader: each waits twice as long as the one before for voters with slow disks. */
  #fruitless = 0
  /** Of the last change of role, term or leader. */
  #reason = 'it started'
  /** Its term or vote is not on disk yet. */
  #unspoken = false
  /** Set by the machine. */
  fitness: Fitness = 'fit'

  constructor(context: RaftContext, hardState: HardState, random: Random, host: ElectionHost) {
    this.#context = context
    this.#random = random
    this.#host = host
    this.#term = hardState.term
    this.#votedFor = hardState.votedFor
    const { voters } = context.log
    // A sole voter has nobody to wait for.
    const alone = voters.length === 1 && voters[0] === context.self
    this.#electionAtMs = context.awakeMs + (alone ? 0 : this.#timeoutMs())
  }

  get term(): number {
    return this.#term
  }

  get votedFor(): PeerId | undefined {
    return this.#votedFor
  }

  get role(): Exclude<RaftRole, 'learner'> {
    return this.#role
  }

  /** The leader of this term, or at least of the last one that gossip told of. */
  get leader(): PeerId | undefined {
    if (this.#leader !== undefined) return this.#leader
    const hint = this.#hint
    if (hint === undefined || hint.term < this.#term) return undefined
    // Who leads says so again and again.
    return this.#context.nowMs - hint.atMs < 2 * this.#context.options.announceMs ? hint.leader : undefined
  }

  get reason(): string {
    return this.#reason
  }

  report(): ElectionReport {
    const answered = (granted: boolean): PeerId[] =>
      [...(this.#candidacy?.votes ?? [])].flatMap(([peer, answer]) => (answer === granted ? [peer] : []))
    return {
      votedFor: this.#votedFor,
      heardLeaderMs: this.#heardLeaderMs === -Infinity ? undefined : this.#heardLeaderMs,
      candidacy: this.#candidacy && {
        term: this.#candidacy.term,
        atMs: this.#candidacy.atMs,
        granted: answered(true),
        refused: answered(false),
      },
    }
  }

  /** A leader of this term spoke to us within the last `windowMs` of waking time. */
  hearsLeader(windowMs: number): boolean {
    return this.#leader !== undefined && this.#context.awakeMs - this.#heardLeaderAwakeMs < windowMs
  }

  assertInvariants(): void {
    const { self } = this.#context
    if (this.#role === 'leader') {
      invariant(this.#votedFor === self, 'a leader voted for itself')
      invariant(this.#leader === self, 'a leader knows that it leads')
    } else {
      invariant(this.#leader !== self, 'who does not lead does not think so')
    }
  }

  // ---- Following

  ticked(): void {
    const { awakeMs, options, out } = this.#context
    if (awakeMs < this.#electionAtMs) return
    // What it says of its term and vote waits for the disk, so nobody can have answered yet.
    if (this.#host.mayCampaign()) return out.hardStateDurable ? this.#askPreVotes() : undefined
    // Whoever only learns waits for others to elect, but does not call the silent one its leader for ever.
    if (this.#leader === undefined || awakeMs - this.#heardLeaderAwakeMs < 2 * options.electionMaxMs) return
    this.#reason = `${this.#leader} is silent`
    this.#leader = undefined
  }

  /** The disk got something. What was said of a new term or vote leaves only now, so now the patience for it begins. */
  flushed(): void {
    if (!this.#unspoken || !this.#context.out.hardStateDurable) return
    this.#unspoken = false
    this.#wait()
  }

  /** Falls back to following: `leader` of that term, or nobody known yet. An earlier term changes nothing but that. */
  follow(term: number, leader: PeerId | undefined, reason: string): void {
    this.#reason = reason
    const led = this.#role === 'leader'
    if (term > this.#term) this.#setTerm(term)
    this.#role = 'follower'
    this.#leader = leader
    this.#votes.clear()
    this.#wait()
    if (led) this.#host.deposed()
  }

  /** Whoever speaks as the leader of this term is it: nobody else can have been elected. */
  heardLeader(leader: PeerId): void {
    if (this.#role !== 'follower') this.follow(this.#term, leader, `${leader} leads this term`)
    if (this.#leader !== leader) this.#reason = `${leader} says that it leads`
    this.#fruitless = 0
    this.#leader = leader
    this.#heardLeaderMs = this.#context.nowMs
    this.#heardLeaderAwakeMs = this.#context.awakeMs
    this.#wait()
  }

  hinted(leader: PeerId, term: number): void {
    if (term >= this.#term) this.#hint = { leader, term, atMs: this.#context.nowMs }
  }

  connectionClosed(peer: PeerId): void {
    if (this.#hint?.leader === peer) this.#hint = undefined
    if (this.#leader !== peer || this.#role !== 'follower') return
    this.#reason = `the connection to ${peer} is gone`
    // Only a hint: those that still hear the leader refuse our pre-vote, and nothing is lost.
    this.#leader = undefined
    this.#electionAtMs = this.#context.awakeMs + this.#random.next() * this.#context.options.earlyElectionMs
  }

  // ---- Voting

  onPreVote(from: PeerId, { term, lastIndex, lastTerm }: MessageOf<'pre-vote'>): void {
    // A vote of ours waits for the disk: whoever asks is to get that first, not the leave to ask for the next.
    if (!this.#context.out.hardStateDurable) return
    if (term <= this.#term) {
      this.#send(from, { type: 'pre-vote-reply', term: this.#term, granted: false })
    } else if (this.#host.mayDisturbLeader()) {
      const granted = this.#host.mayPromise() && this.#context.log.isUpToDate(lastIndex, lastTerm)
      this.#send(from, { type: 'pre-vote-reply', term: granted ? term : this.#term, granted })
    }
  }

  onVote(from: PeerId, { term, lastIndex, lastTerm, transfer }: MessageOf<'vote'>): void {
    if (term >= this.#term && transfer !== true && !this.#host.mayDisturbLeader()) return
    if (term > this.#term) this.follow(term, undefined, `${from} asks for votes`)
    const granted = term === this.#term && this.#host.mayVoteFor(from, lastIndex, lastTerm)
    if (granted) {
      this.#setVote(from)
      this.#wait()
    }
    this.#send(from, { type: 'vote-reply', term: this.#term, granted })
  }

  // ---- Campaigning

  onPreVoteReply(from: PeerId, { term, granted }: MessageOf<'pre-vote-reply'>): void {
    if (this.#role !== 'pre-candidate' || (granted && term !== this.#term + 1)) return
    this.#votes.set(from, granted)
    if (this.#hasMajority(true)) this.#campaign(false)
    else if (this.#hasMajority(false)) this.#lose()
  }

  /** Also as a pre-candidate again: it still has the term that it asked for votes in, and a slow voter's vote is as good. */
  onVoteReply(from: PeerId, { granted }: MessageOf<'vote-reply'>): void {
    const stands = this.#role === 'candidate' || this.#role === 'pre-candidate'
    const candidacy = this.#candidacy
    // Nobody leads a term twice: answers of the first time would count as answers of the second.
    if (!stands || candidacy?.term !== this.#term || candidacy.won) return
    candidacy.votes.set(from, granted)
    if (this.#hasMajority(true, candidacy.votes)) this.#win()
    else if (this.#role === 'candidate' && this.#hasMajority(false, candidacy.votes)) this.#lose()
  }

  /** The leader wants to hand over to us. */
  onTimeoutNow(): void {
    if (this.#role !== 'leader' && this.#host.mayCampaign()) this.#campaign(true)
  }

  #lose(): void {
    this.follow(this.#term, undefined, 'a majority refused its vote')
  }

  #askPreVotes(): void {
    this.#reason = 'it heard no leader for an election timeout'
    this.#stand('pre-candidate')
    if (this.#hasMajority(true)) return this.#campaign(false)
    const { lastIndex, lastTerm } = this.#context.log
    this.#askVoters({ type: 'pre-vote', term: this.#term + 1, lastIndex, lastTerm })
  }

  #campaign(transfer: boolean): void {
    if (transfer) this.#reason = 'the leader handed over'
    this.#setTerm(this.#term + 1)
    this.#setVote(this.#context.self)
    this.#fruitless++
    this.#stand('candidate')
    this.#candidacy = { term: this.#term, atMs: this.#context.nowMs, votes: new Map(this.#votes), won: false }
    if (this.#hasMajority(true)) return this.#win()
    const { lastIndex, lastTerm } = this.#context.log
    const message: RaftMessage = { type: 'vote', term: this.#term, lastIndex, lastTerm }
    this.#askVoters(transfer ? { ...message, transfer } : message)
  }

  #stand(role: 'pre-candidate' | 'candidate'): void {
    this.#role = role
    this.#leader = undefined
    // Gossip told of the leader that is silent now.
    if (this.#hint?.term === this.#term) this.#hint = undefined
    this.#votes = new Map([[this.#context.self, true]])
    this.#wait()
  }

  #win(): void {
    // Why it stood is the better answer, so that stays.
    this.#role = 'leader'
    this.#leader = this.#context.self
    this.#hint = undefined
    this.#votes.clear()
    this.#fruitless = 0
    if (this.#candidacy !== undefined) this.#candidacy.won = true
    this.#host.won()
  }

  #askVoters(message: RaftMessage): void {
    const { log, out, self } = this.#context
    for (const voter of log.voters) if (voter !== self) this.#send(voter, message)
    out.late({ type: 'publish', topic: 'vote', message })
  }

  #hasMajority(granted: boolean, votes: ReadonlyMap<PeerId, boolean> = this.#votes): boolean {
    return hasMajority(this.#context.log.voters, voter => votes.get(voter) === granted)
  }

  // ---- Term, vote, patience

  #setTerm(term: number): void {
    this.#term = term
    this.#votedFor = undefined
    this.#unspoken = true
    this.#context.out.draft.hardState = { term }
  }

  #setVote(candidate: PeerId): void {
    if (this.#votedFor === candidate) return
    this.#votedFor = candidate
    this.#unspoken = true
    this.#context.out.draft.hardState = { term: this.#term, votedFor: candidate }
  }

  /** Random for each peer and time, so that two seldom ask at once (thesis §3.4). */
  #wait(): void {
    const factor = this.#role === 'candidate' ? Math.min(2 ** (this.#fruitless - 1), PATIENCE_MAX) : 1
    this.#electionAtMs = this.#context.awakeMs + factor * this.#timeoutMs()
  }

  #timeoutMs(): number {
    const { electionMinMs, electionMaxMs } = this.#context.options
    const timeoutMs = electionMinMs + this.#random.next() * (electionMaxMs - electionMinMs)
    return this.fitness === 'reluctant' ? timeoutMs + electionMaxMs : timeoutMs
  }

  #send(to: PeerId, message: RaftMessage): void {
    this.#context.out.late({ type: 'send', to, message })
  }
}
