import { afterEach, expect, test } from 'vitest'
import { silentLogger } from '../../../../src/base/index.ts'
import { TaskOutputSender } from '../../../../src/node/executor/task-output-sender.ts'
import type { Deliver } from '../../../../src/node/relay.ts'
import {
  JobOutput,
  RateLimit,
  TASK_OUTPUT,
  taskOutput,
  type PrintedLine,
  type TaskOutput,
} from '../../../../src/rdd/index.ts'
import { waitFor } from '../../../support/wait-for.ts'

const owner = { requester: { client: 'c', relay: 'r', epoch: 0 } }
const id = { stage: 0, partition: 3, attempt: 0, term: 1 }
const closing = new AbortController()

afterEach(() => {
  got.length = 0
})

const got: PrintedLine[] = []

/** Takes what comes, as the wire would; or fails, as long as it is told to. */
function senderTo(isAway: () => boolean = () => false): TaskOutputSender {
  const deliver: Deliver = async (_to, type, head) => {
    await Promise.resolve()
    if (isAway()) throw new Error('the requester is away')
    for (const { lines } of taskOutput.request.parse(head).printed) got.push(...lines)
    return type.reply.parse({})
  }
  return new TaskOutputSender({
    peer: { id: 'p', name: 'p' },
    deliver,
    signal: closing.signal,
    log: silentLogger,
  })
}

function line(n: number): PrintedLine {
  return { level: 'log', text: String(n) }
}

test('lines arrive in order, in batches that fit, before the flush is over', async () => {
  const sender = senderTo()
  const lines = Array.from({ length: 3 * TASK_OUTPUT.batchLines + 7 }, (_, n) => line(n))
  for (const each of lines) sender.add(owner, 's/1', id, [each])
  await sender.flush('s/1')
  expect(got).toEqual(lines)
  await sender.flush('s/1')
  await sender.flush('another')
})

test('more lines than may wait are counted, to the line', async () => {
  const sender = senderTo()
  const count = TASK_OUTPUT.waitingLinesMax + 500
  const lines = Array.from({ length: count }, (_, n) => line(n))
  sender.add(owner, 's/1', id, lines)
  sender.add(owner, 's/1', id, [{ suppressed: 40 }, line(-1)])
  await sender.flush('s/1')
  expect(got.slice(0, TASK_OUTPUT.waitingLinesMax)).toEqual(lines.slice(0, TASK_OUTPUT.waitingLinesMax))
  expect(got.slice(TASK_OUTPUT.waitingLinesMax)).toEqual([{ suppressed: 541 }])
})

test('a requester that is away holds nobody up, and gets the lines when it is back', async () => {
  let isAway = true
  const sender = senderTo(() => isAway)
  sender.add(owner, 's/1', id, [line(1)])
  await sender.flush('s/1')
  expect(got).toEqual([])
  sender.add(owner, 's/1', id, [line(2)])
  isAway = false
  await waitFor('both lines', () => got.length === 2)
  expect(got).toEqual([line(1), line(2)])
})

test('a job that is over keeps no lines', async () => {
  let isAway = true
  const sender = senderTo(() => isAway)
  sender.add(owner, 's/1', id, [line(1)])
  await sender.flush('s/1')
  sender.forgetJob('s/1')
  isAway = false
  sender.add(owner, 's/2', id, [line(2)])
  await sender.flush('s/2')
  expect(got).toEqual([line(2)])
})

test('a job shows so many lines at once and so many a second, and tells the number of the others where they were', () => {
  const shown: TaskOutput[] = []
  const job = new JobOutput({ jobId: 's/1', name: 'collect' }, 0, output => shown.push(output))
  const source = {
    jobId: 's/1',
    name: 'collect',
    stage: 0,
    partition: 0,
    attempt: 0,
    peer: 'p',
    peerName: 'p',
  }
  const say = (nowMs: number): void => job.take({ type: 'line', level: 'log', text: 'x', ...source }, nowMs)
  const { jobBurst, jobPerSecond } = TASK_OUTPUT
  for (let i = 0; i < jobBurst + 300; i++) say(0)
  job.take({ type: 'suppressed', lines: 50, ...source }, 0)
  expect(shown).toHaveLength(jobBurst)
  say(1_000 / jobPerSecond)
  expect(shown.slice(jobBurst)).toMatchObject([{ type: 'job-suppressed', lines: 350 }, { type: 'line' }])
  for (let i = 0; i < 5; i++) say(1_000 / jobPerSecond)
  job.end()
  job.end()
  expect(shown.at(-1)).toMatchObject({ type: 'job-suppressed', lines: 5 })
  const lines = shown.map(output => (output.type === 'line' ? 1 : output.lines))
  expect(lines.reduce((sum, count) => sum + count, 0)).toBe(jobBurst + 300 + 50 + 1 + 5)
})

test('a rate lets a burst pass, and then no more than its measure, however the clock goes', () => {
  const rate = new RateLimit({ burst: 3, perSecond: 10, nowMs: 0 })
  const passed = [0, 0, 0, 0, 50, 100, 100, 60, 200, 10_000, 10_000, 10_000, 10_000].map(nowMs =>
    rate.pass(nowMs),
  )
  expect(passed).toEqual([true, true, true, false, false, true, false, false, true, true, true, true, false])
})
