import { describe, expect, test } from 'vitest'
import { SCHEDULER } from '../../../src/rdd/config.ts'
import type { EndedOutcome, SchedulerEffect } from '../../../src/rdd/scheduler-types.ts'
import {
  begun,
  cancelled,
  failureOf,
  fetchFailure,
  jobOf,
  mapOutputOf,
  resultOf,
  Scene,
  sealed,
  startOf,
  starts,
  taskId,
  typesOf,
  userError,
  workerDied,
} from './scheduler-support.ts'

const PEERS = { a: 1, b: 1 }

describe('placement', () => {
  test('a task runs where its input is while there is room, and elsewhere rather than wait', () => {
    const scene = new Scene(1, { a: 1, b: 1, c: 1 })
    const preferred = { 0: { 0: ['c'], 1: ['c', 'b'], 2: ['c'] } }
    const effects = scene.submit(jobOf({ stages: [3], preferred }))
    expect(begun(effects)).toEqual(['a: 0.2', 'b: 0.1', 'c: 0.0'])
  })

  test('of the tasks of a job, those with a place near their input go first', () => {
    const scene = new Scene(1, { a: 1, b: 1 })
    const preferred = { 0: { 0: ['a'], 1: ['a'], 2: ['a'], 3: ['b'] } }
    expect(begun(scene.submit(jobOf({ stages: [4], preferred })))).toEqual(['a: 0.0', 'b: 0.3'])
  })

  test('a task waits for the busy peer that keeps its input, for localityWaitMs and no longer', () => {
    const scene = new Scene(1, { a: 1, b: 1 })
    const keptAt = { 0: { 0: ['a'], 1: ['a'], 2: ['a'] } }
    expect(begun(scene.submit(jobOf({ stages: [3], keptAt })))).toEqual(['a: 0.0'])
    expect(begun(scene.tickAt(SCHEDULER.localityWaitMs - 1))).toEqual([])
    // Its peer gets on with the work, so the others wait on.
    expect(begun(scene.ended('a', taskId(0, 0), resultOf()))).toEqual(['a: 0.1'])
    expect(begun(scene.tickAt(SCHEDULER.localityWaitMs))).toEqual([])
    expect(begun(scene.tickAt(2 * SCHEDULER.localityWaitMs))).toEqual(['b: 0.2'])
  })

  test('nobody waits for a peer that keeps the input and is gone, or on which the task failed', () => {
    const scene = new Scene(1, { a: 1, b: 1 })
    const job = jobOf({ stages: [2], keptAt: { 0: { 0: ['a'], 1: ['gone'] } } })
    expect(begun(scene.submit(job))).toEqual(['a: 0.0', 'b: 0.1'])
    scene.ended('b', taskId(0, 1), resultOf())
    expect(begun(scene.ended('a', taskId(0, 0), userError('once')))).toEqual(['b: 0.0'])
  })

  test('a peer that is not an executor is no preference', () => {
    const scene = new Scene(1, { a: 1 })
    expect(begun(scene.submit(jobOf({ stages: [1], preferred: { 0: { 0: ['gone'] } } })))).toEqual(['a: 0.0'])
  })

  test('few tasks leave no queue at executors, many leave one of at most queueDepthMax for each worker', () => {
    const few = new Scene(1, PEERS)
    expect(starts(few.submit(jobOf({ stages: [4] })))).toHaveLength(2)
    const many = new Scene(1, PEERS)
    expect(starts(many.submit(jobOf({ stages: [1_000] })))).toHaveLength(2 * SCHEDULER.queueDepthMax)
  })

  test('tasks as tiny as the last ones of their session are queued at once, until one takes longer', () => {
    const took = (durationMs: number): EndedOutcome => {
      const outcome = resultOf()
      return outcome.type === 'result'
        ? { ...outcome, accepted: true, metrics: { ...outcome.metrics, durationMs } }
        : outcome
    }
    const scene = new Scene(1, PEERS)
    const run = (jobId: string, durationMs: number): number => {
      const first = starts(scene.submit({ ...jobOf({ stages: [6] }), jobId }))
      const queue = [...first]
      for (let start = queue.shift(); start !== undefined; start = queue.shift()) {
        queue.push(...starts(scene.ended(start.peer, start.id, took(durationMs), jobId)))
      }
      return first.length
    }
    expect(run('s/1', 1), 'nothing is known yet').toBe(2)
    expect(run('s/2', 40), 'after tasks of 1 ms').toBe(6)
    expect(run('s/3', 40), 'after tasks of 40 ms').toBe(2)
    const others = starts(scene.submit({ ...jobOf({ stages: [6] }), jobId: 't/1', session: 't' }))
    expect(others, 'another session').toHaveLength(2)
  })

  test('tasks of a stage for one executor travel together', () => {
    const effects = new Scene(1, { a: 8 }).submit(jobOf({ stages: [8] }))
    expect(effects.filter(({ type }) => type === 'run-tasks')).toHaveLength(1)
  })

  test('without executors nothing begins, and the first to join gets the tasks', () => {
    const scene = new Scene()
    expect(begun(scene.submit(jobOf({ stages: [1] })))).toEqual([])
    expect(begun(scene.step({ type: 'executor-joined', peer: 'a', workers: 1 }))).toEqual(['a: 0.0'])
  })

  test('two jobs share the workers evenly, whichever came first and whichever is larger', () => {
    const scene = new Scene()
    scene.submit(jobOf({ jobId: 's/1', stages: [500] }))
    scene.submit(jobOf({ jobId: 't/1', session: 't', stages: [20] }))
    const given = starts(scene.step({ type: 'executor-joined', peer: 'a', workers: 2 }))
    expect(given.filter(({ jobId }) => jobId === 't/1')).toHaveLength(given.length / 2)
    expect(given.length).toBeGreaterThan(2)
  })

  test('the job with fewer running tasks gets the next free worker', () => {
    const scene = new Scene(1, { a: 2 })
    const [first] = starts(scene.submit(jobOf({ jobId: 's/1', stages: [3] })))
    expect(starts(scene.submit(jobOf({ jobId: 't/1', session: 't', stages: [1] })))).toEqual([])
    expect(starts(scene.ended('a', first!.id, resultOf()))).toMatchObject([{ jobId: 't/1' }])
  })

  test('a task that has no place to go does not hold up the others', () => {
    const scene = new Scene(1, { a: 1, b: 1 })
    const job = jobOf({ stages: [3], preferred: { 0: { 0: ['a'], 1: ['b'] } } })
    scene.submit(job)
    // Partition 0 failed on a, and b is busy: it waits for b, and a goes on with partition 2.
    expect(begun(scene.ended('a', taskId(0, 0), userError('once')))).toEqual(['a: 0.2'])
    expect(begun(scene.ended('b', taskId(0, 1), resultOf()))).toEqual(['b: 0.0'])
  })
})

