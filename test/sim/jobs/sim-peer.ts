import type { WireError } from '../../../src/base/index.ts'
import type { NodeId, Plan } from '../../../src/rdd/plan.ts'
import type { EndedOutcome, SchedulerEffect, SealedOutput } from '../../../src/rdd/scheduler-types.ts'
import { attemptKey, type TaskId } from '../../../src/rdd/task.ts'
import { check } from '../check.ts'
import type { End } from './job-network.ts'
import { bucketOf, valueOf, type ReadBucket } from './job-plans.ts'
import type { JobWorld } from './job-world.ts'
import type { SimLeader } from './sim-leader.ts'

type RunTasks = Extract<SchedulerEffect, { type: 'run-tasks' }>

interface Task {
  jobId: string
  id: TaskId
  run: RunTasks
  plan: Plan
  cancelled: boolean
  durationMs: number
  /** Cached partitions that it has computed. */
  kept: Kept[]
}

export interface Kept {
  fingerprint: string
  partition: number
}

/** Where the requester is to be found. */
export interface Place {
  relay: SimPeer
  epoch: number
}

interface Sealed extends SealedOutput {
  session: string
  value: number
}

export interface Inventory {
  workers: number
  running: { jobId: string; id: TaskId }[]
  outputs: SealedOutput[]
  sessions: string[]
  kept: Kept[]
}

const REPORT_AGAIN_MS = 250
const OFFER_AGAIN_MS = 300
/** Share of kept partitions that have gone when they are wanted: others needed the room. */
const EVICTED = 0.1
const METRICS = {
  recordsRead: 0,
  bytesRead: 0,
  bytesFetched: 0,
  bytesWritten: 0,
  durationMs: 0,
  cacheHits: 0,
  spilledBytes: 0,
  spilledRecords: 0,
  peakBytes: 0,
  largestGroup: 0,
}

/** What `node/executor` does, without bytes: a partition is a number. Loses everything when it dies. */
export class SimPeer implements End {
  readonly name: string
  readonly workers: number
  life = 1
  alive = true
  diedMs = 0
  leading: SimLeader | undefined
  readonly #world: JobWorld
  #view: { term: number; peer: SimPeer } | undefined
  #queue: Task[] = []
  #running = new Map<string, Task>()
  #busy = 0
  #store = new Map<string, Sealed>()
  /** Cached partitions: a copy here is only a matter of speed. */
  readonly #kept = new Map<string, Kept & { value: number }>()
  /** What was kept in any life, for mutants. */
  readonly #everKept = new Set<string>()
  /** Job → where its requester was said to be. */
  readonly #places = new Map<string, Place>()
  #fence = 0
  /** Highest term heard of in this life, for the checker alone. */
  #heard = 0
  /** Job → term of the leader that said to forget it. */
  readonly #forgotten = new Map<string, number>()

  constructor(world: JobWorld, name: string, workers: number) {
    this.#world = world
    this.name = name
    this.workers = workers
  }

  get idle(): boolean {
    return this.#running.size === 0
  }

  get kept(): number {
    return this.#store.size
  }

  start(): void {
    if (this.alive) return
    this.alive = true
    this.#world.note(this.name, 'start')
  }

  crash(): void {
    this.alive = false
    this.life += 1
    this.diedMs = this.#world.time.nowMs
    this.leading?.stop()
    this.leading = undefined
    this.#view = undefined
    this.#queue = []
    this.#running = new Map()
    this.#busy = 0
    this.#store = new Map()
    this.#kept.clear()
    this.#fence = 0
    this.#heard = 0
    this.#forgotten.clear()
    this.#places.clear()
  }

  lead(leader: SimLeader): void {
    this.leading?.stop()
    this.leading = leader
    leader.start()
  }

