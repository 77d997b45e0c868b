import { afterEach, describe, expect, test } from 'vitest'
import { ShoalError, silentLogger } from '../../../../src/base/index.ts'
import { WorkerPool, type PoolSettings } from '../../../../src/node/executor/worker-pool.ts'
import type { WorkerServices } from '../../../../src/node/executor/worker-thread.ts'
import { decodeRows } from '../../../../src/rdd/codec/index.ts'
import {
  createDatasets,
  encodePlan,
  encodeRows,
  type DatasetContext,
  type JobRunner,
  type KeptContent,
  type Plan,
  type PrintedLine,
  type TaskInput,
} from '../../../../src/rdd/index.ts'

/** The plan of an action, as a requester would send it. */
async function planOf(action: (context: DatasetContext) => Promise<unknown>): Promise<Uint8Array> {
  let plan: Plan | undefined
  const runner: JobRunner = {
    // The plan is all that is wanted of it.
    run(given) {
      plan = given
      throw new ShoalError('CANCELLED', { what: 'this run' })
    },
    forget() {},
  }
  const files = {
    resolveText: () => Promise.reject(new Error('no files here')),
    resolveFiles: () => Promise.reject(new Error('no files here')),
    keep: () => Promise.reject(new Error('no files here')),
    checkOutput: () => Promise.resolve(),
    commitOutput: () => Promise.resolve(),
  }
  const context = createDatasets({ runner, files })
  await expect(action(context)).rejects.toMatchObject({ code: 'CANCELLED' })
  return encodePlan(plan!)
}

const services: WorkerServices = {
  async *readBlock() {},
  async *fetchBuckets() {},
  keptRoom: () => Promise.resolve(true),
  keepPartition() {},
  usedPartition() {},
  async *fetchKept() {},
  taskOver() {},
  writeOutput: () => Promise.resolve(),
  onPrinted() {},
  onConsole() {},
}

const SETTINGS: PoolSettings = {
  dataDirectory: '/nowhere',
  self: 'p',
  memoryLimitBytes: 1 << 28,
  memoryBytes: 1 << 28,
  spillDirectory: '/nowhere',
  keptDirectory: '/nowhere',
  diskReserveBytes: 0,
  packages: '/nowhere',
}

const pools: WorkerPool[] = []

function poolOf(overrides: Partial<WorkerServices> = {}, workers = 1, oldSpaceMb = 64): WorkerPool {
  const pool = new WorkerPool({
    workers,
    oldSpaceMb,
    settings: SETTINGS,
    services: { ...services, ...overrides },
    cached: () => [],
    onThreadEnd() {},
    log: silentLogger,
  })
  pools.push(pool)
  return pool
}

afterEach(async () => {
  await Promise.all(pools.splice(0).map(pool => pool.close()))
})

function inputOf(partition: number, overrides: Partial<TaskInput> = {}): TaskInput {
  const id = { stage: 0, partition, attempt: 0, term: 1 }
  return { id, root: 1, sink: { kind: 'result' }, shuffles: [], holders: {}, ...overrides }
}

const THREE = { type: 'result', rows: 3 }

function threeNumbers(): Promise<Uint8Array> {
  return planOf(context =>
    context
      .range(0, 3, 1, 1)
      .map(n => n)
      .collect(),
  )
}

const GRACE_MS = 150

