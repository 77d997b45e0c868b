import { below, pick, type ErrorCode, type Random, type WireError } from '../../../src/base/index.ts'
import { SCHEDULER } from '../../../src/rdd/config.ts'
import type { Action, Plan } from '../../../src/rdd/plan.ts'
import { planStages } from '../../../src/rdd/planner.ts'
import type { TaskId } from '../../../src/rdd/task.ts'
import { check } from '../check.ts'
import type { End } from './job-network.ts'
import { oracle, randomPlan, whimsical } from './job-plans.ts'
import type { JobWorld } from './job-world.ts'
import type { SimLeader } from './sim-leader.ts'
import type { SimPeer } from './sim-peer.ts'

type FaultKind = 'error' | 'kills the worker' | 'changes'

interface Job {
  jobId: string
  plan: Plan
  expected: Map<number, number>
  /** The number that came, or that of the part file. */
  accepted: Map<number, number>
  /** Tries to make the parts of a saved dataset visible. */
  commits: number
  /** Sealed results that could not be fetched, and from whom. */
  lost: Map<number, SimPeer>
  state: 'open' | 'done' | 'failed' | 'cancelled'
  /** The user's own fault: one task that always fails, or always kills its worker. */
  fault: { kind: FaultKind; stage: number; partition: number } | undefined
  /** What a map output that is never the same came to, each time. */
  nonces: number[]
  /** Elections before it began. */
  term: number
  error: WireError | undefined
}

const RETRY_MS = 200
/** What is special about a detached job. */
const NOTHING: Pick<Job, 'fault' | 'nonces'> = { fault: undefined, nonces: [] }
/** Draws a job with a map output that changes. */
const WHIM_CHANCE = 0.8
/** A sealed result waits until the consumer gets to it. */
const CONSUMER_MS = 400

/** What `node/jobs/job-client.ts` does: keeps plans and accepted results, and tells every new leader. */
export class SimRequester implements End {
  readonly name = 'requester'
  readonly session = 's'
  life = 1
  alive = true
  readonly jobs = new Map<string, Job>()
  /** Share of jobs with a map output that is never the same, and nothing else special; beside those that begin() draws. */
  whims = 0
  readonly #world: JobWorld
  /** Tasks that have killed a worker for no reason of their own. */
  readonly #unlucky = new Set<string>()
  #view: { term: number; peer: SimPeer } | undefined
  #plans: Plan[] = []
  /** Stands in for this client: all that it says and hears goes that way. */
  attached: SimPeer
  #epoch = 0
  #isMoving = false

  constructor(world: JobWorld) {
    this.#world = world
    this.attached = pick(world.random, world.peers)!
    this.#renewForEver()
  }

  open(): Job[] {
    return [...this.jobs.values()].filter(({ state }) => state === 'open')
  }

