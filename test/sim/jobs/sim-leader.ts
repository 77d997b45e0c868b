import { CachedAt } from '../../../src/node/jobs/cached-at.ts'
import { SCHEDULER } from '../../../src/rdd/config.ts'
import { partitionInputs } from '../../../src/rdd/partition-inputs.ts'
import type { Plan } from '../../../src/rdd/plan.ts'
import { planStages } from '../../../src/rdd/planner.ts'
import { Scheduler } from '../../../src/rdd/scheduler.machine.ts'
import type { JobSpec, SchedulerEffect, SchedulerEvent } from '../../../src/rdd/scheduler-types.ts'
import { attemptKey, type TaskId } from '../../../src/rdd/task.ts'
import { check } from '../check.ts'
import type { JobWorld } from './job-world.ts'
import type { Kept, Place, SimPeer } from './sim-peer.ts'

const TICK_MS = 500

/** The driver of the real scheduler for one term, as `node/jobs/job-leader.ts` is. */
export class SimLeader {
  readonly term: number
  readonly scheduler: Scheduler
  readonly #world: JobWorld
  readonly #peer: SimPeer
  readonly #plans = new Map<string, Plan>()
  readonly #places = new Map<string, Place>()
  readonly #keptAt = new CachedAt()
  /** Partitions of detached jobs that were there when this leader took them on. */
  readonly #keptBefore = new Map<string, number[]>()
  readonly #executors = new Set<SimPeer>()
  readonly #asking = new Set<SimPeer>()
  /** Attempts that were given to an executor, or found there, and have not been reported. */
  readonly #handed = new Map<string, { peer: string; jobId: string; id: TaskId }>()
  /** Attempts of earlier leaders of which the end was heard, perhaps before the inventory that calls them running. */
  readonly #heard = new Set<string>()
  #stopped = false

  constructor(world: JobWorld, peer: SimPeer, term: number) {
    this.#world = world
    this.#peer = peer
    this.term = term
    this.scheduler = new (world.mutant.scheduler ?? Scheduler)({ term })
  }

