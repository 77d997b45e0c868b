import { stripVTControlCharacters as plain } from 'node:util'
import { expect, test } from 'vitest'
import { ShoalError } from '../../../src/base/index.ts'
import { byteLine } from '../../../src/cli/byte-progress.ts'
import { describeError } from '../../../src/cli/error-report.ts'
import { jobLine } from '../../../src/cli/job/job-bar.ts'
import { jobTable } from '../../../src/cli/mesh-jobs.ts'
import { table } from '../../../src/cli/table.ts'
import { viewJob, type JobEvent } from '../../../src/node/index.ts'
import { humanBytes, humanMs } from '../../../src/cli/units.ts'

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [1536, '1.5 KiB'],
  [1_048_524, '1.0 MiB'],
  [300 * 1024 ** 2, '300 MiB'],
  [5 * 1024 ** 5, '5.0 PiB'],
  [5000 * 1024 ** 5, '5000 PiB'],
])('%d bytes are %s', (bytes, text) => {
  expect(humanBytes(bytes)).toBe(text)
})

test.each([
  [0, '0 ms'],
  [999, '999 ms'],
  [1_000, '1.0 s'],
  [59_949, '59.9 s'],
  [59_951, '1 min 00 s'],
  [3_599_600, '1 h 00 min'],
  [90_000_000, '1 d 1 h'],
])('%d ms are %s', (ms, text) => {
  expect(humanMs(ms)).toBe(text)
})

test('a table stands in columns, numbers right, without trailing blanks', () => {
  const text = table(
    [{ title: 'N', align: 'right' }, { title: 'NAME' }, { title: '' }],
    [
      ['1', 'one', ''],
      ['100', 'hundred', 'x'],
    ],
  )
  expect(plain(text)).toBe('  N  NAME\n  1  one\n100  hundred  x')
})

test('a transfer shows its share, its speed and what is left', () => {
  expect(byteLine('a.txt', 0, 2048, 0)).toBe('a.txt ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ 0% 0 B of 2.0 KiB, 0 B/s')
  expect(byteLine('a.txt', 1024, 2048, 500)).toBe(
    'a.txt ━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌ 50% 1.0 KiB of 2.0 KiB, 2.0 KiB/s, 500 ms left',
  )
  expect(byteLine('-', 1024, undefined, 1000)).toBe('- 1.0 KiB, 1.0 KiB/s')
})

test('a job shows tasks, stage, peers and what runs again', () => {
  expect(plain(jobLine('sum', undefined, 400))).toContain('waits for the leader, 400 ms')
  const progress = {
    stages: [
      { id: 0, tasks: 4, done: 4, running: 0 },
      { id: 1, tasks: 4, done: 0, running: 2 },
    ],
    retried: 1,
    executors: 3,
  }
  const line = jobLine('sum', progress as Parameters<typeof jobLine>[1], 1_200)
  expect(plain(line)).toBe(
    'sum ━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌ 4 of 8 tasks, stage 2 of 2, 2 running on 3 peers, 1 again, 1.2 s',
  )
})

const UNDER_WAY: JobEvent[] = [
  {
    v: 1,
    jobId: 'a/1',
    term: 1,
    seq: 0,
    timeMs: 1_000,
    type: 'job-started',
    name: 'count',
    leader: 'p1',
    requester: 'c',
    action: 'count',
    resumed: false,
    stages: [{ id: 0, label: 'range → count', tasks: 6, parents: [], sink: 'result', kept: 0 }],
  },
]

test('a job that still runs is timed until now, a cancelled one tells why', () => {
  const job = { jobId: 'a/1', name: 'count', requester: 'r', relay: 'p', startedMs: 1_000 }
  const rows = jobTable(
    [
      { ...job, status: 'running' },
      {
        ...job,
        jobId: 'a/2',
        status: 'cancelled',
        endedMs: 1_250,
        reason: 'job a/2 was cancelled: not needed',
      },
    ],
    4_500,
    [{ jobId: 'a/1', stages: viewJob('a/1', UNDER_WAY).stages }],
  )
  const text = plain(rows)
  expect(text).toMatch(/^a\/1 +running .* 3\.5 s +0\/6 +count$/m)
  expect(text).toMatch(/^a\/2 +cancelled .* 250 ms +count: not needed$/m)
})

test('a failed task names the peer, the partition and the attempt, then the user’s lines', () => {
  const stack = 'TypeError: no\n    at job.ts:3:5\n    at job.ts:1:1'
  const where = { peer: '12D3abc', peerName: 'p2', stage: 1, partition: 7, attempt: 0, stack }
  const error = new ShoalError(
    'TASK_FAILED',
    { message: 'TypeError: no', ...where },
    'TypeError: no, at job.ts:3:5',
  )
  expect(describeError(error)).toBe(
    'error TASK_FAILED: TypeError: no, at job.ts:3:5\n  on peer p2, stage 1, partition 7, attempt 1\n  at job.ts:3:5\n  at job.ts:1:1',
  )
})

test('stacks are shown for what is ours only, and when asked for', () => {
  const refused = new ShoalError('NOT_FOUND', { path: '/x' }, '/x does not exist', {
    cause: new Error('deep'),
  })
  expect(describeError(refused)).toBe('error NOT_FOUND: /x does not exist')
  expect(describeError(refused, { debug: true })).toMatch(/\n +at .*text\.test\.ts[^]*caused by: Error: deep/)
  expect(describeError(new ShoalError('INTERNAL', { reason: 'Error: bug\n    at x.ts:1' }, 'bug'))).toContain(
    'at x.ts:1',
  )
})
