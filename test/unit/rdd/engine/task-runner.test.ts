import { deepStrictEqual } from 'node:assert'
import { crc32 } from 'node:zlib'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ShoalError } from '../../../../src/base/errors.ts'
import { capture, encodeClosure } from '../../../../src/rdd/closure/index.ts'
import { encodeRows } from '../../../../src/rdd/codec/index.ts'
import { TaskRunner } from '../../../../src/rdd/engine/index.ts'
import type { Step } from '../../../../src/rdd/plan.ts'
import { collect, MemoryPorts, PlanMaker, rowsOf, runPlan, taskInput } from './plan-support.ts'

const even = (value: number): boolean => value % 2 === 0

function numbers(count: number, maker: PlanMaker, steps: Step[] = []): PlanMaker {
  const parent = maker.node({ op: 'range', partitions: 3, start: 0, step: 1, count })
  maker.node({ op: 'steps', partitions: 3, parent, steps })
  return maker
}

/** Steps with their functions, and what they mean, for random chains. */
type Meaning = (rows: unknown[], partition: number) => unknown[]
const stepMaker: fc.Arbitrary<(maker: PlanMaker) => [Step, Meaning]> = fc.constantFrom(
  maker => {
    const fn = (x: unknown): unknown => [x, 1]
    return [{ op: 'map', fn: maker.fn(fn) }, rows => rows.map(row => fn(row))]
  },
  maker => {
    const fn = (x: unknown): boolean => JSON.stringify(x).length % 3 !== 0
    return [{ op: 'filter', fn: maker.fn(fn) }, rows => rows.filter(row => fn(row))]
  },
  maker => {
    const fn = (x: unknown): unknown[] =>
      Array.from({ length: JSON.stringify(x).length % 4 }, (_, i) => [x, i])
    return [{ op: 'flatMap', fn: maker.fn(fn) }, rows => rows.flatMap(row => fn(row))]
  },
  maker => {
    function* fn(x: unknown): Generator<unknown> {
      for (let i = 0; i < JSON.stringify(x).length % 5; i++) yield `${i}${JSON.stringify(x)}`.slice(0, 20)
    }
    return [{ op: 'flatMap', fn: maker.fn(fn) }, rows => rows.flatMap(row => [...fn(row)])]
  },
  maker => {
    const fn = (rows: Iterable<unknown>, partition: number): unknown[] => [partition, ...rows]
    return [
      { op: 'mapPartitions', fn: maker.fn(fn) },
      (rows: unknown[], partition: number) => fn(rows, partition),
    ]
  },
  maker => {
    function* fn(rows: Iterable<unknown>): Generator<unknown> {
      let i = 0
      for (const row of rows) if (i++ % 2 === 0) yield row
    }
    return [{ op: 'mapPartitions', fn: maker.fn(fn) }, rows => [...fn(rows)]]
  },
  maker => {
    const by = (x: unknown): string => JSON.stringify(x)
    const compare = (a: unknown, b: unknown): number => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : 0)
    return [{ op: 'sort', by: maker.fn(by), ascending: true }, rows => rows.toSorted(compare)]
  },
)