describe('stages', () => {
  test('a stage begins when all map outputs it reads are there, and is told where they are', () => {
    const scene = new Scene(1, PEERS)
    const job = jobOf({ stages: [2, 1] })
    const first = scene.submit(job)
    expect(begun(first)).toEqual(['a: 0.0', 'b: 0.1'])
    expect(begun(scene.ended('b', taskId(0, 1), mapOutputOf(job, taskId(0, 1))))).toEqual([])
    const second = scene.ended('a', taskId(0, 0), mapOutputOf(job, taskId(0, 0)))
    const run = second.find(effect => effect.type === 'run-tasks')
    expect(run).toMatchObject({ shuffles: [{ node: 1, shuffle: 's/shuffle1', peers: ['a', 'b'] }] })
  })

  test('a second job on the same lineage skips the stages whose outputs are there', () => {
    const scene = new Scene(1, PEERS)
    const first = jobOf({ jobId: 's/1', stages: [2, 2, 1] })
    scene.finishAll(scene.submit(first), first)
    expect(
      begun(scene.submit(jobOf({ jobId: 's/2', stages: [2, 2, 1] }))).map(text => text.slice(3)),
    ).toEqual(['2.0'])
  })

  test('outputs of another session are not shared', () => {
    const scene = new Scene(1, PEERS)
    const first = jobOf({ jobId: 's/1', stages: [1, 1] })
    scene.finishAll(scene.submit(first), first)
    const other = scene.submit(jobOf({ jobId: 't/1', session: 't', stages: [1, 1] }))
    expect(starts(other).map(({ id }) => id.stage)).toEqual([0])
  })

  test('a job is done once every result is accepted, and a job of no partitions at once', () => {
    const scene = new Scene(1, PEERS)
    scene.submit(jobOf({ stages: [2] }))
    expect(typesOf(scene.ended('a', taskId(0, 0), resultOf()))).toEqual([])
    expect(typesOf(scene.ended('b', taskId(0, 1), resultOf(false)))).toEqual([])
    expect(typesOf(scene.step({ type: 'result-accepted', jobId: 's/1', partitions: [1] }))).toEqual([
      'job-done',
    ])
    expect(typesOf(scene.submit(jobOf({ jobId: 's/2', stages: [0] })))).toEqual(['job-done'])
  })
})

