import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ShoalError, silentLogger, toWire, type Handler, type MessageType } from '../../../src/base/index.ts'
import { JobClient } from '../../../src/node/jobs/job-client.ts'
import type { MeshAccess } from '../../../src/node/mesh-access.ts'
import {
  jobUpdate,
  renewLease,
  SCHEDULER,
  submitJob,
  type Plan,
  type PartialResult,
} from '../../../src/rdd/index.ts'

/** The default second is short on a machine that is busy with other tests. */
const PATIENCE = { timeout: 10_000 }

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] })
})

afterEach(() => {
  vi.useRealTimers()
})

const PLAN: Plan = {
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
}

/** A mesh in which the test answers for the leader. */
class FakeMesh {
  readonly asked: string[] = []
  readonly #handlers = new Map<string, Handler<never, unknown>>()
  leader: (type: string) => unknown = () => ({ term: 1, unknown: [] })

  readonly access: MeshAccess = {
    requester: () => ({ client: 'client', relay: 'relay', epoch: 0 }),
    callLeader: async type => {
      this.asked.push(type.name)
      return type.reply.parse(await this.leader(type.name))
    },
    callPeer: () => Promise.reject(new Error('not in this test')),
    callAttached: () => Promise.reject(new Error('not in this test')),
    handle: (type, handler) => void this.#handlers.set(type.name, handler),
    onLeaderChange: () => {},
    onReattached: () => {},
  }

  async say<Request>(type: MessageType<Request, unknown>, head: Request): Promise<unknown> {
    const incoming = { head } as never
    return await this.#handlers.get(type.name)!(incoming)
  }
}

function started(mesh: FakeMesh): {
  client: JobClient
  first: Promise<IteratorResult<PartialResult, unknown>>
} {
  const client = new JobClient(mesh.access, silentLogger)
  client.start()
  const results = client.run(PLAN, { ordered: true })[Symbol.asyncIterator]()
  const first = results.next()
  first.catch(() => {})
  return { client, first }
}

async function submitted(mesh: FakeMesh): Promise<void> {
  await vi.waitFor(() => expect(mesh.asked).toContain(submitJob.name), PATIENCE)
}

test('a job whose requester reaches no leader for a whole lease fails with what it was told', async () => {
  const mesh = new FakeMesh()
  const { first } = started(mesh)
  await submitted(mesh)
  mesh.leader = () => Promise.reject(new ShoalError('NO_QUORUM', { term: 1, voters: ['a', 'b', 'c'] }))
  await vi.advanceTimersByTimeAsync(SCHEDULER.leaseMs + SCHEDULER.leaseMs / 3)
  await expect(first).rejects.toMatchObject({ code: 'NO_QUORUM' })
})

test('a lease that could not be renewed once does no harm', async () => {
  const mesh = new FakeMesh()
  const { first } = started(mesh)
  await submitted(mesh)
  mesh.leader = () => Promise.reject(new ShoalError('CONNECTION_LOST', { peer: 'relay' }))
  await vi.advanceTimersByTimeAsync(SCHEDULER.leaseMs / 2)
  mesh.leader = () => ({ term: 1, unknown: [] })
  await vi.advanceTimersByTimeAsync(SCHEDULER.leaseMs * 2)
  expect(mesh.asked.filter(name => name === renewLease.name).length).toBeGreaterThan(4)
  await expect(Promise.race([first, Promise.resolve('still open')])).resolves.toBe('still open')
})

test('what a deposed leader says of a job after the next one took it is not believed', async () => {
  const mesh = new FakeMesh()
  mesh.leader = () => ({ term: 2, unknown: [] })
  const { client, first } = started(mesh)
  await submitted(mesh)
  const failed = (term: number, text: string): Promise<unknown> =>
    mesh.say(jobUpdate, {
      jobId: `${client.session}/1`,
      epoch: 0,
      term,
      state: 'failed',
      error: toWire(new ShoalError('JOB_CANCELLED', { job: '', reason: text }, text)),
    })
  await new Promise(resolve => {
    setImmediate(resolve)
  })
  await failed(1, 'of a leader that slept')
  await failed(2, 'of the one that leads')
  await expect(first).rejects.toThrow('of the one that leads')
})

test('a job under way keeps the process alive, though its only connection be lost; an ended one does not', async () => {
  const intervals = vi.spyOn(globalThis, 'setInterval')
  const mesh = new FakeMesh()
  const { client, first } = started(mesh)
  await submitted(mesh)
  const timer = intervals.mock.results.at(-1)!.value as NodeJS.Timeout
  intervals.mockRestore()
  expect(timer.hasRef()).toBe(true)
  await client.close()
  await expect(first).rejects.toMatchObject({ code: 'JOB_CANCELLED' })
  expect(timer.hasRef()).toBe(false)
})
