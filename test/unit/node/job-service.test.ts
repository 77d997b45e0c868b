import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { asPeerId, bodyOf, pack, silentLogger, systemClock } from '../../../src/base/index.ts'
import { JobLeader } from '../../../src/node/jobs/job-leader.ts'
import { JobService } from '../../../src/node/jobs/job-service.ts'
import { encodePlan, inventory, runTasks, submitJob, type Inventory } from '../../../src/rdd/index.ts'
import { MemoryNetwork, type MemoryTransport } from '../../support/memory-transport.ts'

const PARTITIONS = 4
const PLAN = encodePlan({
  version: 1,
  nodes: [
    {
      op: 'range',
      partitions: PARTITIONS,
      fingerprint: 'f',
      cached: false,
      label: 'range',
      start: 0,
      step: 1,
      count: PARTITIONS,
    },
  ],
  closures: [],
  action: { kind: 'collect' },
})
const SUBMISSION = {
  jobId: 's/1',
  name: 'job',
  session: 's',
  planHash: createHash('sha256').update(PLAN).digest('hex'),
  requester: { client: 'client', relay: 'leader', epoch: 0 },
  accepted: [],
}

const EMPTY: Inventory = { sessions: [], kept: [], running: [], outputs: [] }

/** An executor that says what it has when it is let, and notes the partitions that it is given. */
function executor(transport: MemoryTransport, answer: Promise<Inventory>): number[] {
  const given: number[] = []
  transport.handle(inventory, async () => ({ head: { workers: 4 }, body: bodyOf(pack(await answer)) }))
  transport.handle(runTasks, ({ head }) => {
    given.push(...head.tasks.map(({ id }) => id.partition))
    return {}
  })
  return given
}

/** A leader of term 3 that takes `quick` and `slow` for its executors. */
function serve(transport: MemoryTransport): JobService {
  const service = new JobService({ transport, notLeader: () => ({ term: 0 }) })
  service.start()
  service.lead(
    new JobLeader({
      transport: transport,
      term: 3,
      holdersOf: () => [],
      livePeers: () => ['quick', 'slow'].map(asPeerId),
      record: () => Promise.resolve(),
      listedAsRunning: () => [],
      deliver: () => new Promise(() => {}),
      clock: systemClock,
      log: silentLogger,
    }),
  )
  return service
}

test('a job that comes before the executors said what they have is given out when they did: nothing runs twice', async () => {
  const network = new MemoryNetwork()
  const [leading, quick, slow, client] = ['leader', 'quick', 'slow', 'client'].map(name => network.join(name))
  const answer = Promise.withResolvers<Inventory>()
  const given = executor(quick!, Promise.resolve(EMPTY))
  executor(slow!, answer.promise)
  const service = serve(leading!)
  const submitted = client!.call(leading!.self, submitJob, SUBMISSION, { body: bodyOf(PLAN) })
  // Run by an earlier leader, and not over.
  const running = [0, 1, 2].map(partition => ({
    jobId: 's/1',
    id: { stage: 0, partition, attempt: 0, term: 2 },
  }))
  // Time enough for the quick one's answer, and for what it would be given then.
  for (let turn = 0; turn < 50; turn++) await new Promise(resolve => setImmediate(resolve))
  expect(given).toEqual([])
  answer.resolve({ ...EMPTY, running })
  await submitted
  await expect.poll(() => given).toEqual([3])
  service.lead(undefined)
})

test('an executor that says nothing holds jobs back for half a second, not for ever', async () => {
  const network = new MemoryNetwork()
  const [leading, quick, slow, client] = ['leader', 'quick', 'slow', 'client'].map(name => network.join(name))
  const given = executor(quick!, Promise.resolve(EMPTY))
  executor(slow!, new Promise(() => {}))
  const service = serve(leading!)
  await client!.call(leading!.self, submitJob, SUBMISSION, { body: bodyOf(PLAN) })
  await expect.poll(() => given.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3])
  service.lead(undefined)
})