  hear(leader: { term: number; peer: SimPeer }): void {
    if (this.#view !== undefined && this.#view.term >= leader.term) return
    this.#view = leader
    if (this.leading !== undefined && this.leading.term < leader.term) {
      this.leading.stop()
      this.leading = undefined
    }
  }

  inventory(term: number): Inventory | undefined {
    if (!this.#obey(term)) return undefined
    return {
      workers: this.workers,
      running: [...this.#running.values()]
        .filter(({ cancelled }) => !cancelled)
        .map(({ jobId, id }) => ({ jobId, id })),
      outputs: Array.from(this.#store.values(), ({ jobId, id, shuffle, checksum, sizeBytes }) => ({
        jobId,
        id,
        checksum,
        sizeBytes,
        ...(shuffle === undefined ? {} : { shuffle }),
      })),
      sessions: [...new Set(Array.from(this.#store.values(), ({ session }) => session))],
      kept: Array.from(this.#kept.values(), ({ fingerprint, partition }) => ({ fingerprint, partition })),
    }
  }

  runTasks(term: number, run: RunTasks, plan: Plan, place: Place): true | undefined {
    if (!this.#obey(term)) return undefined
    this.#moved(run.jobId, place)
    for (const { id } of run.tasks) {
      const key = `${run.jobId} ${attemptKey(id)}`
      if (this.#running.has(key)) continue
      const forgotten = this.#forgotten.get(run.jobId)
      check(forgotten === undefined || term > forgotten, `${run.jobId} was forgotten here, and begins again`)
      const task = { jobId: run.jobId, id, run, plan, cancelled: false, durationMs: 0, kept: [] }
      this.#running.set(key, task)
      this.#queue.push(task)
    }
    this.#next()
    return true
  }

  moveRequester(term: number, jobId: string, place: Place): true | undefined {
    if (!this.#obey(term)) return undefined
    if (this.#places.has(jobId)) this.#moved(jobId, place)
    return true
  }

  #moved(jobId: string, place: Place): void {
    if (place.epoch >= (this.#places.get(jobId)?.epoch ?? 0)) this.#places.set(jobId, place)
  }

  cancelTasks(term: number, jobId: string, ids: readonly TaskId[]): true | undefined {
    if (!this.#obey(term)) return undefined
    for (const id of ids) this.#cancel(`${jobId} ${attemptKey(id)}`)
    return true
  }

  forgetJob(term: number, jobId: string): true | undefined {
    if (!this.#obey(term)) return undefined
    this.#forgotten.set(jobId, term)
    this.#places.delete(jobId)
    for (const [key, task] of this.#running) if (task.jobId === jobId) this.#cancel(key)
    for (const [key, sealed] of this.#store)
      if (sealed.jobId === jobId && sealed.shuffle === undefined) this.#store.delete(key)
    return true
  }

  forgetSession(term: number, session: string): true | undefined {
    if (!this.#obey(term)) return undefined
    for (const [key, sealed] of this.#store) if (sealed.session === session) this.#store.delete(key)
    this.#kept.clear()
    return true
  }

  fetchResult(jobId: string, partition: number): { value: number } | undefined {
    const sealed = this.#store.get(resultKey(jobId, partition))
    return sealed === undefined ? undefined : { value: sealed.value }
  }

  acceptResult(jobId: string, partition: number): true {
    this.#store.delete(resultKey(jobId, partition))
    const leader = this.#view?.peer
    const fence = this.#fence
    if (leader !== undefined) {
      this.#world.network.call(
        this,
        leader,
        () => this.#told(leader, fence, { type: 'result-accepted', jobId, partitions: [partition] }),
        () => {},
        () => {},
      )
    }
    return true
  }

  /** The value of a bucket that another peer (or this one) asks for; undefined when it is not here. */
  bucket(shuffle: string, map: number, reduce: number): number | undefined {
    const sealed = this.#store.get(`m ${shuffle} ${map}`)
    return sealed === undefined ? undefined : bucketOf(sealed.value, reduce)
  }

  #obey(term: number): boolean {
    if (term < this.#fence && this.#world.mutant.obeysAnybody !== true) return false
    check(term >= this.#heard, `${this.name} obeys term ${term} after term ${this.#heard}`)
    this.#heard = term
    this.#fence = term
    return true
  }

  #cancel(key: string): void {
    const task = this.#running.get(key)
    if (task === undefined) return
    task.cancelled = true
    if (this.#queue.includes(task)) {
      this.#queue.splice(this.#queue.indexOf(task), 1)
      this.#running.delete(key)
    }
  }

  #next(): void {
    const { time, random } = this.#world
    while (this.#busy < this.workers) {
      const task = this.#queue.shift()
      if (task === undefined) return
      this.#busy += 1
      const { life } = this
      // One in thirty is a straggler, and one in three so short that many are queued at once.
      const kind = random.next()
      const durationMs =
        kind < 0.03 ? 1_000 + 6_000 * random.next() : kind < 0.33 ? 0 : 10 + 300 * random.next()
      task.durationMs = durationMs
      time.after(durationMs, () => {
        if (this.life === life) this.#finish(task)
      })
    }
  }

  #finish(task: Task): void {
    const { jobId, id } = task
    const { detached, random } = this.#world
    this.#busy -= 1
    this.#next()
    const made = this.#compute(task)
    if (typeof made !== 'number') {
      this.#running.delete(`${jobId} ${attemptKey(id)}`)
      // Nobody waits for the failure of what was cancelled.
      if (!task.cancelled) this.#report(jobId, id, made)
      return
    }
    const { sink } = task.run.stage
    const sizeBytes = 8
    const session = jobId.slice(0, jobId.lastIndexOf('/'))
    const metrics = { ...METRICS, durationMs: task.durationMs }
    const saves = sink.kind === 'result' && task.plan.action.kind === 'saveText'
    const value = saves ? this.#world.outputs.write(this.#world.time.nowMs, made) : made
    const common = { jobId, id, checksum: made, sizeBytes, session, value }
    if (task.kept.length > 0) this.#tellKept(task.kept)
    if (sink.kind === 'shuffle') {
      const shuffle = `${session}/${task.plan.nodes[sink.node]!.fingerprint}`
      this.#store.set(`m ${shuffle} ${id.partition}`, {
        ...common,
        shuffle: { key: shuffle, map: id.partition },
      })
      this.#running.delete(`${jobId} ${attemptKey(id)}`)
      this.#report(jobId, id, { type: 'map-output', shuffle, checksum: made, sizeBytes, metrics })
      return
    }
    if (detached.has(jobId)) {
      detached.keep(jobId, id.partition, made, this.#world.time.nowMs)
      this.#running.delete(`${jobId} ${attemptKey(id)}`)
      this.#report(jobId, id, { type: 'result', checksum: made, sizeBytes, rows: 1, accepted: true, metrics })
      return
    }
    // The result of a job that ended meanwhile would stay for ever.
    if (this.#places.has(jobId)) this.#store.set(resultKey(jobId, id.partition), common)
    const inline = random.next() < 0.6 ? value : undefined
    const settled = (accepted: boolean): void => {
      if (accepted) this.#store.delete(resultKey(jobId, id.partition))
      this.#running.delete(`${jobId} ${attemptKey(id)}`)
      const outcome = {
        type: 'result',
        checksum: made,
        sizeBytes,
        rows: 1,
        accepted,
        metrics,
      } as const
      this.#report(jobId, id, outcome)
    }
    this.#offer(
      jobId,
      id.partition,
      inline,
      ({ taken }) => settled(taken),
      () => {
        settled(false)
        this.#offerAgain(jobId, id.partition)
      },
    )
  }

  #offer(
    jobId: string,
    partition: number,
    inline: number | undefined,
    answered: (answer: { taken: boolean }) => void,
    failed: () => void,
  ): void {
    const { requester, network } = this.#world
    const relay = this.#places.get(jobId)?.relay
    // It was forgotten meanwhile.
    if (relay === undefined) return failed()
    network.call(
      this,
      requester,
      () =>
        requester.attached === relay ? requester.resultReady(jobId, partition, this, inline) : undefined,
      answered,
      failed,
      relay,
    )
  }

  #offerAgain(jobId: string, partition: number): void {
    const { life } = this
    this.#world.time.after(OFFER_AGAIN_MS, () => {
      if (this.life !== life || !this.#store.has(resultKey(jobId, partition))) return
      this.#offer(
        jobId,
        partition,
        undefined,
        () => {},
        () => this.#offerAgain(jobId, partition),
      )
    })
  }

  #compute(task: Task): number | EndedOutcome {
    const { plan, run, id } = task
    const fault = this.#world.requester.faultOf(task.jobId, id)
    if (fault === 'error') {
      const error: WireError = { code: 'TASK_FAILED', message: 'bad row', details: { message: 'bad row' } }
      return { type: 'failed', error }
    }
    if (fault === 'kills the worker')
      return {
        type: 'worker-died',
        error: { code: 'INTERNAL', message: 'the worker thread ended', details: {} },
      }
    let missing: { node: NodeId; map: number; peer: string } | undefined
    const read: ReadBucket = (node, map, reduce) => {
      const locations = run.shuffles.find(each => each.node === node)!
      const holder = this.#world.peer(locations.peers[map]!)!
      const reached = this.#world.network.reaches(this, holder)
      const bucket = reached ? holder.bucket(locations.shuffle, map, reduce) : undefined
      if (bucket === undefined) missing ??= { node, map, peer: holder.name }
      return bucket ?? 0
    }
    const value = valueOf(plan, run.stage.root, id.partition, read, (node, partition, compute) => {
      const kept = this.#keptValue(plan.nodes[node]!.fingerprint, partition)
      if (kept !== undefined) return kept
      const value = compute()
      if (missing === undefined) this.#keep(task, plan.nodes[node]!.fingerprint, partition, value)
      return value
    })
    if (missing === undefined) {
      return run.stage.sink.kind === 'shuffle' ? this.#world.requester.whim(task.jobId, id, value) : value
    }
    const error: WireError = { code: 'FETCH_FAILED', message: 'map output is gone', details: { ...missing } }
    return { type: 'failed', error, fetch: missing }
  }

  #keptValue(fingerprint: string, partition: number): number | undefined {
    const { random, mutant } = this.#world
    const key = `${fingerprint} ${partition}`
    if (this.#kept.has(key) && random.next() < EVICTED) this.#kept.delete(key)
    const there = this.#kept.get(key)?.value
    return there === undefined && mutant.trustsWhatWasKept === true && this.#everKept.has(key) ? 0 : there
  }

  #keep(task: Task, fingerprint: string, partition: number, value: number): void {
    this.#kept.set(`${fingerprint} ${partition}`, { fingerprint, partition, value })
    this.#everKept.add(`${fingerprint} ${partition}`)
    task.kept.push({ fingerprint, partition })
  }

  /** A hint: told once. */
  #tellKept(kept: readonly Kept[]): void {
    const leader = this.#view?.peer
    if (leader === undefined) return
    this.#world.network.call(
      this,
      leader,
      () => leader.leading?.hearKept(this, kept),
      () => {},
      () => {},
    )
  }

  /** To whoever leads, until somebody who does has heard it. */
  #report(jobId: string, id: TaskId, outcome: EndedOutcome): void {
    const { life } = this
    const again = (): void => {
      this.#world.time.after(REPORT_AGAIN_MS, () => {
        if (this.life === life) this.#report(jobId, id, outcome)
      })
    }
    const leader = this.#view?.peer
    const fence = this.#fence
    if (leader === undefined) return again()
    const event = { type: 'task-ended', peer: this.name, jobId, id, outcome } as const
    this.#world.network.call(
      this,
      leader,
      () => this.#told(leader, fence, event),
      () => {},
      again,
    )
  }

  #told(leader: SimPeer, term: number, event: Parameters<SimLeader['step']>[0]): true | undefined {
    // Who leads only an earlier term than this peer has heard of, leads no more and knows it not yet.
    const { reportsToAnybody } = this.#world.mutant
    if (leader.leading === undefined) return undefined
    if (leader.leading.term < term && reportsToAnybody !== true) return undefined
    leader.leading.step(event)
    return true
  }
}

function resultKey(jobId: string, partition: number): string {
  return `r ${jobId} ${partition}`
}
