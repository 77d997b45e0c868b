import { crc32 } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  bodyOf,
  seededRandom,
  ShoalError,
  silentLogger,
  systemClock,
  toWire,
} from '../../../../src/base/index.ts'
import { JobClient } from '../../../../src/node/jobs/job-client.ts'
import { LeaderCaller } from '../../../../src/node/leader-caller.ts'
import type { MeshAccess } from '../../../../src/node/mesh-access.ts'
import {
  acceptResult,
  cancelJob,
  closeJob,
  encodePlan,
  fetchResult,
  jobUpdate,
  renewLease,
  resultLost,
  resultReady,
  submitJob,
  type PartialResult,
  type Plan,
} from '../../../../src/rdd/index.ts'
import { MemoryNetwork, type MemoryTransport } from '../../../support/memory-transport.ts'

function planOf(partitions: number): Plan {
  const node = {
    op: 'range',
    fingerprint: 'f',
    cached: false,
    label: 'range',
    start: 0,
    step: 1,
    count: 9,
  } as const
  return { version: 1, nodes: [{ ...node, partitions }], closures: [], action: { kind: 'collect' } }
}

const text = (value: string): Uint8Array => Buffer.from(value)

/** A requester that is its own relay, a leader and an executor whose parts the test plays. */
class Scene {
  readonly network = new MemoryNetwork()
  readonly leader = this.network.join('leader')
  readonly executor = this.network.join('executor')
  readonly self = this.network.join('self')
  /** What the leader was told, in order. */
  readonly told: { type: string; head: Record<string, unknown> }[] = []
  readonly accepted: number[] = []
  readonly sealed = new Map<number, Uint8Array>()
  readonly client: JobClient
  #onLeaderChange = (): void => {}
  #leads: MemoryTransport = this.leader

