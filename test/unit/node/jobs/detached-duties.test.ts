import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { detachedDuties, type DetachedView } from '../../../../src/node/jobs/detached-duties.ts'
import type { JobRecord } from '../../../../src/rdd/index.ts'

const FILES = { kind: 'files', path: '/out', overwrite: false } as const
const RESULT = { kind: 'result', fold: 'rows', ttlMs: 1 } as const

function record(jobId: string, fields: Partial<JobRecord> = {}): JobRecord {
  return {
    jobId,
    name: 'n',
    requester: 'c',
    relay: 'r',
    planHash: 'h',
    status: 'running',
    startedMs: 1,
    detached: { partitions: 2, suffix: '', output: FILES },
    ...fields,
  }
}

function view(fields: Partial<DetachedView>): DetachedView {
  return {
    nowMs: 1_000,
    jobs: [],
    taken: new Set(),
    complete: new Map(),
    verdicts: new Map(),
    directories: [],
    hasParts: () => true,
    orphanMs: 100,
    ...fields,
  }
}

test('a job goes through take-up, commit and end, wherever a new leader finds it', () => {
  const jobs = [record('a/1')]
  const [job] = jobs
  expect(detachedDuties(view({ jobs }))).toEqual([{ type: 'take-up', job }])
  expect(detachedDuties(view({ jobs, taken: new Set(['a/1']) }))).toEqual([])
  const complete = new Map([['a/1', { tasks: 2, retried: 0 }]])
  expect(detachedDuties(view({ jobs, taken: new Set(['a/1']), complete }))).toEqual([
    { type: 'commit', job, tasks: 2, retried: 0 },
  ])
  // An earlier leader committed its output, for its parts are elsewhere now: nothing is computed again.
  expect(detachedDuties(view({ jobs, hasParts: () => false }))).toEqual([{ type: 'commit', job }])
  const end = { type: 'job-end', jobId: 'a/1', status: 'done' } as const
  const verdicts = new Map([['a/1', end]])
  expect(detachedDuties(view({ jobs, complete, verdicts }))).toEqual([{ type: 'end', end }])
})

test('a result stays where its parts are; a job without parts cannot go on', () => {
  const jobs = [record('a/1', { detached: { partitions: 2, suffix: '', output: RESULT } })]
  const complete = new Map([['a/1', { tasks: 2, retried: 1 }]])
  expect(detachedDuties(view({ jobs, complete }))).toEqual([
    { type: 'end', end: { type: 'job-end', jobId: 'a/1', status: 'done', tasks: 2, retried: 1 } },
  ])
  expect(detachedDuties(view({ jobs, hasParts: () => false }))).toMatchObject([
    { type: 'end', end: { status: 'failed', code: 'NOT_FOUND' } },
  ])
})

test('directories go when nobody needs them: at once after the end, late when no job was ever heard of', () => {
  const kept = {
    detached: { partitions: 2, suffix: '', output: RESULT },
    status: 'done',
    endedMs: 5,
  } as const
  const jobs = [record('kept/1', { ...kept, keptUntilMs: 1_001 }), record('over/1', kept), record('runs/1')]
  const directories = ['kept-1', 'over-1', 'runs-1', 'new-1'].map(name => ({ name, modifiedMs: 901 }))
  directories.push({ name: 'orphan-1', modifiedMs: 900 })
  const duties = detachedDuties(view({ jobs, directories, taken: new Set(['runs/1', 'over/1']) }))
  expect(duties).toEqual([
    { type: 'let-go', jobId: 'over/1' },
    { type: 'remove', directory: '/.jobs/over-1' },
    { type: 'remove', directory: '/.jobs/orphan-1' },
  ])
  expect(detachedDuties(view({ jobs, nowMs: 1_001, taken: new Set(['runs/1']) }))).toEqual([
    { type: 'expire', jobId: 'kept/1' },
  ])
})

test('attached jobs are none of its business', () => {
  const { detached: _, ...attached } = record('s/1')
  expect(detachedDuties(view({ jobs: [attached] }))).toEqual([])
})

test('whatever the state: no directory that is needed is removed, and every running job has one thing to be done at most', () => {
  const job = fc
    .record({
      jobId: fc.constantFrom('a/1', 'b/1', 'c/1'),
      status: fc.constantFrom('running', 'done', 'failed'),
      output: fc.constantFrom(FILES, RESULT),
      kept: fc.boolean(),
    })
    .map(({ jobId, status, output, kept }) => {
      const detached = { partitions: 1, suffix: '', output }
      const isKept = kept && status === 'done' && output.kind === 'result'
      return record(jobId, { status, detached, ...(isKept && { keptUntilMs: 2_000 }) })
    })
  const ids = fc.subarray(['a/1', 'b/1', 'c/1'])
  fc.assert(
    fc.property(
      fc.uniqueArray(job, { selector: each => each.jobId }),
      ids,
      ids,
      ids,
      (jobs, taken, complete, parts) => {
        const duties = detachedDuties(
          view({
            jobs,
            taken: new Set(taken),
            complete: new Map(complete.map(jobId => [jobId, { tasks: 1, retried: 0 }])),
            hasParts: jobId => parts.includes(jobId),
            directories: ['a-1', 'b-1', 'c-1', 'd-1'].map(name => ({ name, modifiedMs: 950 })),
          }),
        )
        const removed = duties.flatMap(duty => (duty.type === 'remove' ? [duty.directory] : []))
        for (const { jobId, status, keptUntilMs } of jobs) {
          const needed = status === 'running' || keptUntilMs !== undefined
          expect(removed.includes(`/.jobs/${jobId.replace('/', '-')}`)).toBe(!needed)
          const about = duties.filter(duty => JSON.stringify(duty).includes(`"${jobId}"`))
          if (status === 'running') expect(about.length).toBeLessThanOrEqual(1)
          // Nothing stands still for want of somebody: only the executors are waited for.
          if (status === 'running' && about.length === 0) {
            expect([taken.includes(jobId), complete.includes(jobId), parts.includes(jobId)]).toEqual([
              true,
              false,
              true,
            ])
          }
        }
      },
    ),
    { numRuns: 300 },
  )
})