describe('an executor that is gone', () => {
  test('takes only its own attempts, sealed results and map outputs with it', () => {
    const scene = new Scene(1, { a: 2, b: 2 })
    const job = jobOf({ stages: [4, 2], preferred: { 0: { 0: ['a'], 1: ['a'], 2: ['b'], 3: ['b'] } } })
    scene.submit(job)
    for (const [peer, map] of [
      ['a', 0],
      ['a', 1],
      ['b', 2],
    ] as const)
      scene.ended(peer, taskId(0, map), mapOutputOf(job, taskId(0, map)))
    const lost = scene.step({ type: 'executor-gone', peer: 'a' })
    expect(begun(lost)).toEqual(['b: 0.0'])
    expect(begun(scene.ended('b', taskId(0, 3), mapOutputOf(job, taskId(0, 3))))).toEqual(['b: 0.1'])
  })

  test('loses the results that the requester has not accepted, and not those it has', () => {
    const scene = new Scene(1, { a: 2, b: 2 })
    const job = jobOf({ stages: [2], preferred: { 0: { 0: ['a'], 1: ['a'] } } })
    scene.submit(job)
    scene.ended('a', taskId(0, 0), resultOf(true))
    scene.ended('a', taskId(0, 1), resultOf(false))
    const lost = scene.step({ type: 'executor-gone', peer: 'a' })
    expect(begun(lost)).toEqual(['b: 0.1'])
    expect(startOf(lost, 0, 1).id.attempt).toBe(1)
  })

  test('needs no map output again that no stage to come reads', () => {
    const scene = new Scene(1, PEERS)
    const job = jobOf({ stages: [2, 1] })
    scene.finishAll(scene.submit(job), job)
    expect(begun(scene.step({ type: 'executor-gone', peer: 'a' }))).toEqual([])
  })

  test('may go as often as it likes: the loss of peers is nobody’s failure', () => {
    const scene = new Scene(1, { a: 1 })
    scene.submit(jobOf({ stages: [1] }))
    for (let round = 0; round < 3 * SCHEDULER.userFailuresMax; round++) {
      expect(failureOf(scene.step({ type: 'executor-gone', peer: 'a' }))).toBeUndefined()
      expect(begun(scene.step({ type: 'executor-joined', peer: 'a', workers: 1 }))).toEqual(['a: 0.0'])
    }
  })

  test('and says later that a task ended: neither believed nor does it end the attempt that replaced it', () => {
    const scene = new Scene(1, PEERS)
    const job = jobOf({ stages: [1, 1], preferred: { 0: { 0: ['a'] } } })
    scene.submit(job)
    scene.step({ type: 'executor-gone', peer: 'a' })
    expect(typesOf(scene.ended('a', taskId(0, 0), mapOutputOf(job, taskId(0, 0))))).toEqual([])
    const retried = scene.ended('b', taskId(0, 0, 1, 1), mapOutputOf(job, taskId(0, 0)))
    expect(retried).toContainEqual(
      expect.objectContaining({
        type: 'run-tasks',
        shuffles: [{ node: 1, shuffle: 's/shuffle1', peers: ['b'] }],
      }),
    )
  })
})

