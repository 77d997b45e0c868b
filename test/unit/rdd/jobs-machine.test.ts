import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DETACHED, JOBS } from '../../../src/rdd/config.ts'
import { jobsCommand } from '../../../src/rdd/messages.ts'
import { Jobs, type DetachJob, type JobChange, type JobsCommand } from '../../../src/rdd/jobs.machine.ts'

const context = (timeMs: number) => ({ index: 1, term: 1, timeMs })

function start(jobId: string, agoMs = 0): JobChange {
  return { type: 'job-start', jobId, name: 'n', requester: 'c', relay: 'r', planHash: 'h', agoMs }
}

test('one entry lists a job that began and ended before it, with when it began', () => {
  const jobs = new Jobs()
  const command: JobsCommand = {
    type: 'jobs',
    changes: [
      start('s/1', 40),
      { type: 'job-end', jobId: 's/1', status: 'done', tasks: 8, retried: 0 },
      start('s/2'),
    ],
  }
  expect(jobsCommand.parse(command)).toEqual(command)
  jobs.apply(command, context(1_000))
  jobs.assertInvariants()
  expect(jobs.list()).toMatchObject([
    { jobId: 's/1', status: 'done', startedMs: 960, endedMs: 1_000 },
    { jobId: 's/2', status: 'running', startedMs: 1_000 },
  ])
})

test('an ended job stays ended, and one that runs goes on, when a new leader lists it again', () => {
  const jobs = new Jobs()
  jobs.apply({ type: 'jobs', changes: [start('s/1'), start('s/2')] }, context(1))
  jobs.apply({ type: 'jobs', changes: [{ type: 'job-end', jobId: 's/1', status: 'cancelled' }] }, context(2))
  jobs.apply({ type: 'jobs', changes: [start('s/1'), start('s/2')] }, context(3))
  jobs.assertInvariants()
  expect(jobs.list()).toMatchObject([
    { jobId: 's/1', status: 'cancelled', endedMs: 2 },
    { jobId: 's/2', status: 'running', startedMs: 1 },
  ])
})

