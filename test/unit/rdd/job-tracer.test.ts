import { describe, expect, test } from 'vitest'
import { below, pick, seededRandom } from '../../../src/base/random.ts'
import { JOB_EVENTS, SCHEDULER } from '../../../src/rdd/config.ts'
import { asJobEvent, compareJobEvents, type JobEvent, type JobEventOf } from '../../../src/rdd/job-event.ts'
import { JobTracer } from '../../../src/rdd/job-tracer.machine.ts'
import { viewJob } from '../../../src/rdd/job-view.ts'
import type {
  EndedOutcome,
  JobSpec,
  SchedulerEffect,
  SchedulerEvent,
} from '../../../src/rdd/scheduler-types.ts'
import { Scheduler } from '../../../src/rdd/scheduler.machine.ts'
import {
  fetchFailure,
  jobOf,
  mapOutputOf,
  resultOf,
  starts,
  userError,
  workerDied,
  type Start,
} from './scheduler-support.ts'

/** A scheduler with a tracer beside it, as the leader drives them. */
class TracedScene {
  readonly scheduler: Scheduler
  readonly tracer: JobTracer
  readonly told: JobEvent[] = []
  nowMs = 0
  readonly #term: number

  constructor(term: number, peers: Record<string, number>) {
    this.#term = term
    this.scheduler = new Scheduler({ term })
    this.tracer = new JobTracer({ term })
    for (const [peer, workers] of Object.entries(peers)) this.step({ type: 'executor-joined', peer, workers })
  }

  step(...events: SchedulerEvent[]): SchedulerEffect[] {
    const effects = this.scheduler.stepAll(events, this.nowMs)
    const time = { nowMs: this.nowMs, epochMs: 1_700_000_000_000 + this.nowMs }
    this.told.push(...this.tracer.trace(events, effects, time))
    this.tracer.assertInvariants()
    return effects
  }

  submit(spec: JobSpec, resumed = false): SchedulerEffect[] {
    this.tracer.announce({
      jobId: spec.jobId,
      name: spec.name,
      leader: `leader${this.#term}`,
      requester: 'client',
      action: 'collect',
      resumed,
      stages: spec.stages.map(({ id, partitions, parents, sink }) => ({
        id,
        label: `stage ${id}`,
        tasks: partitions.length,
        parents,
        sink: sink.kind,
        kept: 0,
      })),
    })
    return this.step({ type: 'job-submitted', job: spec })
  }

  ended({ peer, id }: Start, outcome: EndedOutcome, jobId = 's/1'): SchedulerEffect[] {
    return this.step({ type: 'task-ended', peer, jobId, id, outcome })
  }

  /** Ends every attempt that these effects begin, with success, and those that follow. */
  finish(effects: readonly SchedulerEffect[], spec: JobSpec): void {
    const queue = starts(effects)
    for (let start = queue.shift(); start !== undefined; start = queue.shift()) {
      queue.push(...starts(this.ended(start, goodEnd(spec, start), spec.jobId)))
    }
  }

  types(): string[] {
    return this.told.map(({ type }) => type)
  }

  of<Type extends JobEvent['type']>(type: Type): JobEventOf<Type>[] {
    return this.told.filter((event): event is JobEventOf<Type> => event.type === type)
  }
}

function goodEnd(spec: JobSpec, { id }: Start): EndedOutcome {
  return spec.stages[id.stage]!.sink.kind === 'result' ? resultOf() : mapOutputOf(spec, id)
}

/** A good end with these figures. */
function withFigures(outcome: EndedOutcome, figures: Record<string, number | string>): EndedOutcome {
  if (!('metrics' in outcome)) throw new Error('it failed')
  return { ...outcome, metrics: { ...outcome.metrics, ...figures } }
}

const TWO = { a: 1, b: 1 }