describe('tasks in threads', () => {
  test('run one after the other in one thread, each with its own result', async () => {
    const plan = await planOf(context =>
      context
        .range(0, 12, 1, 3)
        .map(n => n * n)
        .collect(),
    )
    const pool = poolOf()
    const outcomes = await Promise.all(
      [0, 1, 2].map(partition => pool.run({ jobId: 's/1', input: inputOf(partition) }, plan)),
    )
    const rows = outcomes.map(outcome => (outcome.type === 'result' ? decodeRows(outcome.bytes) : outcome))
    expect(rows).toEqual([
      [0, 1, 4, 9],
      [16, 25, 36, 49],
      [64, 81, 100, 121],
    ])
  })

  test('what the user’s code throws comes back as its error, and the thread goes on', async () => {
    const plan = await planOf(context =>
      context
        .range(0, 2, 1, 2)
        .map(n => {
          if (n === 0) throw new TypeError('no zeros please')
          return n
        })
        .collect(),
    )
    const pool = poolOf()
    expect(await pool.run({ jobId: 's/1', input: inputOf(0) }, plan)).toMatchObject({
      type: 'failed',
      error: { code: 'TASK_FAILED', details: { message: 'TypeError: no zeros please', partition: 0 } },
    })
    expect(await pool.run({ jobId: 's/1', input: inputOf(1) }, plan)).toMatchObject({ type: 'result' })
  })

  test('buckets reach the task in map order, as far as its credit allows, and bad ones fail it by name', async () => {
    const plan = await planOf(context =>
      context
        .range(0, 4, 1, 2)
        .map(n => [n % 2, n] as const)
        .reduceByKey((a, b) => a + b, 1)
        .collect(),
    )
    const asked: string[] = []
    const pool = poolOf({
      async *fetchBuckets(locations, reduce) {
        asked.push(`${locations.shuffle} ${reduce} ${locations.peers.join()}`)
        yield {
          map: 0,
          bytes: encodeRows([
            [0, 0],
            [1, 1],
          ]),
        }
        throw new ShoalError('FETCH_FAILED', { shuffle: locations.shuffle, map: 1, peer: 'b' }, 'gone')
      },
    })
    const shuffles = [{ shuffle: 's/f', node: 2, peers: ['a', 'b'] }]
    const outcome = await pool.run({ jobId: 's/1', input: inputOf(0, { root: 2, shuffles }) }, plan)
    expect(asked).toEqual(['s/f 0 a,b'])
    expect(outcome).toMatchObject({ type: 'failed', fetch: { node: 2, map: 1, peer: 'b' } })
  })

  test('a cached partition is offered to the peer, and read from there by the next thread', async () => {
    const plan = await planOf(context =>
      context
        .range(0, 4, 1, 1)
        .map(n => n + Math.random())
        .cache()
        .collect(),
    )
    const kept: KeptContent[] = []
    const used: number[] = []
    const overrides: Partial<WorkerServices> = {
      keepPartition: (_task, content) => void kept.push(content),
      usedPartition: ({ partition }) => void used.push(partition),
    }
    const first = await poolOf(overrides).run({ jobId: 's/1', input: inputOf(0) }, plan)
    expect(kept).toHaveLength(1)
    const other = new WorkerPool({
      workers: 1,
      oldSpaceMb: 64,
      settings: SETTINGS,
      services: { ...services, ...overrides },
      cached: () =>
        kept.flatMap(content => ('chunks' in content ? [{ ...content, session: 's', file: undefined }] : [])),
      onThreadEnd() {},
      log: silentLogger,
    })
    pools.push(other)
    const second = await other.run({ jobId: 's/2', input: inputOf(0) }, plan)
    if (first.type !== 'result' || second.type !== 'result') return expect.unreachable('both have results')
    expect(decodeRows(second.bytes)).toEqual(decodeRows(first.bytes))
    expect([used, kept.length, second.metrics.cacheHits]).toEqual([[0], 1, 1])
  })

  test('what user code prints goes to the peer', async () => {
    const plan = await planOf(context =>
      context
        .range(0, 1, 1, 1)
        .map(n => {
          console.log('partition of', n)
          return n
        })
        .collect(),
    )
    const printed = Promise.withResolvers<PrintedLine[]>()
    await poolOf({ onPrinted: (_task, lines) => printed.resolve(lines) }).run(
      { jobId: 's/1', input: inputOf(0) },
      plan,
    )
    expect(await printed.promise).toEqual([{ level: 'log', text: 'partition of 0' }])
  })
})

describe('what tasks print', () => {
  function counted(lines: readonly PrintedLine[]): number {
    return lines.reduce((sum, line) => sum + ('suppressed' in line ? line.suppressed : 1), 0)
  }

  test('is limited, and what is left out counted to the line, also of several lines at once and of text without an end', async () => {
    const plan = await planOf(context =>
      context
        .range(0, 2_000, 1, 1)
        .map(n => {
          console.warn('two\nlines', n)
          console.debug({ a: n })
          process.stderr.write(`part of ${n}, `)
          if (n % 2 === 1) process.stdout.write('a line\n')
          return n
        })
        .collect(),
    )
    const lines: PrintedLine[] = []
    const pool = poolOf({ onPrinted: (_task, printed) => lines.push(...printed) })
    const ended = await pool.run({ jobId: 's/1', input: inputOf(0) }, plan)
    expect(counted(lines)).toBe(2 * 2_000 + 2_000 + 1_000 + 1)
    expect(lines.slice(0, 4)).toEqual([
      { level: 'warn', text: 'two' },
      { level: 'warn', text: 'lines 0' },
      { level: 'debug', text: '{ a: 0 }' },
      // As a terminal would show it: the text before had no end.
      { level: 'warn', text: 'part of 0, two' },
    ])
    const shown = lines.filter(line => 'text' in line).length
    expect(shown).toBeLessThan(2_000)
    expect(ended).toMatchObject({
      type: 'result',
      metrics: { outputLines: shown, outputSuppressed: 7_001 - shown },
    })
  })

  test('is counted to the line also of a thread that ends in the middle of it', async () => {
    const lines: PrintedLine[] = []
    const plan = await planOf(context =>
      context
        .range(0, 1, 1, 1)
        .map(n => {
          for (let i = 0; i < 10_000; i++) console.log('line', i)
          if (n === 0) process.exit(3)
          return n
        })
        .collect(),
    )
    const pool = poolOf({ onPrinted: (_task, printed) => lines.push(...printed) })
    const ended = pool.run({ jobId: 's/1', input: inputOf(0) }, plan)
    expect(await ended).toMatchObject({ type: 'worker-died' })
    expect(counted(lines)).toBe(10_000)
  })
})