  hear(leader: { term: number; peer: SimPeer }): void {
    if (this.#view !== undefined && this.#view.term >= leader.term) return
    this.#view = leader
    for (const job of this.open()) this.#submit(job)
  }

  /** The connection with that peer is closed. */
  suspect(name: string): void {
    if (this.alive && name === this.attached.name) this.#move()
  }

  #move(): void {
    if (this.#isMoving) return
    this.#isMoving = true
    const { random, peers, network, time, mutant } = this.#world
    const dial = (): void => {
      if (!this.alive) return
      const next = pick(
        random,
        peers.filter(peer => network.reaches(this, peer)),
      )
      if (next === undefined) {
        time.after(RETRY_MS, dial)
        return
      }
      this.#isMoving = false
      this.attached = next
      this.#epoch += 1
      this.#world.note(this.name, `attached to ${next.name}`)
      if (mutant.movesInSilence !== true) for (const job of this.open()) this.#submit(job)
    }
    time.after(random.next() * 20, dial)
  }

  /** Starts a job; sometimes on a lineage that an earlier one had, sometimes with a fault of the user's in it. */
  begin(): void {
    const { random } = this.#world
    const jobId = `${this.session}/${this.jobs.size + 1}`
    const chance = random.next() < this.whims ? WHIM_CHANCE : random.next()
    const known = chance < 0.3 ? pick(random, this.#plans) : undefined
    const kind = chance > 0.93 ? 'kills the worker' : chance > 0.85 ? 'error' : 'changes'
    const drawn = known ?? randomPlan(random, `plan${this.jobs.size}`, chance <= 0.78 || kind !== 'changes')
    let fault: Job['fault']
    if (chance > 0.78) {
      // One in which there is a task that can go wrong; a result that changes does no harm.
      const stages = planStages(drawn).filter(({ partitions }) => partitions.length > 0)
      const maps = stages.filter(({ sink }) => sink.kind === 'shuffle')
      const stage = pick(random, kind === 'changes' && maps.length > 0 ? maps : stages)!
      fault = { kind, stage: stage.id, partition: pick(random, stage.partitions)! }
    } else this.#plans.push(drawn)
    const plan = { ...drawn, action: randomAction(random, jobId) }
    const expected = oracle(plan)
    const job: Job = {
      jobId,
      plan,
      expected,
      accepted: new Map(),
      commits: 0,
      lost: new Map(),
      state: 'open',
      fault,
      nonces: [],
      term: this.#world.leader?.term ?? 0,
      error: undefined,
    }
    this.jobs.set(jobId, job)
    this.#world.note(
      this.name,
      `begin ${jobId}: ${plan.nodes.map(({ op }) => op).join(' ')} ${plan.action.kind}`,
    )
    this.#submit(job)
  }

  /** Begins a job that does without this requester. */
  detach(): void {
    const { random, detached, time, leader } = this.#world
    const plan = randomPlan(random, `detached${time.nowMs}`, true)
    const jobId = detached.begin(plan, time.nowMs)
    this.#world.note(this.name, `detach ${jobId}: ${plan.nodes.map(({ op }) => op).join(' ')}`)
    leader?.peer.leading?.goOnWithDetached()
  }

  cancelOne(): void {
    const job = pick(this.#world.random, this.open())
    if (job === undefined) return
    job.state = 'cancelled'
    this.#world.note(this.name, `cancel ${job.jobId}`)
    this.#tellEnd(job)
  }

  /** Dies, and does not come back. */
  quit(): void {
    this.alive = false
    this.life += 1
    this.#world.note(this.name, 'quit')
    for (const peer of this.#world.peers) this.#world.network.close(this.name, peer.name)
  }

  /** What the map output is worth this time. */
  whim(jobId: string, id: TaskId, value: number): number {
    const { fault, nonces } = this.jobs.get(jobId) ?? NOTHING
    if (fault?.kind !== 'changes' || fault.stage !== id.stage || fault.partition !== id.partition)
      return value
    nonces.push(below(this.#world.random, 1_000_000))
    return whimsical(value, nonces.at(-1)!)
  }

  faultOf(jobId: string, id: TaskId): Exclude<FaultKind, 'changes'> | undefined {
    const { fault } = this.jobs.get(jobId) ?? NOTHING
    if (fault?.stage === id.stage && fault.partition === id.partition && fault.kind !== 'changes')
      return fault.kind
    // Bad luck strikes a task once: twice would be poison.
    const key = `${jobId} ${id.stage} ${id.partition}`
    if (this.#unlucky.has(key) || this.#world.random.next() > 0.02) return undefined
    this.#unlucky.add(key)
    return 'kills the worker'
  }

  resultReady(
    jobId: string,
    partition: number,
    executor: SimPeer,
    inline: number | undefined,
  ): { taken: boolean } {
    const job = this.jobs.get(jobId)!
    const { random, time, mutant } = this.#world
    if (job.state !== 'open' || (job.accepted.has(partition) && mutant.acceptsTwice !== true))
      return { taken: true }
    job.lost.delete(partition)
    // A queue that is full leaves even small ones where they are.
    if (inline !== undefined && random.next() < 0.9) {
      this.#accept(job, partition, inline)
      return { taken: true }
    }
    time.after(random.next() * CONSUMER_MS, () => this.#pull(job, partition, executor))
    return { taken: false }
  }

  jobFailed(jobId: string, error: WireError): true {
    const job = this.jobs.get(jobId)!
    if (job.state === 'open') {
      job.state = 'failed'
      job.error = error
      this.#world.note(this.name, `${jobId} failed: ${error.code}`)
      this.#tellEnd(job)
    }
    return true
  }

  /** What the leader may say only when it is so. */
  leaderSaysDone(jobId: string): void {
    const job = this.jobs.get(jobId)!
    const all = job.accepted.size === job.expected.size
    const waits = this.alive && (job.state === 'open' || job.state === 'done')
    check(all || !waits, `the leader takes ${jobId} for done, and its requester has not all`)
  }

  /** Every job has come to the end that it deserves. */
  verify(): void {
    for (const job of this.jobs.values()) {
      const { jobId, state, fault, error, accepted, expected, plan } = job
      if (state === 'cancelled') continue
      if (plan.action.kind === 'saveText') this.#verifyOutput(job, plan.action.path)
      if (fault?.kind === 'changes') {
        check(
          state === 'done' || error?.code === 'TASK_NONDETERMINISTIC',
          `${jobId} ${state} with ${error?.code}`,
        )
        continue
      }
      const codes: ErrorCode[] =
        fault === undefined ? [] : fault.kind === 'error' ? ['TASK_FAILED'] : ['TASK_POISON']
      check(
        (state === 'done') === (fault === undefined) && (error === undefined || codes.includes(error.code)),
        `${jobId} ${state} with ${error?.code}: ${error?.message}; its fault: ${fault?.kind}`,
      )
      check(state !== 'done' || accepted.size === expected.size, `${jobId} is done without all results`)
    }
  }

  /** All parts of a job that is done, each once and in order, and nothing of one that failed. */
  #verifyOutput({ jobId, state, accepted, expected }: Job, path: string): void {
    const { outputs } = this.#world
    const right = [...expected.keys()].map(partition => outputs.valueOf(accepted.get(partition) ?? -1))
    const there = outputs.read(path)?.join()
    check(
      there === (state === 'done' ? right.join() : undefined),
      `${jobId} is ${state} and has saved ${there}`,
    )
  }

  #pull(job: Job, partition: number, executor: SimPeer, tries = 1): void {
    if (job.state !== 'open' || job.accepted.has(partition) || !this.alive) return
    this.#world.network.call(
      this,
      executor,
      () => executor.fetchResult(job.jobId, partition),
      ({ value }) => {
        if (job.state !== 'open' || job.accepted.has(partition)) return
        this.#accept(job, partition, value)
        this.#world.network.call(
          this,
          executor,
          () => executor.acceptResult(job.jobId, partition),
          () => {},
          () => {},
          this.attached,
        )
      },
      () => {
        if (job.state !== 'open' || job.accepted.has(partition)) return
        // Perhaps it was not the executor that died, but the peer that passed it on.
        if (tries === 1) {
          this.#world.time.after(RETRY_MS, () => this.#pull(job, partition, executor, 2))
          return
        }
        job.lost.set(partition, executor)
        this.#tellLost(job)
      },
      this.attached,
    )
  }

  #accept(job: Job, partition: number, value: number): void {
    check(!job.accepted.has(partition), `partition ${partition} of ${job.jobId} is accepted twice`)
    const right = job.expected.get(partition)
    const came = this.#contentOf(job, value)
    check(
      came === right || job.fault?.kind === 'changes',
      `partition ${partition} of ${job.jobId} is ${came}, not ${right}`,
    )
    job.accepted.set(partition, value)
    job.lost.delete(partition)
    if (job.accepted.size < job.expected.size) return
    this.#verifyWhim(job)
    if (job.plan.action.kind === 'saveText') this.#commit(job, job.plan.action.path)
    else this.#done(job)
  }

  #contentOf(job: Job, value: number): number | undefined {
    return job.plan.action.kind === 'saveText' ? this.#world.outputs.valueOf(value) : value
  }

  #done(job: Job): void {
    job.state = 'done'
    this.#world.note(this.name, `${job.jobId} done`)
    this.#tellEnd(job)
  }