describe('what is told of a job', () => {
  test('includes what its last task did, though the requester had its result before', () => {
    const scene = new TracedScene(1, TWO)
    const [first, last] = starts(scene.submit(jobOf({ stages: [2] })))
    scene.ended(first!, resultOf())
    scene.step({ type: 'job-closed', jobId: 's/1' })
    expect(scene.types()).not.toContain('job-ended')
    expect(scene.tracer.isEnding('s/1')).toBe(true)
    scene.nowMs = 100
    scene.ended(last!, resultOf())
    expect(scene.types().slice(-3)).toEqual(['task-ended', 'stage-ended', 'job-ended'])
    expect(scene.of('stage-ended')).toMatchObject([{ outcome: 'done', finished: 2 }])
    expect(scene.of('job-ended')).toMatchObject([{ status: 'done', durationMs: 0 }])
    scene.tracer.assertEmpty()
  })

  test('ends without it when that is never heard of', () => {
    for (const how of ['tick', 'resign'] as const) {
      const scene = new TracedScene(1, TWO)
      scene.submit(jobOf({ stages: [2] }))
      scene.step({ type: 'job-closed', jobId: 's/1' })
      scene.nowMs = JOB_EVENTS.lateMs
      if (how === 'tick') scene.step({ type: 'tick' })
      else scene.told.push(...scene.tracer.finish({ nowMs: 600, epochMs: 600 }))
      expect(scene.types().slice(-4)).toEqual(['task-ended', 'task-ended', 'stage-ended', 'job-ended'])
      expect(scene.of('stage-ended')).toMatchObject([{ outcome: 'enough', finished: 0 }])
      scene.tracer.assertEmpty()
    }
  })

  test('of two stages is its beginning, its stages with their tasks, each once, and its end', () => {
    const scene = new TracedScene(3, TWO)
    const spec = jobOf({ stages: [2, 1] })
    scene.finish(scene.submit(spec), spec)
    expect(scene.types()).toEqual(
      [
        'job-started',
        'stage-started',
        'task-started',
        'task-started',
        'task-ended',
        'stage-ended',
        'stage-started',
        'task-started',
        'task-ended',
        'stage-ended',
        'job-ended',
      ].toSpliced(5, 0, 'task-ended'),
    )
    expect(scene.told.map(({ seq }) => seq)).toEqual(scene.told.map((_, index) => index))
    expect(scene.told.every(event => event.term === 3 && event.v === 1 && event.jobId === 's/1')).toBe(true)
    expect(scene.of('stage-ended').map(({ outcome, finished }) => [outcome, finished])).toEqual([
      ['done', 2],
      ['done', 1],
    ])
    expect(scene.of('job-ended')[0]).toMatchObject({ status: 'done', started: 3, retried: 0 })
    // It may go as JSON, and comes back the same.
    expect(scene.told.map(event => asJobEvent(JSON.parse(JSON.stringify(event))))).toEqual(scene.told)
  })

  test('a stage whose map outputs are there is skipped, and said to be', () => {
    const scene = new TracedScene(1, TWO)
    const first = jobOf({ stages: [2, 1] })
    scene.finish(scene.submit(first), first)
    scene.told.length = 0
    const second = jobOf({ jobId: 's/2', stages: [2, 1] })
    scene.finish(scene.submit(second), second)
    expect(scene.of('stage-ended').map(({ stage, outcome }) => [stage, outcome])).toEqual([
      [0, 'skipped'],
      [1, 'done'],
    ])
    expect(scene.of('task-started').every(({ stage }) => stage === 1)).toBe(true)
    const view = viewJob('s/2', scene.told)
    expect(view.stages.map(({ state, started }) => [state, started])).toEqual([
      ['skipped', 0],
      ['done', 1],
    ])
  })

  test('figures of a good end are those of its attempt, and sums of a stage those of its tasks', () => {
    const scene = new TracedScene(1, TWO)
    const spec = jobOf({ stages: [2, 1] })
    const figures = {
      recordsRead: 10,
      bytesRead: 100,
      bytesFetched: 7,
      bytesWritten: 10,
      recordsWritten: 4,
      durationMs: 12.34,
      cpuMs: 5,
      spilledBytes: 3,
      spilledRecords: 2,
      peakBytes: 50,
      largestGroup: 9,
    }
    const effects = scene.submit(spec)
    for (const [index, start] of starts(effects).entries()) {
      scene.nowMs += 20
      const outcome = withFigures(goodEnd(spec, start), { ...figures, peakBytes: 50 + index })
      scene.finish(scene.ended(start, outcome), spec)
    }
    expect(scene.of('task-ended')[0]!.figures).toEqual({
      durationMs: 12.3,
      cpuMs: 5,
      inBytes: 100,
      inRecords: 10,
      outBytes: 0,
      outRecords: 4,
      shuffleReadBytes: 7,
      shuffleWriteBytes: 10,
      spilledBytes: 3,
      spilledRecords: 2,
      peakBytes: 50,
      cacheHits: 0,
      largestGroup: 9,
    })
    expect(scene.of('task-ended')[0]!.leaderMs).toBe(20)
    expect(scene.of('stage-ended')[0]!.totals).toMatchObject({
      inBytes: 200,
      inRecords: 20,
      outRecords: 8,
      shuffleWriteBytes: 20,
      spilledBytes: 6,
      peakBytes: 51,
      taskMsMedian: 12.3,
      taskMsMax: 12.3,
    })
  })
})