describe('failures', () => {
  test('a lost map output is computed again, alone, and then its reader', () => {
    const scene = new Scene(1, { a: 2, b: 2 })
    const job = jobOf({ stages: [4, 1] })
    const reader = startOf(runMaps(scene, job), 1, 0)
    const again = scene.ended(reader.peer, reader.id, fetchFailure(1, 2, runsOnMap(scene, 2)))
    expect(starts(again).map(({ id }) => [id.stage, id.partition])).toEqual([[0, 2]])
    const [redo] = starts(again)
    const next = scene.ended(redo!.peer, redo!.id, mapOutputOf(job, redo!.id))
    expect(starts(next).map(({ id }) => [id.stage, id.partition, id.attempt])).toEqual([[1, 0, 1]])
  })

  test('a fetch failure that names a holder of old is not believed of the new one', () => {
    const scene = new Scene(1, { a: 2, b: 2 })
    const job = jobOf({ stages: [1, 1] })
    const reader = startOf(runMaps(scene, job), 1, 0)
    const effects = scene.ended(reader.peer, reader.id, fetchFailure(1, 0, 'somebody else'))
    expect(starts(effects).map(({ id }) => id.stage)).toEqual([1])
  })

  test('inputs that are lost for ever end the job after fetchFailuresMax tries', () => {
    const scene = new Scene(1, PEERS)
    const job = jobOf({ stages: [1, 1] })
    let effects = runMaps(scene, job)
    for (let round = 0; round <= SCHEDULER.fetchFailuresMax; round++) {
      const reader = startOf(effects, 1, 0)
      effects = scene.ended(reader.peer, reader.id, fetchFailure(1, 0, runsOnMap(scene, 0)))
      if (round === SCHEDULER.fetchFailuresMax) break
      const [redo] = starts(effects)
      effects = scene.ended(redo!.peer, redo!.id, mapOutputOf(job, redo!.id))
    }
    expect(failureOf(effects)?.code).toBe('FETCH_FAILED')
  })

  test('the user’s error is tried on another peer, and the same there ends the job', () => {
    const scene = new Scene(1, { a: 2, b: 2 })
    const first = startOf(scene.submit(jobOf({ stages: [1] })), 0, 0)
    const second = startOf(scene.ended(first.peer, first.id, userError('bad line')), 0, 0)
    expect(second.peer).not.toBe(first.peer)
    const effects = scene.ended(second.peer, second.id, userError('bad line'))
    expect(failureOf(effects)).toMatchObject({ code: 'TASK_FAILED', message: 'bad line' })
    expect(typesOf(effects)).toEqual(['job-failed', 'forget-job'])
  })

  test('trouble of the mesh, as while a part is stored, is nobody’s fault: the task is tried on, on the only executor too', () => {
    const cases = [
      [{ a: 1 }, 'UNKNOWN_OUTCOME'],
      [{ a: 1, b: 1 }, 'UNKNOWN_OUTCOME'],
      // A damaged copy of a kept partition is gone with the attempt that found it.
      [{ a: 1, b: 1 }, 'KEPT_DAMAGED'],
    ] as const
    for (const [peers, code] of cases) {
      const scene = new Scene(1, peers)
      let effects = scene.submit(jobOf({ stages: [1] }))
      const error = { code, message: 'the leader was lost', details: {} }
      for (let round = 0; round < SCHEDULER.fetchFailuresMax; round++) {
        const { peer, id } = startOf(effects, 0, 0)
        effects = scene.ended(peer, id, { type: 'failed', error })
      }
      const last = startOf(effects, 0, 0)
      expect(failureOf(scene.ended(last.peer, last.id, { type: 'failed', error }))?.code).toBe(code)
    }
  })

  test('errors that differ are tried userFailuresMax times', () => {
    const scene = new Scene(1, { a: 2, b: 2 })
    let effects = scene.submit(jobOf({ stages: [1] }))
    for (let round = 1; round <= SCHEDULER.userFailuresMax; round++) {
      expect(failureOf(effects)).toBeUndefined()
      const { peer, id } = startOf(effects, 0, 0)
      effects = scene.ended(peer, id, userError(`error ${round}`))
    }
    expect(failureOf(effects)?.message).toBe(`error ${SCHEDULER.userFailuresMax}`)
  })

  test('errors without a message of the user’s are told apart by their own', () => {
    const scene = new Scene(1, { a: 1, b: 1, c: 1 })
    const broken = (message: string) =>
      ({ type: 'failed', error: { code: 'INTERNAL', message, details: { reason: message } } }) as const
    const first = startOf(scene.submit(jobOf({ stages: [1] })), 0, 0)
    const second = startOf(scene.ended(first.peer, first.id, broken('disk')), 0, 0)
    expect(failureOf(scene.ended(second.peer, second.id, broken('net')))).toBeUndefined()
  })

  test('a task that killed workers on two occasions is poison', () => {
    const scene = new Scene(1, { a: 1, b: 1, c: 1 })
    const first = startOf(scene.submit(jobOf({ stages: [1] })), 0, 0)
    const second = startOf(scene.ended(first.peer, first.id, workerDied()), 0, 0)
    expect(second.peer).not.toBe(first.peer)
    const error = failureOf(scene.ended(second.peer, second.id, workerDied()))
    expect(error).toMatchObject({
      code: 'TASK_POISON',
      details: { stage: 0, partition: 0, peers: [first.peer, second.peer] },
    })
  })

  test('a task that is out of memory on two workers says so, not that it is poison', () => {
    const scene = new Scene(1, { a: 1, b: 1, c: 1 })
    const error = { code: 'TASK_OOM', message: 'more than 64 MB', details: { limitBytes: 64 } } as const
    const first = startOf(scene.submit(jobOf({ stages: [1] })), 0, 0)
    const second = startOf(scene.ended(first.peer, first.id, { type: 'worker-died', error }), 0, 0)
    expect(second.peer).not.toBe(first.peer)
    expect(failureOf(scene.ended(second.peer, second.id, { type: 'worker-died', error }))).toMatchObject({
      code: 'TASK_OOM',
      message: 'partition 0 of stage 0: more than 64 MB',
      details: { limitBytes: 64 },
    })
  })

  test('too little memory, and a plan that cannot run, end the job at once', () => {
    for (const code of ['TASK_MEMORY', 'PLAN_INVALID', 'PACKAGE_MISSING'] as const) {
      const scene = new Scene(1, PEERS)
      const { peer, id } = startOf(scene.submit(jobOf({ stages: [1] })), 0, 0)
      const effects = scene.ended(peer, id, { type: 'failed', error: { code, message: code, details: {} } })
      expect(failureOf(effects)?.code).toBe(code)
    }
  })

  test('the only executor’s user error ends the job: there is nowhere else to try', () => {
    const scene = new Scene(1, { a: 1 })
    const { id } = startOf(scene.submit(jobOf({ stages: [1] })), 0, 0)
    expect(failureOf(scene.ended('a', id, userError('bad')))?.message).toBe('bad')
  })
})