  constructor() {
    this.serveLeader(this.leader)
    this.executor.handle(fetchResult, async ({ head: { jobId, partition } }) => {
      const bytes = this.sealed.get(partition)
      if (bytes === undefined) throw new ShoalError('JOB_UNKNOWN', { job: jobId })
      return { head: { sizeBytes: bytes.byteLength, checksum: crc32(bytes) }, body: bodyOf(bytes) }
    })
    this.executor.handle(acceptResult, ({ head }) => {
      this.accepted.push(head.partition)
      return {}
    })
    const caller = new LeaderCaller({
      transport: this.self,
      clock: systemClock,
      random: seededRandom(1),
      view: { leader: () => this.#leads.self, others: () => [], quorum: () => ({ term: 1, voters: [] }) },
    })
    const { self } = this
    const access: MeshAccess = {
      requester: () => ({ client: self.self, relay: self.self, epoch: 0 }),
      callLeader: (type, head, options = {}) => caller.call(type, head, options),
      callPeer: (peer, type, head, options) => self.call(peer, type, head, options),
      callAttached: (type, head, options) => self.call(self.self, type, head, options),
      handle: (type, handler) => self.handle(type, handler),
      onLeaderChange: listener => {
        this.#onLeaderChange = listener
      },
      onReattached: () => {},
    }
    this.client = new JobClient(access, silentLogger)
    this.client.start()
  }

  serveLeader(transport: MemoryTransport, term = 1): void {
    transport.handle(submitJob, async ({ head, body }) => {
      const chunks: Uint8Array[] = []
      for await (const chunk of body) chunks.push(chunk)
      this.told.push({ type: submitJob.name, head: { ...head, plan: Buffer.concat(chunks) } })
      return { term }
    })
    transport.handle(renewLease, () => ({ unknown: [] }))
    for (const type of [cancelJob, closeJob, resultLost]) {
      transport.handle(type, ({ head }) => {
        this.told.push({ type: type.name, head: { ...head } })
        return {}
      })
    }
  }

  lead(transport: MemoryTransport): void {
    this.#leads = transport
    this.#onLeaderChange()
  }

  /** Heads of what the leader was told, by type; waits for so many. */
  async heard(type: { name: string }, count = 1): Promise<Record<string, unknown>[]> {
    const heads = (): Record<string, unknown>[] =>
      this.told.flatMap(each => (each.type === type.name ? [each.head] : []))
    await expect.poll(() => heads().length, { interval: 2, timeout: 5_000 }).toBeGreaterThanOrEqual(count)
    return heads()
  }

  async offer(
    partition: number,
    bytes: Uint8Array,
    options: { inline?: boolean; checksum?: number } = {},
  ): Promise<boolean> {
    const { inline = true, checksum = crc32(bytes) } = options
    const { head } = await this.executor.call(this.self.self, resultReady, {
      jobId: `${this.client.session}/1`,
      epoch: 0,
      executor: this.executor.self,
      results: [
        {
          id: { stage: 0, partition, attempt: 0, term: 1 },
          checksum,
          sizeBytes: bytes.byteLength,
          rows: 1,
          ...(inline && { inline: bytes }),
        },
      ],
    })
    return head.taken[0]!
  }
}

let scene: Scene

beforeEach(() => {
  scene = new Scene()
})

afterEach(async () => {
  await scene.client.close()
})

type Run = AsyncGenerator<PartialResult>

/** Begins the run and waits until the leader has it. */
async function begun(
  partitions: number,
  ordered = true,
  signal?: AbortSignal,
): Promise<{ run: Run; first: Promise<IteratorResult<PartialResult>> }> {
  const run = scene.client.run(planOf(partitions), { ordered, signal })
  const first = run.next()
  first.catch(() => {})
  await scene.heard(submitJob)
  return { run, first }
}

const shown = (result: IteratorResult<PartialResult>): string =>
  result.done === true ? 'end' : `${result.value.partition} ${Buffer.from(result.value.bytes).toString()}`

describe('results', () => {
  test('the leader gets the plan, results are handed over in order, and the leader hears of the end', async () => {
    const { run, first } = await begun(3)
    const [submission] = await scene.heard(submitJob)
    expect(submission).toMatchObject({ accepted: [], plan: Buffer.from(encodePlan(planOf(3))) })
    for (const partition of [2, 0, 1]) expect(await scene.offer(partition, text(`r${partition}`))).toBe(true)
    const all = [await first, await run.next(), await run.next(), await run.next()]
    expect(all.map(shown)).toEqual(['0 r0', '1 r1', '2 r2', 'end'])
    expect(await scene.heard(closeJob)).toEqual([{ jobId: `${scene.client.session}/1` }])
  })

  test('the same result twice is taken twice and handed over once', async () => {
    const { run, first } = await begun(2, false)
    expect(await scene.offer(0, text('one'))).toBe(true)
    expect(await scene.offer(0, text('other'))).toBe(true)
    expect(await scene.offer(1, text('two'))).toBe(true)
    expect([await first, await run.next(), await run.next()].map(shown)).toEqual(['0 one', '1 two', 'end'])
    expect(await scene.offer(1, text('late'))).toBe(true)
  })

  test('a result that differs from its checksum is refused, and the right one is still wanted', async () => {
    const { first } = await begun(1)
    await expect(scene.offer(0, text('damaged'), { checksum: 1 })).rejects.toMatchObject({
      code: 'BAD_MESSAGE',
    })
    await scene.offer(0, text('right'))
    expect(shown(await first)).toBe('0 right')
  })

  test('a sealed result is pulled, verified and acknowledged to its executor', async () => {
    const { first } = await begun(1)
    const bytes = new Uint8Array(300_000).fill(7)
    scene.sealed.set(0, bytes)
    expect(await scene.offer(0, bytes, { inline: false })).toBe(false)
    const { value } = await first
    expect(Buffer.from(value!.bytes).equals(bytes)).toBe(true)
    await expect.poll(() => scene.accepted).toEqual([0])
  })

  test.each([
    ['gone', undefined],
    ['damaged', text('others')],
    ['shorter than it was said to be', text('seal')],
  ])('a sealed result that is %s is reported lost, and another attempt’s is taken', async (_, found) => {
    const { first } = await begun(1)
    if (found !== undefined) scene.sealed.set(0, found)
    await scene.offer(0, text('sealed'), { inline: false })
    expect(await scene.heard(resultLost)).toEqual([
      { jobId: `${scene.client.session}/1`, partition: 0, executor: 'executor' },
    ])
    expect(scene.accepted).toEqual([])
    await scene.offer(0, text('again'))
    expect(shown(await first)).toBe('0 again')
  })

  test('a sealed result whose executor dies while it is pulled is waited for', async () => {
    const { first } = await begun(1)
    const pulled = Promise.withResolvers<void>()
    scene.executor.handle(fetchResult, () => {
      pulled.resolve()
      return new Promise(() => {})
    })
    await scene.offer(0, text('sealed'), { inline: false })
    await pulled.promise
    scene.network.kill('executor')
    await scene.heard(resultLost)
    const other = scene.network.join('executor')
    const head = { jobId: `${scene.client.session}/1`, epoch: 0, executor: 'executor' }
    const inline = text('other')
    const id = { stage: 0, partition: 0, attempt: 1, term: 1 }
    const result = { id, sizeBytes: 5, rows: 1, inline, checksum: crc32(inline) }
    await other.call(scene.self.self, resultReady, { ...head, results: [result] })
    expect(shown(await first)).toBe('0 other')
  })
})

describe('leaders', () => {
  test('a new leader gets the plan, what is accepted and what is lost', async () => {
    const { run, first } = await begun(3)
    await scene.offer(0, text('zero'))
    expect(shown(await first)).toBe('0 zero')
    const second = run.next()
    await scene.offer(1, text('lost'), { inline: false })
    await scene.heard(resultLost)
    const next = scene.network.join('next')
    scene.serveLeader(next, 2)
    scene.lead(next)
    const [, submission] = await scene.heard(submitJob, 2)
    expect(submission).toMatchObject({ accepted: [0], jobId: `${scene.client.session}/1` })
    expect(await scene.heard(resultLost, 2)).toMatchObject([{ partition: 1 }, { partition: 1 }])
    await scene.offer(2, text('two'))
    await scene.offer(1, text('one'))
    expect([await second, await run.next(), await run.next()].map(shown)).toEqual(['1 one', '2 two', 'end'])
  })

  test('a leader that dies before it answers does not hold up the job', async () => {
    const asked = Promise.withResolvers<void>()
    scene.leader.handle(submitJob, () => {
      asked.resolve()
      return new Promise(() => {})
    })
    const run = scene.client.run(planOf(1), { ordered: true })
    const first = run.next()
    await asked.promise
    const next = scene.network.join('next')
    scene.serveLeader(next, 2)
    scene.lead(next)
    scene.network.kill('leader')
    await scene.heard(submitJob)
    await scene.offer(0, text('zero'))
    expect(shown(await first)).toBe('0 zero')
  })

  test('a job that fails at the leader fails here, with its code and details', async () => {
    const { first } = await begun(1)
    const details = { message: 'bad', peer: 'p', stage: 0, partition: 3, attempt: 1 }
    await scene.leader.call(scene.self.self, jobUpdate, {
      jobId: `${scene.client.session}/1`,
      epoch: 0,
      term: 1,
      state: 'failed',
      error: toWire(new ShoalError('TASK_FAILED', details, 'bad line')),
    })
    await expect(first).rejects.toMatchObject({ code: 'TASK_FAILED', message: 'bad line', details })
  })
})

describe('the end', () => {
  test('an aborted job rejects with the reason, and the leader is told to cancel it', async () => {
    const abort = new AbortController()
    const { first } = await begun(1, true, abort.signal)
    const reason = new Error('enough')
    abort.abort(reason)
    await expect(first).rejects.toBe(reason)
    expect(await scene.heard(cancelJob)).toMatchObject([{ jobId: `${scene.client.session}/1` }])
  })

  test('a consumer that stops early cancels the rest', async () => {
    const { run, first } = await begun(2)
    await scene.offer(0, text('zero'))
    await first
    await run.return(undefined)
    await scene.heard(cancelJob)
    expect(await scene.offer(1, text('late'))).toBe(true)
  })

  test('closing rejects what is open', async () => {
    const { first } = await begun(1)
    await scene.client.close()
    await expect(first).rejects.toMatchObject({ code: 'JOB_CANCELLED' })
    await scene.heard(cancelJob)
  })

  test('a plan of no partitions asks nobody', async () => {
    expect(await scene.client.run(planOf(0), { ordered: true }).next()).toEqual({
      done: true,
      value: undefined,
    })
    expect(scene.told).toEqual([])
  })
})