test('lines that a task wrote are summed up, with those that were too many', () => {
  const scene = new TracedScene(1, TWO)
  const spec = jobOf({ stages: [2] })
  const [first, second] = starts(scene.submit(spec))
  scene.ended(first!, withFigures(resultOf(), { outputLines: 3, outputSuppressed: 40 }))
  scene.ended(second!, withFigures(resultOf(), { outputLines: 2 }))
  expect(scene.of('task-output').map(({ lines, suppressed }) => [lines, suppressed])).toEqual([
    [3, 40],
    [2, 0],
  ])
  expect(viewJob('s/1', scene.told)).toMatchObject({ outputLines: 5, outputSuppressed: 40 })
})

describe('what goes wrong', () => {
  test('a failed attempt is told with code and message, its task begins again, and the job ends with the error', () => {
    const scene = new TracedScene(1, { a: 1, b: 1, c: 1, d: 1, e: 1 })
    const spec = jobOf({ stages: [1] })
    let [start] = starts(scene.submit(spec))
    for (let tries = 0; start !== undefined; tries++)
      [start] = starts(scene.ended(start, userError(`no. ${tries}`)))
    const ends = scene.of('task-ended')
    expect(ends.map(({ outcome, code }) => [outcome, code])).toEqual(
      Array.from({ length: SCHEDULER.userFailuresMax }, () => ['failed', 'TASK_FAILED']),
    )
    expect(scene.of('job-ended')).toMatchObject([
      { status: 'failed', retried: SCHEDULER.userFailuresMax - 1, error: { code: 'TASK_FAILED' } },
    ])
    const view = viewJob('s/1', scene.told)
    expect(view.failures.map(({ message }) => message)).toEqual(['no. 0', 'no. 1', 'no. 2', 'no. 3'])
    expect(view.stages[0]).toMatchObject({ failed: 4, retried: 3, started: 4, state: 'stopped' })
  })

  test('an executor that is gone ends its attempts, which begin elsewhere', () => {
    const scene = new TracedScene(1, TWO)
    const spec = jobOf({ stages: [2] })
    const all = starts(scene.submit(spec))
    const atA = all.find(({ peer }) => peer === 'a')!
    scene.step({ type: 'executor-gone', peer: 'a' })
    expect(scene.of('executor-lost')).toMatchObject([{ peer: 'a', attempts: 1 }])
    expect(scene.of('task-ended')).toMatchObject([
      { peer: 'a', partition: atA.id.partition, outcome: 'lost' },
    ])
    const atB = all.find(({ peer }) => peer === 'b')!
    scene.finish(scene.ended(atB, resultOf()), spec)
    const view = viewJob('s/1', scene.told)
    expect(view).toMatchObject({ status: 'done', failed: 1, gaps: [] })
    expect(view.stages[0]).toMatchObject({ tasks: 2, done: 2, started: 3, retried: 1, running: 0 })
    expect(view.peers.find(({ peer }) => peer === 'a')).toMatchObject({ lost: 1, done: 0, isGone: true })
  })

  test('a lost input is told with where it was, and its stage runs again', () => {
    const scene = new TracedScene(1, TWO)
    const spec = jobOf({ stages: [1, 1] })
    const [map] = starts(scene.submit(spec))
    const [reduce] = starts(scene.ended(map!, mapOutputOf(spec, map!.id)))
    scene.finish(scene.ended(reduce!, fetchFailure(1, 0, map!.peer)), spec)
    expect(scene.of('fetch-failed')).toMatchObject([
      { stage: 1, partition: 0, node: 1, map: 0, from: map!.peer, code: 'FETCH_FAILED' },
    ])
    expect(scene.of('stage-started').map(({ stage, again }) => [stage, again])).toEqual([
      [0, false],
      [1, false],
      [0, true],
    ])
    expect(scene.of('job-ended')).toMatchObject([{ status: 'done', started: 4, retried: 2 }])
  })

  test('a worker that dies is told as that, with the code', () => {
    const scene = new TracedScene(1, TWO)
    const [start] = starts(scene.submit(jobOf({ stages: [1] })))
    scene.ended(start!, workerDied())
    expect(scene.of('task-ended')).toMatchObject([{ outcome: 'worker-died', code: 'INTERNAL' }])
  })

  test('a second attempt beside a slow one is told, and the one that is stopped ends as cancelled', () => {
    const scene = new TracedScene(1, { a: 1, b: 1, c: 1, d: 1 })
    const all = starts(scene.submit(jobOf({ stages: [4] })))
    const slow = all.find(({ peer }) => peer === 'd')!
    scene.nowMs = 100
    for (const start of all) if (start !== slow) scene.ended(start, resultOf())
    scene.nowMs = 5_000
    const [again] = starts(scene.step({ type: 'tick' }))
    expect(scene.of('speculated')).toMatchObject([
      { partition: slow.id.partition, besides: 'd', ranMs: 5_000, peer: again!.peer },
    ])
    scene.ended(again!, resultOf())
    expect(scene.of('task-ended').filter(({ outcome }) => outcome === 'cancelled')).toMatchObject([
      { peer: 'd', attempt: 0 },
    ])
    expect(scene.types().slice(-2)).toEqual(['stage-ended', 'job-ended'])
    // What was stopped may say so all the same: nobody is told twice.
    const { length } = scene.told
    scene.ended(slow, resultOf())
    expect(scene.told).toHaveLength(length)
  })

  test('a map output that comes out different is told for each stage that read it', () => {
    const scene = new TracedScene(1, TWO)
    const spec = jobOf({ stages: [1, 2, 1] })
    const [map] = starts(scene.submit(spec))
    const [middle] = starts(scene.ended(map!, mapOutputOf(spec, map!.id)))
    const [again] = starts(scene.ended(middle!, fetchFailure(1, 0, map!.peer)))
    const different = { ...mapOutputOf(spec, again!.id), checksum: 99 } as EndedOutcome
    scene.finish(scene.ended(again!, different), spec)
    expect(scene.of('nondeterministic')).toMatchObject([{ stage: 1, shuffle: 's/shuffle1' }])
  })
})