describe('tasks that must stop', () => {
  /** Tells that its first row was reached, then goes on for ever, row by row or not at all. */
  const slow = (endless: boolean) =>
    planOf(context =>
      context
        .range(0, 1e12, 1, 1)
        .map(n => {
          if (n === 0) console.log('begun')
          if (endless) for (;;);
          return n
        })
        .filter(n => n < 0)
        .count(),
    )

  async function begun(
    plan: Uint8Array,
  ): Promise<{ pool: WorkerPool; ended: ReturnType<WorkerPool['run']> }> {
    const reached = Promise.withResolvers<void>()
    const pool = poolOf({ onPrinted: () => reached.resolve() })
    const ended = pool.run({ jobId: 's/1', input: inputOf(0, { root: 2 }) }, plan)
    await reached.promise
    return { pool, ended }
  }

  test('a loop over rows stops within a slice, and its thread is used again', async () => {
    const { pool, ended } = await begun(await slow(false))
    // Far longer than a slice: had it to be terminated, the outcome would be another.
    pool.cancel(() => true, 60_000)
    expect(await ended).toMatchObject({ type: 'failed', error: { code: 'CANCELLED' } })
    expect(await pool.run({ jobId: 's/2', input: inputOf(0) }, await threeNumbers())).toMatchObject(THREE)
  })

  test('a loop that never comes back loses its thread after the grace time, and another takes its place', async () => {
    const { pool, ended } = await begun(await slow(true))
    pool.cancel(() => true, GRACE_MS)
    expect(await ended).toMatchObject({ type: 'worker-died' })
    expect(await pool.run({ jobId: 's/2', input: inputOf(0) }, await threeNumbers())).toMatchObject(THREE)
  })

  test.each([
    ['goes through rows', false],
    ['never comes back', true],
  ])(
    'a task whose time is over is ended and says so, when it %s; time spent waiting is not counted',
    async (_, endless) => {
      const pool = poolOf({})
      const limited = { jobId: 's/1', input: inputOf(0, { root: 2 }), timeoutMs: 300 }
      const late = pool.run(limited, await slow(endless))
      const patient = pool.run({ jobId: 's/2', input: inputOf(0), timeoutMs: 120_000 }, await threeNumbers())
      const waiting = pool.run({ jobId: 's/3', input: inputOf(0), timeoutMs: 60_000 }, await threeNumbers())
      expect(await late).toMatchObject({
        type: 'failed',
        error: { code: 'TASK_TIMEOUT', details: { stage: 0, partition: 0, timeoutMs: 300 } },
      })
      expect(await patient).toMatchObject(THREE)
      expect(await waiting).toMatchObject(THREE)
    },
  )

  test('what waits for a thread never begins', async () => {
    const { pool, ended } = await begun(await slow(false))
    const waiting = pool.run({ jobId: 's/2', input: inputOf(0) }, await slow(false))
    pool.cancel(task => task.jobId === 's/2', GRACE_MS)
    expect(await waiting).toMatchObject({ type: 'failed', error: { code: 'CANCELLED' } })
    pool.cancel(() => true, 60_000)
    await ended
  })

  test.each(['little by little', 'in leaps'])(
    'a task that eats all memory %s ends its worker only, and is told by its code',
    async how => {
      const leaps = how === 'in leaps'
      const greedy = await planOf(context =>
        context
          .range(0, 1, 1, 1)
          .map(n => {
            // A Map takes twice what it has, at once, whenever it is full.
            if (leaps) for (const map = new Map(); ;) map.set(`${map.size}`, [n])
            for (const hoard: number[][] = []; ;) hoard.push(Array.from({ length: 10_000 }, (_, i) => i + n))
          })
          .collect(),
      )
      const pool = poolOf({}, 1, 64)
      expect(await pool.run({ jobId: 's/1', input: inputOf(0) }, greedy)).toMatchObject({
        type: 'worker-died',
        error: { code: 'TASK_OOM', details: { limitBytes: 64 * 1024 * 1024 } },
      })
      expect(await pool.run({ jobId: 's/2', input: inputOf(0) }, await threeNumbers())).toMatchObject(THREE)
    },
  )

  test('a pool that closes settles what runs and what waits, and begins nothing more', async () => {
    const { pool, ended } = await begun(await slow(true))
    const plan = await slow(false)
    const waiting = pool.run({ jobId: 's/2', input: inputOf(0) }, plan)
    await pool.close()
    expect([(await ended).type, (await waiting).type]).toEqual(['worker-died', 'failed'])
    expect(await pool.run({ jobId: 's/3', input: inputOf(0) }, plan)).toMatchObject({
      error: { code: 'CANCELLED' },
    })
  })
})