describe('detached jobs', () => {
  const result = { kind: 'result', fold: 'rows', ttlMs: 100 } as const
  const files = { kind: 'files', path: '/out', overwrite: false } as const

  function detach(jobId: string, output: DetachJob['job']['detached']['output'] = files): DetachJob {
    const detached = { partitions: 2, suffix: '', output }
    return { type: 'detach', job: { jobId, name: 'n', requester: 'c', relay: 'r', planHash: 'h', detached } }
  }

  test('are accepted once, whatever comes twice; what is no new one is refused', () => {
    const jobs = new Jobs()
    expect(jobsCommand.parse(detach('a/1'))).toEqual(detach('a/1'))
    expect(jobs.apply(detach('a/1'), context(5))).toEqual({ ok: true })
    jobs.apply({ type: 'jobs', changes: [{ type: 'job-end', jobId: 'a/1', status: 'done' }] }, context(6))
    expect(jobs.apply(detach('a/1'), context(7))).toEqual({ ok: true })
    expect(jobs.get('a/1')).toMatchObject({ status: 'done', startedMs: 5, endedMs: 6 })
    const other = detach('a/1')
    other.job.planHash = 'other'
    for (const command of [other, detach('a/2'), detach('../1'), detach('A/1')])
      expect(jobs.apply(command, context(8))).toMatchObject({ ok: false, error: { code: 'BAD_MESSAGE' } })
    expect(jobs.list()).toHaveLength(1)
  })

  test('keep their result until it is taken or its time is over in log time, and no longer; those that save keep none', () => {
    const jobs = new Jobs()
    const done = (jobId: string): JobChange => ({ type: 'job-end', jobId, status: 'done' })
    for (const jobId of ['a/1', 'b/1', 'c/1']) jobs.apply(detach(jobId, result), context(1))
    jobs.apply(detach('d/1'), context(1))
    const changes = [done('a/1'), done('b/1'), done('d/1')]
    changes.push({ type: 'job-end', jobId: 'c/1', status: 'failed', reason: 'x', code: 'TASK_FAILED' })
    jobs.apply({ type: 'jobs', changes }, context(10))
    expect(jobs.list().map(({ keptUntilMs }) => keptUntilMs)).toEqual([110, 110, undefined, undefined])
    const gone = (jobId: string, taken: boolean): JobChange => ({ type: 'result-gone', jobId, taken })
    jobs.apply({ type: 'jobs', changes: [gone('a/1', true), gone('b/1', false)] }, context(109))
    expect(jobs.list().map(({ keptUntilMs }) => keptUntilMs)).toEqual([undefined, 110, undefined, undefined])
    jobs.apply({ type: 'jobs', changes: [gone('b/1', false)] }, context(110))
    expect(jobs.get('b/1')?.keptUntilMs).toBeUndefined()
    expect(jobs.get('c/1')).toMatchObject({ status: 'failed', code: 'TASK_FAILED' })
  })

  test('are no more than jobsMax; one more is BUSY until a result is taken', () => {
    const jobs = new Jobs()
    for (let i = 0; i < DETACHED.jobsMax; i++)
      expect(jobs.apply(detach(`j${i}/1`, result), context(1))).toEqual({ ok: true })
    expect(jobs.apply(detach('more/1'), context(2))).toMatchObject({ error: { code: 'BUSY' } })
    jobs.apply({ type: 'jobs', changes: [{ type: 'job-end', jobId: 'j0/1', status: 'done' }] }, context(3))
    expect(jobs.apply(detach('more/1'), context(4))).toMatchObject({ error: { code: 'BUSY' } })
    jobs.apply({ type: 'jobs', changes: [{ type: 'result-gone', jobId: 'j0/1', taken: true }] }, context(5))
    expect(jobs.apply(detach('more/1'), context(6))).toEqual({ ok: true })
  })

  const id = fc.constantFrom('a/1', 'b/1', 'c/1', 'd/1', 's/1', 's/2')
  const change: fc.Arbitrary<JobChange> = fc.oneof(
    id.map(jobId => start(jobId)),
    fc
      .tuple(id, fc.constantFrom('done', 'failed', 'cancelled'))
      .map(([jobId, status]) => ({ type: 'job-end', jobId, status }) as const),
    fc.tuple(id, fc.boolean()).map(([jobId, taken]) => ({ type: 'result-gone', jobId, taken }) as const),
  )
  const command: fc.Arbitrary<JobsCommand> = fc.oneof(
    fc.tuple(id, fc.constantFrom(result, files)).map(([jobId, output]) => detach(jobId, output)),
    fc.array(change, { maxLength: 5 }).map(changes => ({ type: 'jobs', changes }) as const),
  )

  test('whatever is said in whatever order: one end each, and a restored snapshot goes on the same', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(command, fc.nat(60)), { maxLength: 40 }), fc.nat(40), (log, cut) => {
        const jobs = new Jobs()
        let restored: Jobs | undefined
        const ends = new Map<string, string>()
        let timeMs = 0
        for (const [index, [each, passedMs]] of log.entries()) {
          timeMs += passedMs
          const answer = jobs.apply(each, context(timeMs))
          jobs.assertInvariants()
          if (index === cut) {
            restored = new Jobs()
            restored.restore(structuredClone(jobs.snapshot()))
          } else if (restored !== undefined) expect(restored.apply(each, context(timeMs))).toEqual(answer)
          for (const { jobId, status, endedMs } of jobs.list()) {
            if (status === 'running') continue
            const end = `${status} ${endedMs}`
            expect(ends.get(jobId) ?? end).toBe(end)
            ends.set(jobId, end)
          }
        }
        if (restored !== undefined) expect(restored.snapshot()).toEqual(jobs.snapshot())
      }),
      { numRuns: 300 },
    )
  })

  test('history forgets the oldest that ended, and none that runs or whose result waits', () => {
    const jobs = new Jobs()
    jobs.apply(detach('runs/1'), context(1))
    jobs.apply(detach('kept/1', result), context(1))
    jobs.apply({ type: 'jobs', changes: [{ type: 'job-end', jobId: 'kept/1', status: 'done' }] }, context(1))
    for (let i = 0; i <= JOBS.historyMax; i++) {
      const jobId = `s/${i}`
      jobs.apply(
        { type: 'jobs', changes: [start(jobId), { type: 'job-end', jobId, status: 'done' }] },
        context(2),
      )
      jobs.assertInvariants()
    }
    expect(jobs.get('runs/1')?.status).toBe('running')
    expect(jobs.get('kept/1')?.keptUntilMs).toBe(101)
    expect(jobs.get('s/0')).toBeUndefined()
    expect(jobs.get('s/1')).toBeDefined()
  })
})
