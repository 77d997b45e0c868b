import { below, pick, seededRandom, type Random } from '../../../src/base/index.ts'
import type { Scheduler } from '../../../src/rdd/scheduler.machine.ts'
import type { SchedulerEvent } from '../../../src/rdd/scheduler-types.ts'
import { check } from '../check.ts'
import type { Trace } from '../trace.ts'
import { VirtualTime } from '../virtual-time.ts'
import { DetachedJobs } from './detached-jobs.ts'
import { JobNetwork } from './job-network.ts'
import { SimLeader } from './sim-leader.ts'
import { SimOutputs } from './sim-outputs.ts'
import { SimPeer } from './sim-peer.ts'
import { SimRequester } from './sim-requester.ts'

/** A bug, planted from outside. */
export interface JobMutant {
  scheduler?: typeof Scheduler
  /** What the scheduler is told instead. */
  told?: (event: SchedulerEvent, leader: SimLeader) => SchedulerEvent[]
  obeysAnybody?: boolean
  reportsToAnybody?: boolean
  acceptsTwice?: boolean
  /** The leader keeps to itself that a requester is behind another peer now. */
  tellsNobodyOfMoves?: boolean
  /** The requester does not tell the leader so. */
  movesInSilence?: boolean
  /** An executor takes what it has ever kept for there. */
  trustsWhatWasKept?: boolean
  /** A new leader begins detached jobs from their beginning. */
  forgetsWhatIsKept?: boolean
  /** What names the attempt at committing an output, so that only one of its copies counts. */
  winnerOf?: (jobId: string, tries: number) => string
}

/** Between the death of a leader and the next one that serves. */
const ELECTION_MS = { min: 300, more: 2_500 }
/** How long membership takes a dead peer for alive. */
const DEAD_AFTER_MS = 3_000
const TICK_MS = 100

/**
 * A mesh as jobs see it: peers that run tasks, one of which leads, and a requester. All that is not the scheduler is a
 * model: whoever is elected leads, an older leader goes on until it hears of the newer one.
 */
export class JobWorld {
  readonly time = new VirtualTime()
  readonly random: Random
  readonly network: JobNetwork
  readonly trace: Trace
  readonly mutant: JobMutant
  readonly peers: SimPeer[]
  readonly requester: SimRequester
  readonly outputs = new SimOutputs()
  readonly detached = new DetachedJobs(this.outputs)
  /** Attempts begun beside another one at the same task. */
  speculated = 0
  /** The latest that was elected. */
  leader: { term: number; peer: SimPeer } | undefined
  /** `<jobId> <term>`: its leader was told that the job is over. */
  readonly #ended = new Set<string>()
  #term = 0
  #electing = false

  constructor(seed: number, trace: Trace, mutant: JobMutant) {
    this.random = seededRandom(seed)
    this.trace = trace
    this.mutant = mutant
    this.network = new JobNetwork(this.time, this.random, (watcher, other) => {
      if (watcher === this.requester.name) this.requester.suspect(other)
      else this.peers.find(peer => peer.name === watcher)?.leading?.suspect(other)
    })
    const count = 1 + below(this.random, 5)
    this.peers = Array.from(
      { length: count },
      (_, i) => new SimPeer(this, `p${i}`, 1 + below(this.random, 3)),
    )
    this.requester = new SimRequester(this)
    this.#elect()
    this.#tick()
  }

  note(who: string, what: unknown): void {
    this.trace.add(this.time.nowMs, who, what)
  }

  peer(name: string): SimPeer | undefined {
    return this.peers.find(peer => peer.name === name)
  }

  /** Members that are not known to be dead. */
  livePeers(): SimPeer[] {
    return this.peers.filter(peer => peer.alive || this.time.nowMs - peer.diedMs < DEAD_AFTER_MS)
  }

  crash(peer: SimPeer): void {
    if (!peer.alive) return
    this.note(peer.name, 'crash')
    peer.crash()
    for (const other of [...this.peers, this.requester])
      if (other !== peer) this.network.close(other.name, peer.name)
    if (this.leader?.peer === peer) this.#elect()
  }

  /** The power fails everywhere. */
  blackout(): void {
    for (const peer of this.peers) this.crash(peer)
  }

  /** Another peer is elected though the leader lives, as after a pause: for a while both lead. */
  depose(): void {
    this.note('world', 'depose')
    this.#elect()
  }

  heal(): void {
    this.network.mend()
    this.network.faults = { duplication: 0, slow: 0, maxMs: 2, slowMs: 0 }
    for (const peer of this.peers) peer.start()
  }

  /** The leader of that term was told that the job is over, and has to keep to it. */
  ended(jobId: string, term: number): void {
    this.#ended.add(`${jobId} ${term}`)
  }

  /** A leader hands a task out. */
  mayBegin(jobId: string, term: number): void {
    check(!this.#ended.has(`${jobId} ${term}`), `term ${term} began a task of ${jobId} after it ended`)
  }

  #elect(): void {
    if (this.#electing) return
    this.#electing = true
    const elect = (): void => {
      const candidate = pick(
        this.random,
        this.peers.filter(peer => peer.alive),
      )
      if (candidate === undefined) {
        this.time.after(ELECTION_MS.min, elect)
        return
      }
      this.#electing = false
      const term = ++this.#term
      this.leader = { term, peer: candidate }
      this.note(candidate.name, `leads term ${term}`)
      candidate.lead(new SimLeader(this, candidate, term))
    }
    this.time.after(ELECTION_MS.min + this.random.next() * ELECTION_MS.more, elect)
  }

  /** Everybody hears of the leader sooner or later. */
  #tick(): void {
    const { leader } = this
    if (leader !== undefined && leader.peer.alive) {
      for (const end of [...this.peers, this.requester])
        if (end.alive && this.random.next() < 0.4) end.hear(leader)
    } else if (leader !== undefined) this.#elect()
    this.time.after(TICK_MS, () => this.#tick())
  }
}
