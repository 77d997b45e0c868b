import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { asPeerId, pack, ShoalError, silentLogger } from '../../../src/base/index.ts'
import { JOB_LEADER } from '../../../src/node/config.ts'
import { JobLeader } from '../../../src/node/jobs/job-leader.ts'
import {
  encodePlan,
  forgetJob,
  inventory,
  runTasks,
  SCHEDULER,
  type Inventory,
  type JobChange,
  type GatheredChanges,
} from '../../../src/rdd/index.ts'
import { MemoryNetwork, type MemoryTransport } from '../../support/memory-transport.ts'

/** The default second is short on a machine that is busy with other tests. */
const PATIENCE = { timeout: 10_000 }

const PLAN = encodePlan({
  version: 1,
  nodes: [
    {
      op: 'range',
      partitions: 1,
      fingerprint: 'f',
      cached: false,
      label: 'range',
      start: 0,
      step: 1,
      count: 1,
    },
  ],
  closures: [],
  action: { kind: 'collect' },
})

let nowMs: number
let network: MemoryNetwork
let recorded: JobChange[]
let running: string[]
let record: (command: GatheredChanges) => Promise<unknown>
let leader: JobLeader

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  nowMs = 1_000
  network = new MemoryNetwork()
  recorded = []
  running = []
  record = command => Promise.resolve(recorded.push(...command.changes))
  leader = leaderOf(network.join('leader'), [])
})

afterEach(() => {
  leader.stop()
  vi.useRealTimers()
})

function leaderOf(transport: MemoryTransport, live: string[]): JobLeader {
  return new JobLeader({
    transport,
    term: 3,
    holdersOf: () => [],
    livePeers: () => live.map(asPeerId),
    record: command => record(command),
    listedAsRunning: () => running,
    events: { append: () => {}, letGo: () => {} },
    deliver: () => Promise.reject(new ShoalError('UNREACHABLE', { peer: 'client' })),
    clock: { nowMs: () => nowMs },
    log: silentLogger,
  })
}

/** Lets time pass as a process that is awake sees it. */
async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += JOB_LEADER.tickMs) {
    nowMs += JOB_LEADER.tickMs
    await vi.advanceTimersByTimeAsync(JOB_LEADER.tickMs)
  }
}

function submit(accepted: number[] = []): void {
  const requester = { client: 'client', relay: 'relay', epoch: 0 }
  leader.submit({ jobId: 's/1', name: 'job', session: 's', planHash: 'h', requester, accepted }, PLAN)
}

test('a job whose lease is not renewed ends, but not because its leader stood still', async () => {
  leader.start()
  submit()
  nowMs += 10 * SCHEDULER.leaseMs
  await vi.advanceTimersByTimeAsync(JOB_LEADER.tickMs)
  expect(leader.list()).toHaveLength(1)
  await pass(SCHEDULER.leaseMs + JOB_LEADER.tickMs)
  expect(leader.list()).toEqual([])
})

test('the end of a job never reaches the log before its start, however slow the log is', async () => {
  const slow = Promise.withResolvers<void>()
  record = async command => {
    if (command.changes.some(({ type }) => type === 'job-start')) await slow.promise
    recorded.push(...command.changes)
  }
  leader.start()
  // All its results are there already: it ends as it is submitted.
  submit([0])
  void leader.close('s/1')
  await vi.advanceTimersByTimeAsync(JOB_LEADER.gatherMs)
  slow.resolve()
  await vi.waitFor(() => expect(recorded.map(({ type }) => type)).toEqual(['job-start', 'job-end']), PATIENCE)
})

test('a job that an earlier leader listed and whose requester never came back is listed as cancelled', async () => {
  running = ['s/1']
  leader.start()
  await pass(SCHEDULER.leaseMs)
  expect(recorded).toEqual([])
  await pass(2 * JOB_LEADER.tickMs)
  const end = { type: 'job-end', jobId: 's/1', status: 'cancelled', reason: 'its requester is gone' }
  await vi.waitFor(() => expect(recorded).toContainEqual(end), PATIENCE)
})

test('a job that runs, or whose requester came back in time, is not taken for abandoned', async () => {
  running = ['s/1']
  leader.start()
  await pass(SCHEDULER.leaseMs / 2)
  submit()
  for (let renewals = 0; renewals < 8; renewals++) {
    leader.renew('s', ['s/1'], 1)
    await pass(SCHEDULER.leaseMs / 3)
  }
  await vi.waitFor(() => expect(recorded.map(({ type }) => type)).toEqual(['job-start']), PATIENCE)
})

/** An executor that says what it has and notes what it is told. */
function executor(name: string, has: Partial<Inventory>): { forgotten: string[]; handed: number[] } {
  const told = { forgotten: [] as string[], handed: [] as number[] }
  const transport = network.join(name)
  transport.handle(inventory, async () => ({
    head: { workers: 1 },
    body: inPieces(pack({ sessions: [], kept: [], running: [], outputs: [], ...has })),
  }))
  transport.handle(forgetJob, ({ head }) => {
    told.forgotten.push(...head.jobIds)
    return {}
  })
  transport.handle(runTasks, ({ head }) => {
    told.handed.push(...head.tasks.map(({ id }) => id.partition))
    return {}
  })
  return told
}

async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000)
}

test('an executor with more outputs than a message head can list is asked for them all the same', async () => {
  const outputs = Array.from({ length: 20_000 }, (_, partition) => ({
    jobId: 's/1',
    id: { stage: 0, partition, attempt: 0, term: 2 },
    shuffle: { key: 's/0123456789abcdef0123456789abcdef', map: partition },
    checksum: 1,
    sizeBytes: 1,
  }))
  const told = executor('b', { outputs })
  leader = leaderOf(network.join('second'), ['b'])
  leader.start()
  submit()
  await vi.waitFor(() => expect(told.handed).toEqual([0]), PATIENCE)
})

test('a job that ended without this leader leaves nothing at the executors', async () => {
  const told = executor('b', {})
  leader = leaderOf(network.join('second'), ['b'])
  leader.start()
  submit()
  await vi.waitFor(() => expect(told.handed).toEqual([0]), PATIENCE)
  void leader.close('of-an-earlier-leader/1')
  expect(() => leader.cancel('of-an-earlier-leader/2', 'stop')).toThrow('no job')
  await vi.waitFor(
    () => expect(told.forgotten).toEqual(['of-an-earlier-leader/1', 'of-an-earlier-leader/2']),
    PATIENCE,
  )
})