describe('reports', () => {
  test('a failure that is reported twice counts once', () => {
    for (const outcome of [workerDied(), userError('bad')]) {
      const scene = new Scene(1, { a: 1, b: 1, c: 1 })
      const { peer, id } = startOf(scene.submit(jobOf({ stages: [1] })), 0, 0)
      for (let times = 0; times < 6; times++)
        expect(failureOf(scene.ended(peer, id, outcome))).toBeUndefined()
    }
  })

  test('a success that is reported twice changes nothing', () => {
    const scene = new Scene(1, PEERS)
    const job = jobOf({ stages: [2] })
    scene.submit(job)
    scene.ended('a', taskId(0, 0), resultOf())
    expect(typesOf(scene.ended('a', taskId(0, 0), resultOf()))).toEqual([])
    expect(typesOf(scene.ended('a', taskId(0, 0), resultOf(false)))).toEqual([])
    expect(typesOf(scene.ended('b', taskId(0, 1), resultOf()))).toEqual(['job-done'])
    expect(typesOf(scene.ended('b', taskId(0, 1), resultOf()))).toEqual([])
  })

  test('the failure of an attempt that nobody knows harms nobody', () => {
    const scene = new Scene(1, PEERS)
    scene.submit(jobOf({ stages: [1] }))
    for (let attempt = 50; attempt < 60; attempt++)
      expect(typesOf(scene.ended('b', taskId(0, 0, 0, attempt), workerDied()))).toEqual([])
    expect(typesOf(scene.ended('b', taskId(7, 7), userError('?')))).toEqual([])
    expect(typesOf(scene.ended('b', taskId(0, 0), userError('?'), 'nobody/9'))).toEqual([])
  })

  test('a result that was sealed elsewhere all the same ends the attempt that still runs', () => {
    const scene = new Scene(1, PEERS)
    const { peer, id } = startOf(scene.submit(jobOf({ stages: [1] })), 0, 0)
    const other = peer === 'a' ? 'b' : 'a'
    const effects = scene.ended(other, taskId(0, 0, 0, 3), resultOf(false))
    expect(cancelled(effects)).toEqual([`${peer}: 0.0.1.${id.attempt}`])
  })

  test('a sealed result that its requester could not fetch is made again', () => {
    const scene = new Scene(1, PEERS)
    const { peer, id } = startOf(scene.submit(jobOf({ stages: [1] })), 0, 0)
    scene.ended(peer, id, resultOf(false))
    const lost = scene.step({ type: 'result-lost', jobId: 's/1', partition: 0, peer })
    const again = startOf(lost, 0, 0)
    // Said once more, by a requester that does not know that it was heard.
    expect(begun(scene.step({ type: 'result-lost', jobId: 's/1', partition: 0, peer }))).toEqual([])
    expect(typesOf(scene.ended(again.peer, again.id, resultOf(true)))).toEqual(['job-done'])
    expect(begun(scene.step({ type: 'result-lost', jobId: 's/1', partition: 0, peer: again.peer }))).toEqual(
      [],
    )
  })
})