describe('another leader', () => {
  test('goes on in a term of its own; attempts of the one before are told with theirs, and only once', () => {
    const spec = jobOf({ stages: [2] })
    const old = new TracedScene(1, TWO)
    const [first, second] = starts(old.submit(spec))
    old.ended(first!, resultOf(false))
    const next = new TracedScene(2, TWO)
    const running = [{ jobId: 's/1', id: second!.id }]
    const outputs = [{ jobId: 's/1', id: first!.id, checksum: 7, sizeBytes: 10 }]
    next.step({ type: 'inventory-received', peer: first!.peer, running: [], outputs })
    next.step({ type: 'inventory-received', peer: second!.peer, running, outputs: [] })
    next.submit(spec, true)
    next.ended(second!, resultOf())
    next.ended(second!, resultOf())
    next.step({ type: 'result-accepted', jobId: 's/1', partitions: [0, 1] })
    expect(next.of('task-ended')).toMatchObject([{ attempt: 0, attemptTerm: 1, outcome: 'done' }])
    const events = [...next.told, ...old.told].sort(compareJobEvents)
    const view = viewJob('s/1', events)
    expect(view).toMatchObject({ status: 'done', running: [], gaps: [] })
    expect(view.leaders.map(({ peer, term }) => [peer, term])).toEqual([
      ['leader1', 1],
      ['leader2', 2],
    ])
    expect(view.stages[0]).toMatchObject({ state: 'done', started: 2, done: 2, running: 0 })
  })

  test('a plan that comes once more, of a job that is over, begins nothing', () => {
    const scene = new TracedScene(1, TWO)
    const spec = jobOf({ stages: [1] })
    scene.finish(scene.submit(spec), spec)
    scene.step({ type: 'job-closed', jobId: 's/1' })
    const { length } = scene.told
    scene.submit(spec)
    expect(scene.told).toHaveLength(length)
    scene.tracer.assertEmpty()
  })
})

