import { expect } from 'vitest'
import type { WireError } from '../../../src/base/errors.ts'
import type {
  EndedOutcome,
  JobSpec,
  SchedulerEffect,
  SchedulerEvent,
  SealedOutput,
} from '../../../src/rdd/scheduler-types.ts'
import { Scheduler } from '../../../src/rdd/scheduler.machine.ts'
import { attemptKey, type Stage, type TaskId } from '../../../src/rdd/task.ts'

/** A scheduler with a clock and a memory of what it wanted done. Its invariants hold after every event. */
export class Scene {
  readonly scheduler: Scheduler
  nowMs = 0
  /** Everything it wanted so far. */
  readonly effects: SchedulerEffect[] = []

  constructor(term = 1, peers: Record<string, number> = {}) {
    this.scheduler = new Scheduler({ term })
    for (const [peer, workers] of Object.entries(peers)) this.step({ type: 'executor-joined', peer, workers })
  }

  /** What the event led to. */
  step(event: SchedulerEvent): SchedulerEffect[] {
    const effects = this.scheduler.step(event, this.nowMs)
    this.scheduler.assertInvariants()
    this.effects.push(...effects)
    return effects
  }

  submit(job: JobSpec): SchedulerEffect[] {
    return this.step({ type: 'job-submitted', job })
  }

  ended(peer: string, id: TaskId, outcome: EndedOutcome, jobId = 's/1'): SchedulerEffect[] {
    return this.step({ type: 'task-ended', peer, jobId, id, outcome })
  }

  tickAt(nowMs: number): SchedulerEffect[] {
    this.nowMs = nowMs
    return this.step({ type: 'tick' })
  }

  /** Ends every attempt that these effects begin, with success, and those that follow, until nothing more begins. */
  finishAll(begun: SchedulerEffect[], job: JobSpec): void {
    const queue = starts(begun)
    for (let start = queue.shift(); start !== undefined; start = queue.shift()) {
      const outcome = start.stage.sink.kind === 'result' ? resultOf() : mapOutputOf(job, start.id)
      queue.push(...starts(this.ended(start.peer, start.id, outcome, job.jobId)))
    }
  }
}

export interface Start {
  peer: string
  jobId: string
  stage: Stage
  id: TaskId
}

/** Attempts that the effects begin, one by one. */
export function starts(effects: readonly SchedulerEffect[]): Start[] {
  return effects.flatMap(effect =>
    effect.type === 'run-tasks'
      ? effect.tasks.map(({ id }) => ({ peer: effect.peer, jobId: effect.jobId, stage: effect.stage, id }))
      : [],
  )
}

/** `peer: stage.partition` of each attempt that the effects begin. */
export function begun(effects: readonly SchedulerEffect[]): string[] {
  return starts(effects)
    .map(({ peer, id }) => `${peer}: ${id.stage}.${id.partition}`)
    .sort()
}

export function cancelled(effects: readonly SchedulerEffect[]): string[] {
  return effects
    .flatMap(effect =>
      effect.type === 'cancel-tasks' ? effect.ids.map(id => `${effect.peer}: ${attemptKey(id)}`) : [],
    )
    .sort()
}

export function typesOf(effects: readonly SchedulerEffect[]): string[] {
  return effects.map(({ type }) => type).filter(type => type !== 'progress')
}

export function failureOf(effects: readonly SchedulerEffect[]): WireError | undefined {
  for (const effect of effects) if (effect.type === 'job-failed') return effect.error
  return undefined
}

/** The one attempt at this task among the effects. */
export function startOf(effects: readonly SchedulerEffect[], stage: number, partition: number): Start {
  const found = starts(effects).filter(({ id }) => id.stage === stage && id.partition === partition)
  expect(found, `one attempt at ${stage}.${partition}`).toHaveLength(1)
  return found[0]!
}

const METRICS = {
  recordsRead: 0,
  bytesRead: 0,
  bytesFetched: 0,
  bytesWritten: 0,
  durationMs: 100,
  cacheHits: 0,
  spilledBytes: 0,
  spilledRecords: 0,
  peakBytes: 0,
  largestGroup: 0,
}

export function resultOf(accepted = true): EndedOutcome {
  return { type: 'result', checksum: 7, sizeBytes: 10, rows: 1, accepted, metrics: METRICS }
}

export function mapOutputOf(job: JobSpec, id: TaskId): EndedOutcome {
  const { sink } = job.stages[id.stage]!
  if (sink.kind !== 'shuffle') throw new Error(`stage ${id.stage} writes no map output`)
  const shuffle = job.shuffles[sink.node]!.key
  return { type: 'map-output', shuffle, checksum: id.partition, sizeBytes: 10, metrics: METRICS }
}

export function userError(message: string): EndedOutcome {
  return { type: 'failed', error: { code: 'TASK_FAILED', message, details: { message } } }
}

export function fetchFailure(node: number, map: number, peer: string): EndedOutcome {
  const error: WireError = { code: 'FETCH_FAILED', message: `map ${map} at ${peer}`, details: { map, peer } }
  return { type: 'failed', error, fetch: { node, map, peer } }
}

export function workerDied(): EndedOutcome {
  return { type: 'worker-died', error: { code: 'INTERNAL', message: 'the worker thread ended', details: {} } }
}

export function sealed(job: JobSpec, id: TaskId): SealedOutput {
  const { sink } = job.stages[id.stage]!
  const output = { jobId: job.jobId, id, checksum: 7, sizeBytes: 10 }
  if (sink.kind === 'result') return output
  return { ...output, shuffle: { key: job.shuffles[sink.node]!.key, map: id.partition } }
}

interface JobShape {
  jobId?: string
  session?: string
  /** Partitions of each stage: each but the last writes a shuffle that the next one reads. */
  stages: number[]
  preferred?: JobSpec['preferred']
  keptAt?: JobSpec['keptAt']
  runsOnce?: boolean
  accepted?: number[]
}

/** A chain of stages. Shuffle node of stage s is s · 2 + 1; its key is the same for every job of the session. */
export function jobOf(shape: JobShape): JobSpec {
  const { jobId = 's/1', session = 's', preferred = {}, keptAt = {}, runsOnce = false, accepted = [] } = shape
  const last = shape.stages.length - 1
  const shuffles: JobSpec['shuffles'] = {}
  const stages = shape.stages.map((count, id): Stage => {
    const node = id * 2 + 1
    if (id < last) shuffles[node] = { key: `${session}/shuffle${node}`, maps: count }
    return {
      id,
      root: id * 2,
      sink: id < last ? { kind: 'shuffle', node } : { kind: 'result' },
      partitions: Array.from({ length: count }, (_, partition) => partition),
      parents: id > 0 ? [id - 1] : [],
      reads: id > 0 ? [node - 2] : [],
    }
  })
  const requester = { client: 'client', relay: 'relay', epoch: 0 }
  return {
    jobId,
    name: 'job',
    session,
    requester,
    stages,
    shuffles,
    preferred,
    keptAt,
    runsOnce,
    holders: {},
    accepted,
  }
}

export function taskId(stage: number, partition: number, term = 1, attempt = 0): TaskId {
  return { stage, partition, attempt, term }
}