describe('the end of a job', () => {
  test('cancellation stops what runs, makes executors forget it, and tells the requester', () => {
    const scene = new Scene(1, PEERS)
    scene.submit(jobOf({ stages: [5] }))
    const effects = scene.step({ type: 'job-cancelled', jobId: 's/1', reason: 'asked to' })
    expect(failureOf(effects)).toMatchObject({ code: 'JOB_CANCELLED', details: { reason: 'asked to' } })
    expect(cancelled(effects)).toHaveLength(2)
    expect(effects).toContainEqual({ type: 'forget-job', jobId: 's/1', peers: ['a', 'b'] })
    expect(begun(effects)).toEqual([])
    scene.scheduler.assertEmpty()
  })

  test('a plan that comes after the job was cancelled does not begin it, not even when the cancellation came first', () => {
    for (const submittedBefore of [true, false]) {
      const scene = new Scene(1, PEERS)
      const job = jobOf({ stages: [2] })
      if (submittedBefore) scene.submit(job)
      scene.step({ type: 'job-cancelled', jobId: 's/1', reason: 'stop' })
      const late = scene.submit(job)
      expect(begun(late)).toEqual([])
      expect(failureOf(late)?.code).toBe('JOB_CANCELLED')
      scene.scheduler.assertEmpty()
    }
  })

  test('a plan that comes after the requester closed the job begins nothing and says nothing', () => {
    const scene = new Scene(1, PEERS)
    const job = jobOf({ stages: [2] })
    scene.finishAll(scene.submit(job), job)
    scene.step({ type: 'job-closed', jobId: 's/1' })
    expect(typesOf(scene.submit(job))).toEqual(['forget-job'])
    scene.scheduler.assertEmpty()
  })

  test('a requester that closes the job has all it wants, whatever this leader was told', () => {
    const scene = new Scene(1, PEERS)
    scene.submit(jobOf({ stages: [2] }))
    const effects = scene.step({ type: 'job-closed', jobId: 's/1' })
    expect(typesOf(effects)).toEqual(['job-done', 'cancel-tasks', 'cancel-tasks', 'forget-job'])
    scene.scheduler.assertEmpty()
  })

  test('a late map output of an ended job is kept for the session', () => {
    const scene = new Scene(1, PEERS)
    const job = jobOf({ stages: [1, 1] })
    const { peer, id } = startOf(scene.submit(job), 0, 0)
    scene.step({ type: 'job-cancelled', jobId: 's/1', reason: 'stop' })
    scene.ended(peer, id, mapOutputOf(job, id))
    const next = scene.submit(jobOf({ jobId: 's/2', stages: [1, 1] }))
    expect(starts(next).map(each => each.id.stage)).toEqual([1])
  })

  test('an executor that was away when the job ended is told when it is back', () => {
    const scene = new Scene(1, PEERS)
    const { peer, id } = startOf(scene.submit(jobOf({ stages: [1] })), 0, 0)
    scene.step({ type: 'executor-gone', peer })
    scene.step({ type: 'job-cancelled', jobId: 's/1', reason: 'stop' })
    scene.step({ type: 'executor-joined', peer, workers: 1 })
    const back = scene.step({
      type: 'inventory-received',
      peer,
      running: [{ jobId: 's/1', id }],
      outputs: [],
    })
    expect(back).toEqual([{ type: 'forget-job', jobId: 's/1', peers: [peer] }])
    scene.scheduler.assertEmpty()
  })
})

