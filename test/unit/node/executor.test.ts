import { existsSync, mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { silentLogger, unpack, type PeerId } from '../../../src/base/index.ts'
import { EXECUTOR } from '../../../src/node/config.ts'
import { Executor } from '../../../src/node/executor/executor.ts'
import { collect } from '../../../src/node/relay.ts'
import {
  DatasetContext,
  encodePlan,
  forgetSession,
  cancelTasks,
  inventory,
  inventoryBody,
  planStages,
  runTasks,
  tasksEnded,
  type EndedOutcome,
  type Inventory,
  type Plan,
  type RDD,
} from '../../../src/rdd/index.ts'
import { MemoryNetwork, type MemoryTransport } from '../../support/memory-transport.ts'
import { waitFor } from '../../support/wait-for.ts'

let directory: string
let executor: Executor
let leader: MemoryTransport
let ended: EndedOutcome[]
const TERM = 4

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'shoal-executor-'))
  const network = new MemoryNetwork()
  leader = network.join('leader')
  ended = []
  leader.handle(tasksEnded, ({ head }) => {
    ended.push(...head.tasks.map(({ outcome }) => outcome))
    return {}
  })
  executor = new Executor(
    {
      transport: network.join('executor'),
      leader: () => leader.self,
      isFar: () => false,
      readBlock: () => {
        throw new Error('no blocks here')
      },
      putPart: () => Promise.reject(new Error('no files here')),
      copyTargets: () => [],
      deliver: () => Promise.reject(new Error('the requester is away')),
      peers: () => [],
      log: silentLogger,
    },
    {
      name: 'executor',
      workers: 1,
      dataDirectory: directory,
      outputDirectory: join(directory, 'output'),
      outputBytes: 1_000_000,
      cacheBytes: 1_000_000,
      cacheDiskBytes: 1_000_000,
      broadcastBytes: 1_000_000,
      taskBytes: 10_000_000,
      tasksBytes: 100_000_000,
      diskReserveBytes: 0,
      oldSpaceMb: 128,
    },
  )
  await executor.start()
})

afterEach(async () => {
  await executor.close()
  await rm(directory, { recursive: true, force: true })
})

/** The plan of collecting these rows. */
async function planOf(make: (mesh: DatasetContext) => RDD<unknown>): Promise<Plan> {
  const caught = Promise.withResolvers<Plan>()
  const mesh = new DatasetContext({
    runner: {
      run(plan) {
        caught.resolve(plan)
        throw new Error('not run here')
      },
      forget: () => {},
    },
    files: {
      resolveText: () => Promise.reject(new Error('no files here')),
      resolveFiles: () => Promise.reject(new Error('no files here')),
      keep: () => Promise.reject(new Error('no files here')),
      checkOutput: () => Promise.resolve(),
      commitOutput: () => Promise.resolve(),
    },
  })
  await make(mesh)
    .collect()
    .catch(() => {})
  return await caught.promise
}

const EXECUTOR_ID = 'executor' as PeerId

async function hand(jobId: string, plan: Plan): Promise<void> {
  const stage = planStages(plan).at(-1)!
  await leader.call(EXECUTOR_ID, runTasks, {
    term: TERM,
    jobId,
    session: jobId.slice(0, jobId.indexOf('/')),
    planHash: 'h',
    plan: encodePlan(plan),
    requester: { client: 'client', relay: 'relay', epoch: 0 },
    stage: { ...stage, partitions: [] },
    shuffles: [],
    tasks: [{ id: { stage: stage.id, partition: 0, attempt: 0, term: TERM }, holders: {} }],
  })
}

async function listed(): Promise<Inventory> {
  const { body } = await leader.call(EXECUTOR_ID, inventory, { term: TERM })
  return inventoryBody.parse(unpack(await collect(body, 1_000_000)))
}

test('what a task throws reaches the leader, cut when it is huge', async () => {
  const plan = await planOf(mesh =>
    mesh.range(0, 1, 1, 1).map(() => {
      throw new Error(`begins so ${'!'.repeat(5_000_000)}`)
    }),
  )
  await hand('s/1', plan)
  await waitFor('the report', () => ended.length > 0)
  const [outcome] = ended
  if (outcome?.type !== 'failed') throw new Error(`it ended as ${outcome?.type}`)
  expect(outcome.error.code).toBe('TASK_FAILED')
  expect(outcome.error.message).toContain('begins so !')
  expect(outcome.error.message.length).toBeLessThan(EXECUTOR.errorCharsMax + 100)
})

test('a session that is forgotten takes its jobs and their results with it, though nobody ended them', async () => {
  await hand('s/1', await planOf(mesh => mesh.range(0, 1, 1, 1)))
  await waitFor('the report', () => ended.length > 0)
  expect(ended).toMatchObject([{ type: 'result', accepted: false }])
  expect(await listed()).toMatchObject({ sessions: ['s'], outputs: [{ jobId: 's/1' }] })
  await leader.call(EXECUTOR_ID, forgetSession, { term: TERM, session: 's' })
  expect(await listed()).toEqual({ sessions: [], kept: [], running: [], outputs: [] })
})

test('an attempt that was cancelled is not called running: nobody would hear of its failure', async () => {
  const begun = join(directory, 'begun')
  const busy = await planOf(mesh =>
    mesh.range(0, 1, 1, 1).map(() => {
      process.getBuiltinModule('node:fs').writeFileSync(begun, '')
      for (;;);
    }),
  )
  await hand('s/1', busy)
  await waitFor('the task has begun', () => existsSync(begun))
  const id = { stage: 0, partition: 0, attempt: 0, term: TERM }
  expect(await listed()).toMatchObject({ running: [{ jobId: 's/1', id }] })
  await leader.call(EXECUTOR_ID, cancelTasks, { term: TERM, jobId: 's/1', ids: [id] })
  expect(executor.runningTasks).toBe(1)
  expect(await listed()).toMatchObject({ running: [] })
  await waitFor('its thread is gone', () => executor.runningTasks === 0)
  expect(ended).toEqual([])
})