describe('skew', () => {
  function stageWith(records: readonly number[], more: (index: number) => object = () => ({})): TracedScene {
    const scene = new TracedScene(1, { a: records.length })
    const spec = jobOf({ stages: [records.length] })
    for (const start of starts(scene.submit(spec))) {
      const recordsRead = records[start.id.partition]!
      scene.ended(start, withFigures(resultOf(), { recordsRead, ...more(start.id.partition) }))
    }
    return scene
  }

  test('a partition with many times the median of its stage is named, with its largest group', () => {
    const scene = stageWith([1_000, 1_100, 41_000, 900, 1_000], index =>
      index === 2 ? { largestGroup: 40_000, largestKey: 'de' } : {},
    )
    expect(scene.of('stage-ended')[0]!.skew).toEqual([
      {
        partition: 2,
        of: 'records',
        value: 41_000,
        median: 1_000,
        times: 41,
        largestGroup: 40_000,
        largestKey: 'de',
      },
    ])
  })

  test('what is large but hurts nobody, or is alone, is not', () => {
    expect(stageWith([10, 10, 10, 900]).of('stage-ended')[0]!.skew).toBeUndefined()
    expect(stageWith([10, 90_000]).of('stage-ended')[0]!.skew).toBeUndefined()
    expect(stageWith([20_000, 20_000, 20_000, 60_000]).of('stage-ended')[0]!.skew).toBeUndefined()
  })

  test('slowness is the reason where nothing else is, and no more than the worst are named', () => {
    const slow = stageWith([5, 5, 5, 5], index => ({ durationMs: index === 1 ? 30_000 : 100 }))
    expect(slow.of('stage-ended')[0]!.skew).toMatchObject([{ partition: 1, of: 'time', times: 300 }])
    const many = stageWith([...Array.from({ length: 20 }, () => 1), 10_000, 20_000, 30_000, 40_000])
    expect(many.of('stage-ended')[0]!.skew!.map(({ partition }) => partition)).toEqual([23, 22, 21])
  })
})

test('beyond the limit single tasks are counted instead of told, and everything else still is', () => {
  const scene = new TracedScene(1, { a: 64 })
  const tasks = Math.ceil(JOB_EVENTS.taskEventsMax / 2) + 50
  const spec = jobOf({ stages: [tasks] })
  scene.finish(scene.submit(spec), spec)
  expect(scene.of('events-dropped').reduce((sum, { events }) => sum + events, 0)).toBe(
    2 * tasks - JOB_EVENTS.taskEventsMax,
  )
  expect(scene.told.map(({ seq }) => seq)).toEqual(scene.told.map((_, index) => index))
  expect(scene.types().at(-1)).toBe('job-ended')
  expect(scene.of('stage-ended')[0]).toMatchObject({ finished: tasks, outcome: 'done' })
})