describe('leases', () => {
  test('a requester that is not heard of for leaseMs has its jobs cancelled and its outputs dropped', () => {
    const scene = new Scene(1, PEERS)
    scene.submit(jobOf({ stages: [2] }))
    expect(typesOf(scene.tickAt(SCHEDULER.leaseMs - 1))).toEqual([])
    const effects = scene.tickAt(SCHEDULER.leaseMs)
    expect(failureOf(effects)?.code).toBe('JOB_CANCELLED')
    expect(effects).toContainEqual({ type: 'forget-session', session: 's', peers: ['a', 'b'] })
    scene.scheduler.assertEmpty()
  })

  test('renewing keeps the job, and only the session that renews', () => {
    const scene = new Scene(1, PEERS)
    scene.submit(jobOf({ stages: [2] }))
    scene.submit(jobOf({ jobId: 't/1', session: 't', stages: [2] }))
    scene.nowMs = SCHEDULER.leaseMs - 1
    scene.step({ type: 'lease-renewed', session: 's', jobs: ['s/1'], begun: 1 })
    const effects = scene.tickAt(SCHEDULER.leaseMs)
    expect(effects.filter(effect => effect.type === 'job-failed')).toMatchObject([{ jobId: 't/1' }])
    expect(scene.scheduler.hasJob('s/1')).toBe(true)
  })

  test('a job that its requester had begun and does not list is stopped; one it may not have begun yet is not', () => {
    const scene = new Scene(1, PEERS)
    const renew = (begun: number, ...jobs: string[]): SchedulerEffect[] =>
      scene.step({ type: 'lease-renewed', session: 's', jobs, begun })
    scene.submit(jobOf({ stages: [2] }))
    scene.submit(jobOf({ jobId: 't/1', session: 't', stages: [2] }))
    // Said before the job began, and late by however much.
    expect([renew(0), renew(0), renew(1, 's/1'), renew(0)].map(typesOf)).toEqual([[], [], [], []])
    expect(failureOf(renew(1))?.code).toBe('JOB_CANCELLED')
    expect(scene.scheduler.jobs().map(({ jobId }) => jobId)).toEqual(['t/1'])
  })

  test('a requester that was only cut off may go on where it was', () => {
    const scene = new Scene(1, PEERS)
    const job = jobOf({ stages: [2] })
    scene.submit(job)
    scene.ended('a', taskId(0, 0), resultOf())
    scene.tickAt(SCHEDULER.leaseMs)
    const back = scene.submit({ ...job, accepted: [0] })
    expect(starts(back).map(({ id }) => id.partition)).toEqual([1])
  })

  test('a session of which only outputs were found ends too when nobody renews it', () => {
    const scene = new Scene(1, PEERS)
    scene.step({ type: 'session-found', session: 'old' })
    expect(typesOf(scene.tickAt(SCHEDULER.leaseMs - 1))).toEqual([])
    // Found again at another executor: that is no sign of life.
    scene.step({ type: 'session-found', session: 'old' })
    expect(scene.tickAt(SCHEDULER.leaseMs)).toEqual([
      { type: 'forget-session', session: 'old', peers: ['a', 'b'] },
    ])
  })
})

describe('a map output of a session that is over', () => {
  test('is forgotten too: the task went on after its session was', () => {
    const scene = new Scene(1, PEERS)
    const job = jobOf({ stages: [1, 1] })
    const { peer, id } = startOf(scene.submit(job), 0, 0)
    scene.tickAt(SCHEDULER.leaseMs)
    expect(typesOf(scene.ended(peer, id, mapOutputOf(job, id)))).toEqual([])
    expect(typesOf(scene.tickAt(2 * SCHEDULER.leaseMs - 1))).toEqual([])
    expect(scene.tickAt(2 * SCHEDULER.leaseMs)).toEqual([
      { type: 'forget-session', session: 's', peers: ['a', 'b'] },
    ])
  })
})