describe('task runner: narrow steps', () => {
  it('gives what a naive interpretation gives, for random chains over random partitions', async () => {
    const sources = fc.array(fc.array(fc.oneof(fc.integer(), fc.string()), { maxLength: 30 }), {
      minLength: 1,
      maxLength: 4,
    })
    await fc.assert(
      fc.asyncProperty(sources, fc.array(stepMaker, { maxLength: 5 }), async (slices, makers) => {
        const maker = new PlanMaker()
        const parent = maker.parallelize(slices)
        const made = makers.map(make => make(maker))
        maker.node({ op: 'steps', partitions: slices.length, parent, steps: made.map(([step]) => step) })
        const expected = slices.map((rows, partition) =>
          made.reduce<unknown[]>((current, [, meaning]) => meaning(current, partition), rows),
        )
        deepStrictEqual(await collect(maker), expected)
      }),
      { numRuns: 150 },
    )
  })

  it('cuts a range at floor(i·n/p) and keeps start and step', async () => {
    const maker = new PlanMaker()
    maker.node({ op: 'range', partitions: 4, start: 10, step: -2.5, count: 7 })
    deepStrictEqual(await collect(maker), [[10], [7.5, 5], [2.5, 0], [-2.5, -5]])
  })

  it('crosses slice and batch borders without losing or repeating an element', async () => {
    const maker = numbers(30_000, new PlanMaker())
    const rows = (await collect(maker)).flat()
    deepStrictEqual(
      rows,
      Array.from({ length: 30_000 }, (_, i) => i),
    )
  })

  it('calls functions with the element alone', async () => {
    const maker = new PlanMaker()
    const parent = maker.parallelize([['1', '2', '3']])
    maker.node({ op: 'steps', partitions: 1, parent, steps: [{ op: 'map', fn: maker.fn(Number.parseInt) }] })
    deepStrictEqual(await collect(maker), [[1, 2, 3]])
  })

  it('puts the partitions of a union one after the other, nested ones too', async () => {
    const maker = new PlanMaker()
    const a = maker.parallelize([[1], [2]])
    const b = maker.parallelize([[3]])
    const inner = maker.node({ op: 'union', partitions: 3, parents: [a, b] })
    const mapped = maker.node({
      op: 'steps',
      partitions: 3,
      parent: inner,
      steps: [{ op: 'map', fn: maker.fn((x: number) => x * 10) }],
    })
    maker.node({ op: 'union', partitions: 5, parents: [mapped, a] })
    deepStrictEqual(await collect(maker), [[10], [20], [30], [1], [2]])
  })

  it('names the operator whose function returned something that cannot be iterated', async () => {
    for (const [op, message] of [
      ['flatMap', /the function of flatMap returned number; it must return an array/],
      ['mapPartitions', /the function of steps returned 5; it must return an iterable/],
    ] as const) {
      const maker = new PlanMaker()
      const parent = maker.parallelize([[1]])
      maker.node({ op: 'steps', partitions: 1, parent, steps: [{ op, fn: maker.fn(() => 5) }] })
      await expect(collect(maker)).rejects.toThrow(message)
    }
  })
})

