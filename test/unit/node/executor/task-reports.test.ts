import { afterEach, beforeEach, expect, test } from 'vitest'
import { ShoalError, silentLogger, type PeerId } from '../../../../src/base/index.ts'
import { EXECUTOR } from '../../../../src/node/config.ts'
import { TaskReports } from '../../../../src/node/executor/task-reports.ts'
import { tasksEnded, type EndedOutcome } from '../../../../src/rdd/index.ts'
import { MemoryNetwork, type MemoryTransport } from '../../../support/memory-transport.ts'
import { waitFor } from '../../../support/wait-for.ts'

let leader: MemoryTransport
let reports: TaskReports
let closing: AbortController
let known: PeerId | undefined
/** Partitions of each message. */
let messages: number[][]
let answer: () => Promise<void>

beforeEach(() => {
  const network = new MemoryNetwork()
  leader = network.join('leader')
  known = leader.self
  messages = []
  answer = () => Promise.resolve()
  leader.handle(tasksEnded, async ({ head }) => {
    messages.push(head.tasks.map(({ id }) => id.partition))
    await answer()
    return {}
  })
  closing = new AbortController()
  reports = new TaskReports({
    transport: network.join('executor'),
    leader: () => known,
    term: () => 1,
    signal: closing.signal,
    log: silentLogger,
  })
})

afterEach(() => {
  closing.abort()
})

function add(partition: number, text = ''): void {
  const outcome: EndedOutcome = {
    type: 'failed',
    error: { code: 'TASK_FAILED', message: text, details: {} },
  }
  reports.add({ jobId: 's/1', id: { stage: 0, partition, attempt: 0, term: 1 }, outcome }, [])
}

test('what ends while a report is on its way goes together with the next, in order, each once', async () => {
  const first = Promise.withResolvers<void>()
  answer = () => first.promise
  add(0)
  await waitFor('the first report', () => messages.length === 1)
  for (let partition = 1; partition < 100; partition++) add(partition)
  first.resolve()
  await waitFor('the others', () => messages.flat().length === 100)
  expect(messages).toHaveLength(2)
  expect(messages.flat()).toEqual(Array.from({ length: 100 }, (_, i) => i))
  // And one that comes when all is said is not left behind.
  add(100)
  await waitFor('the last', () => messages.flat().includes(100))
})

test('reports that are too long to go together go one after the other', async () => {
  const long = 'x'.repeat(EXECUTOR.reportBytesMax)
  for (let partition = 0; partition < 3; partition++) add(partition, long)
  await waitFor('all of them', () => messages.flat().length === 3)
  expect(messages).toEqual([[0], [1], [2]])
})

test('what did not reach a leader is said to the next one', async () => {
  known = undefined
  add(0)
  answer = () => Promise.reject(new ShoalError('NOT_LEADER', { term: 1 }))
  known = leader.self
  await waitFor('the refusal', () => messages.length > 0)
  answer = () => Promise.resolve()
  add(1)
  await waitFor('both', () => messages.some(partitions => partitions.includes(1)))
  const last = messages.findLast(partitions => partitions.includes(1))!
  expect(last).toEqual([0, 1])
})