  /** Makes all parts visible at once. Tried again until somebody who leads has answered. */
  #commit(job: Job, path: string): void {
    const { outputs, time, mutant } = this.#world
    const parts = [...job.expected.keys()].map(partition => job.accepted.get(partition)!)
    let answer: ReturnType<typeof outputs.commit> | undefined
    this.#toLeader(
      () => {
        job.commits += 1
        const winner = mutant.winnerOf?.(job.jobId, job.commits) ?? job.jobId
        answer = outputs.commit(path, winner, parts, time.nowMs)
      },
      () => job.state === 'open',
      () => {
        if (job.state !== 'open') return
        check(
          answer?.ok === true,
          `${job.jobId} is not committed: ${answer?.ok === false ? answer.error.code : ''}`,
        )
        this.#done(job)
      },
    )
  }

  /** However often the map output changed: all results come from one and the same. What a leader has seen, the next one cannot know. */
  #verifyWhim(job: Job): void {
    const { jobId, plan, accepted, fault, nonces, term } = job
    if (fault?.kind !== 'changes' || term !== this.#world.leader?.term) return
    const { sink } = planStages(plan)[fault.stage]!
    if (sink.kind !== 'shuffle') return
    const isOfOne = nonces.some(nonce => {
      const expected = oracle(plan, { shuffle: sink.node, map: fault.partition, nonce })
      return [...accepted].every(
        ([partition, value]) => expected.get(partition) === this.#contentOf(job, value),
      )
    })
    check(isOfOne, `${jobId} has results of different computations of one map output`)
  }

  #submit(job: Job): void {
    this.#toLeader(
      leader => {
        const place = { relay: this.attached, epoch: this.#epoch }
        leader.submit(job.jobId, this.session, job.plan, [...job.accepted.keys()], place)
      },
      () => job.state === 'open',
      () => this.#tellLost(job),
    )
  }

  #tellLost(job: Job): void {
    for (const [partition, executor] of job.lost) {
      this.#toLeader(
        leader => leader.step({ type: 'result-lost', jobId: job.jobId, partition, peer: executor.name }),
        () => job.state === 'open' && job.lost.get(partition) === executor,
        () => {},
      )
    }
  }

  #tellEnd(job: Job): void {
    const { jobId, state } = job
    this.#toLeader(
      leader => {
        if (state === 'done') leader.step({ type: 'job-closed', jobId })
        else leader.step({ type: 'job-cancelled', jobId, reason: 'its requester stopped it' })
        this.#world.ended(jobId, leader.term)
      },
      () => true,
      () => {},
    )
  }

  #renewForEver(): void {
    const { time } = this.#world
    time.after(SCHEDULER.leaseMs / 3, () => {
      if (!this.alive) return
      const jobs = this.open().map(({ jobId }) => jobId)
      const begun = this.jobs.size
      this.#toLeader(
        leader => {
          leader.step({ type: 'lease-renewed', session: this.session, jobs, begun })
          for (const job of this.open())
            if (!leader.scheduler.hasJob(job.jobId))
              time.after(below(this.#world.random, 5), () => this.#submit(job))
        },
        () => true,
        () => {
          for (const job of this.open()) this.#tellLost(job)
        },
      )
      this.#renewForEver()
    })
  }

  /** Again until a leader has heard it, while it is still `wanted`. */
  #toLeader(serve: (leader: SimLeader) => void, wanted: () => boolean, answered: () => void): void {
    const again = (): void => {
      this.#world.time.after(RETRY_MS * (0.5 + this.#world.random.next()), () => {
        if (this.alive) this.#toLeader(serve, wanted, answered)
      })
    }
    if (!this.alive || !wanted()) return
    const peer = this.#view?.peer
    if (peer === undefined) return again()
    this.#world.network.call(
      this,
      peer,
      () => {
        if (peer.leading === undefined) return undefined
        serve(peer.leading)
        return true
      },
      answered,
      again,
      this.attached,
    )
  }
}

/** Most collect; some act on the world outside, and some write files. */
function randomAction(random: Random, jobId: string): Action {
  const chance = random.next()
  if (chance < 0.15) return { kind: 'forEach', fn: { kind: 'builtin', name: 'zip' } }
  return chance < 0.35 ? { kind: 'saveText', path: `/saved/${jobId}` } : { kind: 'collect' }
}