test('whatever happens, every attempt that began ends once, and the view is what the scheduler says', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = seededRandom(seed)
    const peers: Record<string, number> = { a: 1, b: 2, c: 1, d: 1 }
    const scene = new TracedScene(1, peers)
    const specs = [
      jobOf({ stages: [1 + below(random, 6), 1 + below(random, 4), 1 + below(random, 3)] }),
      jobOf({ jobId: 's/2', stages: [1 + below(random, 5)] }),
    ]
    const open: (Start & { spec: JobSpec })[] = []
    const take = (effects: readonly SchedulerEffect[]): void => {
      for (const start of starts(effects))
        open.push({ ...start, spec: specs.find(({ jobId }) => jobId === start.jobId)! })
    }
    for (const spec of specs) take(scene.submit(spec))
    for (let turn = 0; turn < 120 && (open.length > 0 || turn < 20); turn++) {
      scene.nowMs += below(random, 1_500)
      const start = pick(random, open)
      const dice = below(random, 20)
      if (dice === 0) {
        const peer = pick(random, Object.keys(peers))!
        take(scene.step({ type: 'executor-gone', peer }))
        take(scene.step({ type: 'executor-joined', peer, workers: peers[peer]! }))
      } else if (dice === 1) take(scene.step({ type: 'tick' }))
      else if (dice === 2)
        take(scene.step({ type: 'lease-renewed', session: 's', jobs: ['s/1', 's/2'], begun: 2 }))
      else if (dice === 3 && turn > 60)
        take(scene.step({ type: 'job-cancelled', jobId: 's/2', reason: 'chance' }))
      else if (start !== undefined) {
        // Reports come again now and then.
        if (dice < 17) open.splice(open.indexOf(start), 1)
        let outcome = goodEnd(start.spec, start)
        if (dice === 4) outcome = userError('oops')
        if (dice === 5) outcome = workerDied()
        if (dice === 6 && start.id.stage > 0) outcome = fetchFailure(start.id.stage * 2 - 1, 0, 'b')
        take(scene.ended(start, outcome, start.jobId))
      }
      for (const { jobId, progress } of scene.scheduler.jobs()) {
        const view = viewJob(
          jobId,
          scene.told.filter(event => event.jobId === jobId),
        )
        // Of one that is done the last reports may be awaited.
        if (view.status !== 'running' || progress.stages.at(-1)!.done === progress.stages.at(-1)!.tasks)
          continue
        expect(
          view.stages.reduce((sum, stage) => sum + stage.started, 0),
          `seed ${seed}`,
        ).toBe(progress.started)
        const running = scene.told.filter(
          ({ type, jobId: of }) => type === 'task-started' && of === jobId,
        ).length
        const over = scene.told.filter(({ type, jobId: of }) => type === 'task-ended' && of === jobId).length
        expect(view.running.length).toBe(running - over)
        const tasksRunning = new Set(view.running.map(({ stage, partition }) => `${stage}.${partition}`)).size
        expect(tasksRunning, `seed ${seed}`).toBe(
          progress.stages.reduce((sum, stage) => sum + stage.running, 0),
        )
      }
    }
    for (const { jobId } of specs) scene.step({ type: 'job-closed', jobId })
    scene.nowMs += JOB_EVENTS.lateMs
    scene.step({ type: 'tick' })
    scene.tracer.assertEmpty()
    for (const { jobId } of specs) {
      const told = scene.told.filter(event => event.jobId === jobId)
      expect(told.map(({ seq }) => seq)).toEqual(told.map((_, index) => index))
      expect(told.at(-1)!.type, `seed ${seed}`).toBe('job-ended')
      expect(told.filter(({ type }) => type === 'job-ended')).toHaveLength(1)
      const view = viewJob(jobId, told)
      expect(view.running, `seed ${seed}`).toEqual([])
      expect(view.stages.every(({ state }) => state !== 'running')).toBe(true)
    }
  }
})