describe('task runner: actions', () => {
  it('counts, reduces, folds, takes and saves each partition', async () => {
    const make = (): PlanMaker => numbers(10, new PlanMaker())
    const add = (a: number, b: number): number => a + b
    const run = async (make: PlanMaker, action: Parameters<typeof runPlan>[1]): Promise<unknown[][]> =>
      (await runPlan(make, action)).map(rowsOf)
    deepStrictEqual(await run(make(), { kind: 'count' }), [[3], [3], [4]])
    let maker = make()
    deepStrictEqual(await run(maker, { kind: 'reduce', fn: maker.fn(add) }), [[3], [12], [30]])
    maker = make()
    deepStrictEqual(await run(maker, { kind: 'fold', zero: encodeRows([100]), fn: maker.fn(add) }), [
      [103],
      [112],
      [130],
    ])
    deepStrictEqual(await run(make(), { kind: 'take', count: 2 }), [
      [0, 1],
      [3, 4],
      [6, 7],
    ])
    deepStrictEqual(await run(make(), { kind: 'take', count: 0 }), [[], [], []])
    maker = make()
    const sizes = (rows: Iterable<number>, partition: number): unknown => ({
      partition,
      size: [...rows].length,
    })
    deepStrictEqual(await run(maker, { kind: 'partition', fn: maker.fn(sizes) }), [
      [{ partition: 0, size: 3 }],
      [{ partition: 1, size: 3 }],
      [{ partition: 2, size: 4 }],
    ])
    const seen: number[] = []
    maker = make()
    deepStrictEqual(await run(maker, { kind: 'forEach', fn: maker.fn((x: number) => seen.push(x)) }), [
      [],
      [],
      [],
    ])
    deepStrictEqual(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  it('reduces nothing to no row, and undefined elements as elements', async () => {
    const maker = new PlanMaker()
    maker.parallelize([[], [undefined], [undefined, 1]])
    const fn = maker.fn((a: unknown, b: unknown) => [a, b])
    const rows = (await runPlan(maker, { kind: 'reduce', fn })).map(rowsOf)
    deepStrictEqual(rows, [[], [undefined], [[undefined, 1]]])
  })

  it('gives each partition its own copy of a fold zero', async () => {
    const maker = new PlanMaker()
    maker.parallelize([[1], [2]])
    const fn = maker.fn((list: number[], x: number) => (list.push(x), list))
    deepStrictEqual((await runPlan(maker, { kind: 'fold', zero: encodeRows([[]]), fn })).map(rowsOf), [
      [[1]],
      [[2]],
    ])
  })

  it('take stops at the element that completes it, closes generators, and reads no further blocks', async () => {
    const maker = new PlanMaker()
    let mapped = 0
    let closed = 0
    function* endless(x: number): Generator<number> {
      try {
        for (;;) yield x
      } finally {
        closed++
      }
    }
    const parent = maker.node({ op: 'range', partitions: 1, start: 0, step: 1, count: 1e9 })
    const count = maker.fn((x: number) => (mapped++, x))
    maker.node({
      op: 'steps',
      partitions: 1,
      parent,
      steps: [
        { op: 'map', fn: count },
        { op: 'flatMap', fn: maker.fn(endless) },
      ],
    })
    const [outcome] = await runPlan(maker, { kind: 'take', count: 5 })
    deepStrictEqual(rowsOf(outcome!), [0, 0, 0, 0, 0])
    expect(mapped).toBe(1)
    expect(closed).toBe(1)
  })

  it('take pulls lazily through mapPartitions', async () => {
    const maker = new PlanMaker()
    let pulled = 0
    const parent = maker.node({ op: 'range', partitions: 1, start: 0, step: 1, count: 1e9 })
    function* pass(rows: Iterable<number>): Generator<number> {
      for (const row of rows) {
        pulled++
        yield row
      }
    }
    maker.node({ op: 'steps', partitions: 1, parent, steps: [{ op: 'mapPartitions', fn: maker.fn(pass) }] })
    const [outcome] = await runPlan(maker, { kind: 'take', count: 3 })
    deepStrictEqual(rowsOf(outcome!), [0, 1, 2])
    expect(pulled).toBeLessThan(10)
  })

  it('saves text in UTF-8 lines and reports file and bytes', async () => {
    const maker = new PlanMaker()
    const long = 'ä'.repeat(50_000)
    maker.parallelize([[1, 'zwei', long, long, null, [1, 2]]])
    const ports = new MemoryPorts()
    const [outcome] = await runPlan(maker, { kind: 'saveText', path: '/out' }, ports)
    const text = Buffer.concat(ports.written).toString()
    expect(text).toBe(`1\nzwei\n${long}\n${long}\nnull\n1,2\n`)
    expect(ports.written.length).toBeGreaterThan(1)
    deepStrictEqual(rowsOf(outcome!), [{ file: 'part-00000', bytes: Buffer.byteLength(text) }])
    if (outcome?.type !== 'result') throw new Error('no result')
    expect(outcome.metrics.recordsWritten).toBe(6)
  })

  it('seals outcomes with the CRC-32 of their bytes and counts what it did', async () => {
    const [outcome] = await runPlan(numbers(300, new PlanMaker()), { kind: 'collect' })
    if (outcome?.type !== 'result') throw new Error('no result')
    expect(outcome.checksum).toBe(crc32(outcome.bytes))
    expect(outcome.rows).toBe(100)
    expect(outcome.metrics.recordsRead).toBe(100)
    expect(outcome.metrics.bytesWritten).toBe(outcome.bytes.length)
    expect(outcome.metrics.recordsWritten).toBe(100)
  })

  it('counts what comes into the task as read, and not again what it makes of that', async () => {
    const maker = new PlanMaker()
    const pairs = Array.from({ length: 90 }, (_, i) => [i % 3 === 0 ? 'c' : 'ab'[i % 2], i])
    const parent = maker.parallelize([pairs])
    maker.node({
      op: 'shuffle',
      partitions: 1,
      parent,
      by: { kind: 'hash', partitions: 1 },
      combine: { kind: 'group' },
    })
    const [outcome] = await runPlan(maker, { kind: 'collect' })
    if (outcome?.type !== 'result') throw new Error('no result')
    expect(outcome.metrics).toMatchObject({
      recordsRead: 90,
      recordsWritten: 3,
      largestGroup: 30,
      largestKey: 'c',
    })
  })
})

describe('task runner: cache', () => {
  it('computes a cached node once, keeps it, and reads it from then on', async () => {
    const maker = new PlanMaker()
    let computed = 0
    const parent = maker.parallelize([[1, 2], [3]])
    const cached = maker.node({
      op: 'steps',
      partitions: 2,
      parent,
      cached: true,
      steps: [{ op: 'map', fn: maker.fn((x: number) => (computed++, [x, x * x])) }],
    })
    maker.node({
      op: 'steps',
      partitions: 2,
      parent: cached,
      steps: [{ op: 'map', fn: maker.fn(([, square]: [number, number]) => square) }],
    })
    const ports = new MemoryPorts()
    const runner = maker.runner()
    const action = { kind: 'collect' } as const
    deepStrictEqual((await runPlan(maker, action, ports, runner)).map(rowsOf), [[1, 4], [9]])
    expect(ports.kept.report('node1')).toMatchObject({ partitions: 2 })
    const again = await runPlan(maker, action, ports, runner)
    deepStrictEqual(again.map(rowsOf), [[1, 4], [9]])
    expect(computed).toBe(3)
    expect(again[0]).toMatchObject({ metrics: { cacheHits: 1 } })
  })
})

describe('task runner: failures', () => {
  it('reports a user error with its message and a stack of the user, not of the engine', async () => {
    const maker = numbers(10, new PlanMaker(), [])
    const node = maker.nodes[1]!
    if (node.op !== 'steps') throw new Error('no steps')
    const explode = (x: number): number => {
      if (x === 4) throw new RangeError('four is too much', { cause: new Error('the deeper reason') })
      return x
    }
    node.steps.push({ op: 'map', fn: maker.fn(explode) })
    const [fine, failed] = await runPlan(maker, { kind: 'count' })
    deepStrictEqual(rowsOf(fine!), [3])
    if (failed?.type !== 'failed') throw new Error('it did not fail')
    expect(failed.error.code).toBe('TASK_FAILED')
    expect(failed.error.message).toMatch(
      /^RangeError: four is too much, at .*task-runner\.test\.ts\S*:\d+:\d+.* \(stage 1, partition 1\)$/,
    )
    const { stack, partition, attempt } = failed.error.details as {
      stack: string
      partition: number
      attempt: number
    }
    expect({ partition, attempt }).toEqual({ partition: 1, attempt: 1 })
    expect(stack).toMatch(/explode .*task-runner\.test\.ts\S*:\d+/)
    expect(stack).toContain('caused by: Error: the deeper reason')
    expect(stack).not.toMatch(/shoal-generated|src\/rdd\/engine|node:internal/)
  })

  it('reports a captured closure at the line where its author wrote it', async () => {
    const maker = numbers(3, new PlanMaker())
    const limit = 1
    const plan = maker.plan({ kind: 'forEach', fn: { kind: 'closure', id: 0 } })
    const line = Number(/:(\d+):\d+\)?$/.exec(new Error('here').stack!.split('\n')[1]!)![1]) + 2
    const fail = (x: number): void => {
      if (x > limit) throw new Error(`${x} is over ${limit}`)
    }
    plan.closures.push(encodeClosure(capture(fail)))
    const outcome = await new TaskRunner().runTask(
      'job',
      plan,
      taskInput(plan, 1, 2, { kind: 'result' }),
      new MemoryPorts(),
    )
    if (outcome.type !== 'failed') throw new Error('it did not fail')
    const { message, stack } = outcome.error.details as { message: string; stack: string }
    expect(message).toBe('Error: 2 is over 1')
    expect(stack.split('\n')[1]).toMatch(new RegExp(`task-runner\\.test\\.ts\\S*:${line}:\\d+`))
  })

  it('reports whatever else was thrown', async () => {
    for (const [thrown, message] of [
      ['just text', /thrown value 'just text'/],
      [{ code: 7 }, /thrown value \{ code: 7 \}/],
      [null, /thrown value null/],
    ] as const) {
      const maker = new PlanMaker()
      maker.parallelize([[1]])
      const fn = maker.fn(() => {
        throw thrown
      })
      const [outcome] = await runPlan(maker, { kind: 'forEach', fn })
      expect(outcome).toMatchObject({ type: 'failed', error: { code: 'TASK_FAILED' } })
      if (outcome?.type === 'failed') expect(outcome.error.message).toMatch(message)
    }
  })

  it('stops within one slice once it is cancelled', async () => {
    let ran = 0
    for (const step of ['map', 'mapPartitions'] as const) {
      const ports = new MemoryPorts({ cancelled: () => ran >= 2000 })
      const maker = new PlanMaker()
      const parent = maker.node({ op: 'range', partitions: 1, start: 0, step: 1, count: 1e9 })
      ran = 0
      const fn = step === 'map' ? maker.fn(() => ran++) : maker.fn((rows: Iterable<number>) => counted(rows))
      maker.node({ op: 'steps', partitions: 1, parent, steps: [{ op: step, fn }] })
      const [outcome] = await runPlan(maker, { kind: 'count' }, ports)
      expect(outcome).toMatchObject({ type: 'failed', error: { code: 'CANCELLED' } })
      expect(ran).toBeLessThan(2000 + 2 * 1024)
    }
    function* counted(rows: Iterable<number>): Generator<number> {
      for (const row of rows) {
        ran++
        yield row
      }
    }
  })

  it('names the lost map output when a fetch fails', async () => {
    const maker = new PlanMaker()
    const parent = maker.parallelize([[['k', 1]]])
    maker.node({
      op: 'shuffle',
      partitions: 1,
      parent,
      by: { kind: 'hash', partitions: 1 },
      combine: { kind: 'group' },
    })
    const plan = maker.plan({ kind: 'collect' })
    const ports = new MemoryPorts()
    ports.fetchBuckets = async function* () {
      yield { map: 0, bytes: new Uint8Array() }
      throw new ShoalError('FETCH_FAILED', { shuffle: 'session/node1', map: 3, peer: 'peer' })
    }
    const outcome = await maker
      .runner()
      .runTask('job', plan, taskInput(plan, 1, 0, { kind: 'result' }), ports)
    expect(outcome).toMatchObject({
      type: 'failed',
      error: { code: 'FETCH_FAILED' },
      fetch: { node: 1, map: 3, peer: 'peer' },
    })
  })

  it('fails with TASK_MEMORY naming operator and limit where nothing can go to disk', async () => {
    const memoryLimitBytes = 200_000
    const ports = new MemoryPorts({ memoryLimitBytes })
    const maker = new PlanMaker()
    const parent = maker.parallelize([Array.from({ length: 900 }, () => ['key', 'x'.repeat(1_000)])])
    const join = maker.fn((left: string, right: string) => left + right)
    maker.node({
      op: 'shuffle',
      partitions: 1,
      parent,
      by: { kind: 'hash', partitions: 1 },
      combine: { kind: 'reduce', fn: join },
    })
    const [failed] = await runPlan(maker, { kind: 'collect' }, ports)
    const { label } = maker.nodes.at(-1)!
    expect(failed).toMatchObject({
      error: { code: 'TASK_MEMORY', details: { operator: label, limitBytes: memoryLimitBytes } },
    })
  })

  it('refuses plans that make no sense with PLAN_INVALID', async () => {
    const broken = new PlanMaker()
    broken.node({ op: 'steps', partitions: 1, parent: 0, steps: [] })
    const lost = new PlanMaker()
    const parent = lost.parallelize([[1]])
    lost.node({ op: 'steps', partitions: 2, parent, steps: [] })
    const unknown = new PlanMaker()
    unknown.parallelize([[1]])
    unknown.node({
      op: 'steps',
      partitions: 1,
      parent: 0,
      steps: [{ op: 'map', fn: { kind: 'closure', id: 9 } }],
    })
    for (const maker of [broken, lost, unknown]) {
      const outcomes = await runPlan(maker, { kind: 'collect' })
      expect(outcomes.at(-1)).toMatchObject({ type: 'failed', error: { code: 'PLAN_INVALID' } })
    }
  })

  it('says what is no pair where pairs are needed', async () => {
    const maker = new PlanMaker()
    const parent = maker.parallelize([['word']])
    maker.node({
      op: 'shuffle',
      label: 'reduceByKey',
      partitions: 1,
      parent,
      by: { kind: 'hash', partitions: 1 },
      combine: { kind: 'none' },
    })
    await expect(collect(maker)).rejects.toThrow(
      'reduceByKey works on [key, value] pairs, but an element is "word"',
    )
  })
})

it('a filter drops what it drops', async () => {
  const maker = numbers(10, new PlanMaker())
  const node = maker.nodes[1]!
  if (node.op === 'steps') node.steps.push({ op: 'filter', fn: maker.fn(even) })
  deepStrictEqual((await collect(maker)).flat(), [0, 2, 4, 6, 8])
})