  start(): void {
    const { life } = this.#peer
    const tick = (): void => {
      if (this.#stopped || this.#peer.life !== life) return
      this.#askNew()
      this.goOnWithDetached()
      this.step({ type: 'tick' })
      this.#world.time.after(TICK_MS, tick)
    }
    tick()
  }

  /** Detached jobs have this leader for their requester: it hands in their plans and renews their leases. */
  goOnWithDetached(): void {
    // Nobody else knows that a newer one has been elected, but for the log.
    if (this.#stopped || this.#world.leader?.term !== this.term) return
    for (const { jobId, plan, kept } of this.#world.detached.running()) {
      const session = jobId.slice(0, jobId.lastIndexOf('/'))
      if (!this.#plans.has(jobId)) {
        this.#keptBefore.set(jobId, kept)
        const known = this.#world.mutant.forgetsWhatIsKept === true ? [] : kept
        this.submit(jobId, session, plan, known, { relay: this.#peer, epoch: 0 })
      } else this.step({ type: 'lease-renewed', session, jobs: [jobId], begun: 1 })
    }
  }

  stop(): void {
    this.#stopped = true
  }

  submit(jobId: string, session: string, plan: Plan, accepted: number[], place: Place): void {
    this.#plans.set(jobId, plan)
    const known = this.#places.get(jobId)
    if (known === undefined || place.epoch > known.epoch) this.#places.set(jobId, place)
    if (place.epoch > (known?.epoch ?? 0)) for (const peer of this.#executors) this.#tellMoved(peer, jobId)
    const stages = planStages(plan)
    const shuffles: JobSpec['shuffles'] = {}
    for (const { sink, partitions } of stages) {
      if (sink.kind !== 'shuffle') continue
      const key = `${session}/${plan.nodes[sink.node]!.fingerprint}`
      shuffles[sink.node] = { key, maps: partitions.length }
    }
    const requester = { client: 'requester', relay: 'requester', epoch: 0 }
    const keptAt: JobSpec['keptAt'] = {}
    for (const { id, root, partitions } of stages) {
      const here: Record<number, string[]> = (keptAt[id] = {})
      for (const partition of partitions) {
        const { cached } = partitionInputs(plan, root, partition)
        const peers = cached.flatMap(each => this.#keptAt.peers(each.fingerprint, each.partition))
        if (peers.length > 0) here[partition] = peers
      }
    }
    const runsOnce = plan.action.kind === 'forEach'
    const fixed = { jobId, name: jobId, session, requester, stages, shuffles, accepted, runsOnce }
    this.step({ type: 'job-submitted', job: { ...fixed, preferred: keptAt, keptAt, holders: {} } })
  }

  hearKept(peer: SimPeer, kept: readonly Kept[]): true {
    if (this.#executors.has(peer))
      for (const each of kept)
        this.#keptAt.change(peer.name, { ...each, session: 's', memoryBytes: 8, diskBytes: 0, isGone: false })
    return true
  }

  #tellMoved(peer: SimPeer, jobId: string): void {
    if (this.#world.mutant.tellsNobodyOfMoves === true) return
    const place = this.#places.get(jobId)!
    if (place.epoch > 0) this.#tell(peer.name, executor => executor.moveRequester(this.term, jobId, place))
  }

  /** What acts on the world outside is begun again only when nothing is heard any more of the attempt before. */
  #checkAlone(jobId: string, id: TaskId): void {
    const [other] = this.#attemptsAt(jobId, id)
    check(
      other === undefined,
      `${jobId} ${id.stage}.${id.partition} acts twice: it runs at ${other?.peer} and begins again`,
    )
  }

  /** Those that run, as far as this leader knows. */
  #attemptsAt(jobId: string, { stage, partition }: TaskId): { peer: string }[] {
    return [...this.#handed.values()].filter(
      handed =>
        handed.jobId === jobId &&
        handed.id.stage === stage &&
        handed.id.partition === partition &&
        this.#executors.has(this.#world.peer(handed.peer)!),
    )
  }

  #hand(peer: string, jobId: string, id: TaskId): void {
    this.#handed.set(`${jobId} ${attemptKey(id)}`, { peer, jobId, id })
  }

  handedTo(peer: string): { jobId: string; id: TaskId }[] {
    return [...this.#handed.values()].filter(handed => handed.peer === peer)
  }

  /** Its connection is closed. */
  suspect(name: string): void {
    const peer = this.#world.peer(name)
    if (peer === undefined || !this.#executors.has(peer)) return
    this.#forget(peer)
    this.#askNew()
  }

  step(event: SchedulerEvent): void {
    if (this.#stopped) return
    for (const told of this.#world.mutant.told?.(event, this) ?? [event]) {
      this.#world.note(`${this.#peer.name}/${this.term}`, shown(told))
      if (told.type === 'task-ended') {
        this.#handed.delete(`${told.jobId} ${attemptKey(told.id)}`)
        if (told.id.term !== this.term) this.#heard.add(`${told.jobId} ${attemptKey(told.id)}`)
      }
      const effects = this.scheduler.step(told, this.#world.time.nowMs)
      this.scheduler.assertInvariants()
      for (const effect of effects) this.#perform(effect)
    }
  }

  #askNew(): void {
    const live = new Set(this.#world.livePeers())
    for (const peer of this.#executors) if (!live.has(peer)) this.#forget(peer)
    for (const peer of live) if (!this.#executors.has(peer)) this.#ask(peer)
  }

  #ask(peer: SimPeer): void {
    if (this.#asking.has(peer)) return
    this.#asking.add(peer)
    this.#world.network.call(
      this.#peer,
      peer,
      () => peer.inventory(this.term),
      ({ workers, running, outputs, sessions, kept }) => {
        this.#asking.delete(peer)
        if (this.#stopped) return
        this.#executors.add(peer)
        this.step({ type: 'executor-joined', peer: peer.name, workers })
        this.hearKept(peer, kept)
        for (const { jobId, id } of running)
          if (!this.#heard.has(`${jobId} ${attemptKey(id)}`)) this.#hand(peer.name, jobId, id)
        this.step({ type: 'inventory-received', peer: peer.name, running, outputs })
        for (const jobId of this.#places.keys()) this.#tellMoved(peer, jobId)
        for (const session of sessions) this.step({ type: 'session-found', session })
      },
      () => this.#asking.delete(peer),
    )
  }

  #forget(peer: SimPeer): void {
    this.#executors.delete(peer)
    this.#keptAt.dropPeer(peer.name)
    this.step({ type: 'executor-gone', peer: peer.name })
    for (const [key, handed] of this.#handed) if (handed.peer === peer.name) this.#handed.delete(key)
  }

  #perform(effect: SchedulerEffect): void {
    const { network, requester, mutant } = this.#world
    switch (effect.type) {
      case 'run-tasks': {
        const peer = this.#world.peer(effect.peer)!
        this.#world.mayBegin(effect.jobId, this.term)
        for (const { peers } of effect.shuffles) {
          const absent = peers.find(holder => !this.#executors.has(this.#world.peer(holder)!))
          check(absent === undefined, `a task is sent to read what ${absent} had, which is gone`)
        }
        check(
          effect.tasks.length <= SCHEDULER.queueDepthMax * peer.workers,
          `${effect.tasks.length} tasks at once for ${peer.workers} workers`,
        )
        const plan = this.#plans.get(effect.jobId)!
        const kept = this.#keptBefore.get(effect.jobId)
        if (effect.stage.sink.kind === 'result')
          for (const { id } of effect.tasks)
            check(
              kept?.includes(id.partition) !== true,
              `${effect.jobId} begins ${id.partition} again, which is kept`,
            )
        if (plan.action.kind === 'forEach' && effect.stage.sink.kind === 'result')
          for (const { id } of effect.tasks) this.#checkAlone(effect.jobId, id)
        for (const { id } of effect.tasks) {
          if (this.#attemptsAt(effect.jobId, id).length > 0) this.#world.speculated += 1
          this.#hand(effect.peer, effect.jobId, id)
        }
        network.call(
          this.#peer,
          peer,
          () => peer.runTasks(this.term, effect, plan, this.#places.get(effect.jobId)!),
          () => {},
          () => {
            if (this.#executors.has(peer)) this.#forget(peer)
          },
        )
        break
      }
      case 'cancel-tasks':
        for (const id of effect.ids) this.#handed.delete(`${effect.jobId} ${attemptKey(id)}`)
        this.#tell(effect.peer, peer => peer.cancelTasks(this.term, effect.jobId, effect.ids))
        break
      case 'forget-job':
        for (const name of effect.peers) this.#tell(name, peer => peer.forgetJob(this.term, effect.jobId))
        break
      case 'forget-session':
        for (const name of effect.peers)
          this.#tell(name, peer => peer.forgetSession(this.term, effect.session))
        break
      case 'job-failed':
        if (this.#world.detached.has(effect.jobId)) {
          if (this.#world.leader?.term === this.term)
            this.#world.detached.fail(effect.jobId, this.#world.time.nowMs)
          break
        }
        network.call(
          this.#peer,
          requester,
          () => requester.jobFailed(effect.jobId, effect.error),
          () => {},
          () => {},
          this.#places.get(effect.jobId)?.relay,
        )
        break
      case 'job-done':
        if (this.#world.detached.has(effect.jobId)) {
          this.#world.detached.finish(effect.jobId, this.#world.time.nowMs)
          this.step({ type: 'job-closed', jobId: effect.jobId })
          break
        }
        if (mutant.acceptsTwice !== true) requester.leaderSaysDone(effect.jobId)
        break
      case 'progress':
      case 'nondeterministic':
        break
    }
  }

  /** Once; whoever does not hear of it is told when it is back. */
  #tell(name: string, serve: (peer: SimPeer) => true | undefined): void {
    const peer = this.#world.peer(name)!
    this.#world.network.call(
      this.#peer,
      peer,
      () => serve(peer),
      () => {},
      () => {},
    )
  }
}

/** What the trace keeps of an event. */
function shown(event: SchedulerEvent): unknown {
  switch (event.type) {
    case 'job-submitted':
      return [event.type, event.job.jobId, event.job.accepted]
    case 'task-ended':
      return [event.type, event.peer, event.jobId, attemptKey(event.id), event.outcome.type]
    default:
      return event
  }
}
