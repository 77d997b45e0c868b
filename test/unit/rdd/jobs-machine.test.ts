import { expect, test } from 'vitest'
import { jobsCommand } from '../../../src/rdd/messages.ts'
import { Jobs, type JobChange, type JobsCommand } from '../../../src/rdd/jobs.machine.ts'

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