describe('a new leader', () => {
  const job = jobOf({ stages: [2, 2] })
  const before = { running: [], outputs: [] }

  test.each(['before', 'after'])(
    'goes on with what is sealed and running, found %s the plan comes',
    order => {
      const scene = new Scene(2, { a: 1, b: 1 })
      const inventories = (): SchedulerEffect[] => [
        ...scene.step({
          type: 'inventory-received',
          peer: 'a',
          running: [{ jobId: 's/1', id: taskId(0, 1) }],
          outputs: [sealed(job, taskId(0, 0))],
        }),
        ...scene.step({ type: 'inventory-received', peer: 'b', ...before }),
      ]
      if (order === 'before') {
        expect(begun(inventories())).toEqual([])
        expect(begun(scene.submit(job))).toEqual([])
      } else {
        scene.submit(job)
        expect(begun(inventories())).toEqual([])
      }
      // The plan that came first had begun both maps; what is found to be there ends those attempts.
      const reads = scene.ended('a', taskId(0, 1), mapOutputOf(job, taskId(0, 1)))
      expect(starts(reads).map(({ id }) => [id.stage, id.partition, id.term])).toEqual([
        [1, 0, 2],
        [1, 1, 2],
      ])
    },
  )

  test('counts sealed results as done, and makes them again when their executor goes', () => {
    const scene = new Scene(2, PEERS)
    const found = { ...before, outputs: [sealed(job, taskId(1, 0))] }
    scene.step({ type: 'inventory-received', peer: 'a', ...found })
    const effects = scene.submit({ ...job, accepted: [1] })
    expect(begun(effects)).toEqual([])
    expect(begun(scene.step({ type: 'executor-gone', peer: 'a' }))).toEqual(['b: 0.0'])
  })

  test('does nothing again that the requester has accepted', () => {
    const scene = new Scene(2, PEERS)
    expect(typesOf(scene.submit({ ...jobOf({ stages: [2] }), accepted: [0, 1] }))).toEqual(['job-done'])
  })

  test('believes a report that came before the plan', () => {
    const scene = new Scene(2, PEERS)
    const narrow = jobOf({ stages: [1] })
    scene.step({
      type: 'inventory-received',
      peer: 'a',
      running: [{ jobId: 's/1', id: taskId(0, 0) }],
      outputs: [],
    })
    scene.ended('a', taskId(0, 0), resultOf(false))
    expect(begun(scene.submit(narrow))).toEqual([])
    expect(typesOf(scene.step({ type: 'result-accepted', jobId: 's/1', partitions: [0] }))).toEqual([
      'job-done',
    ])
  })

  test('does not wait for an attempt whose end overtook the inventory that calls it running', () => {
    const narrow = jobOf({ stages: [1] })
    for (const outcome of [resultOf(false), userError('once')]) {
      const scene = new Scene(2)
      scene.submit(narrow)
      scene.ended('a', taskId(0, 0), outcome)
      scene.step({ type: 'executor-joined', peer: 'b', workers: 1 })
      scene.step({ type: 'executor-joined', peer: 'a', workers: 1 })
      const merged = scene.step({
        type: 'inventory-received',
        peer: 'a',
        running: [{ jobId: 's/1', id: taskId(0, 0) }],
        outputs: [],
      })
      // The result counts, and ends the attempt that b began; the failure leaves that attempt alone.
      expect(cancelled(merged)).toHaveLength(outcome.type === 'result' ? 1 : 0)
      expect(failureOf(merged)).toBeUndefined()
      const lost = scene.step({ type: 'executor-gone', peer: 'b' })
      expect(starts(lost)).toHaveLength(outcome.type === 'result' ? 0 : 1)
    }
  })

  test('stops what runs of a task that is done', () => {
    const scene = new Scene(2, PEERS)
    scene.submit({ ...jobOf({ stages: [2] }), accepted: [0] })
    const effects = scene.step({
      type: 'inventory-received',
      peer: 'a',
      running: [{ jobId: 's/1', id: taskId(0, 0) }],
      outputs: [],
    })
    expect(cancelled(effects)).toEqual(['a: 0.0.1.0'])
  })

  test('makes executors forget a job of which no requester speaks', () => {
    const scene = new Scene(2, PEERS)
    const found = {
      running: [{ jobId: 's/1', id: taskId(0, 1) }],
      outputs: [sealed(jobOf({ stages: [2] }), taskId(0, 0))],
    }
    scene.step({ type: 'inventory-received', peer: 'a', ...found })
    expect(typesOf(scene.tickAt(SCHEDULER.orphanMs - 1))).toEqual([])
    const effects = scene.tickAt(SCHEDULER.orphanMs)
    expect(effects).toContainEqual({ type: 'forget-job', jobId: 's/1', peers: ['a'] })
    scene.scheduler.assertEmpty()
  })
})

/** Runs the maps of a job of two stages; what follows them. */
function runMaps(scene: Scene, job: ReturnType<typeof jobOf>): SchedulerEffect[] {
  const queue = starts(scene.submit(job))
  let effects: SchedulerEffect[] = []
  for (let start = queue.shift(); start !== undefined; start = queue.shift()) {
    effects = scene.ended(start.peer, start.id, mapOutputOf(job, start.id))
    queue.push(...starts(effects).filter(({ stage }) => stage.sink.kind === 'shuffle'))
  }
  return effects
}

/** Where the latest attempt at this map of stage 0 ran. */
function runsOnMap(scene: Scene, map: number): string {
  return starts(scene.effects).findLast(({ id }) => id.stage === 0 && id.partition === map)!.peer
}
