import { deepStrictEqual } from 'node:assert'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../../../src/base/random.ts'
import { decodeRows } from '../../../../src/rdd/codec/index.ts'
import type { CombineSpec } from '../../../../src/rdd/plan.ts'
import type { TaskOutcome } from '../../../../src/rdd/task.ts'
import { MemoryPorts, PlanMaker, rowsOf, runPlan, taskInput } from './plan-support.ts'

type Pair = [unknown, unknown]
type Make = (maker: PlanMaker) => void

const AMPLE_BYTES = 1 << 28

interface Ran {
  bytes: Uint8Array[]
  spilledRecords: number
  openFiles: number
  /** Of an operator that cannot do with so little. */
  refused: boolean
}

/**
 * What the last node gives, as the map outputs of one more shuffle: their bytes are what retries are compared by.
 */
async function run(make: Make, memoryLimitBytes: number): Promise<Ran> {
  const maker = new PlanMaker()
  make(maker)
  const parent = maker.nodes.length - 1
  maker.node({
    op: 'steps',
    partitions: maker.nodes[parent]!.partitions,
    parent,
    steps: [{ op: 'map', fn: maker.fn((row: unknown) => [row, 1]) }],
  })
  maker.node({
    op: 'shuffle',
    partitions: 2,
    parent: parent + 1,
    by: { kind: 'custom', partitions: 2, fn: maker.fn(() => 1) },
    combine: { kind: 'none' },
  })
  const ports = new MemoryPorts({ memoryLimitBytes })
  const [failed] = await runPlan(maker, { kind: 'count' }, ports)
  const refused = failed?.type === 'failed' && failed.error.code === 'TASK_MEMORY'
  if (failed?.type === 'failed' && !refused) throw new Error(failed.error.message)
  return {
    bytes: ports.outputs.get(parent + 2)?.map(({ bytes }) => bytes) ?? [],
    spilledRecords: ports.spilledRecords,
    openFiles: ports.spill.openFiles,
    refused,
  }
}

/** Runs it with memory for all and with little; the number of records that went to disk. */
async function sameBytes(make: Make, limitBytes: number): Promise<number> {
  const ample = await run(make, AMPLE_BYTES)
  const scarce = await run(make, limitBytes)
  expect(scarce.openFiles).toBe(0)
  expect([ample.refused, ample.spilledRecords]).toEqual([false, 0])
  if (scarce.refused) return 0
  deepStrictEqual(
    scarce.bytes.map(bytes => decodeRows(bytes)),
    ample.bytes.map(bytes => decodeRows(bytes)),
  )
  for (const [i, bytes] of ample.bytes.entries()) expect(Buffer.compare(scarce.bytes[i]!, bytes)).toBe(0)
  return scarce.spilledRecords
}

const shuffle = (maker: PlanMaker, parent: number, combine: CombineSpec, partitions = 2): number =>
  maker.node({ op: 'shuffle', partitions, parent, by: { kind: 'hash', partitions }, combine })

const number = fc.integer({ min: 0, max: 400 })
const text = fc.string({ maxLength: 3 })
const mixed = fc.oneof(
  { weight: 5, arbitrary: number },
  { weight: 3, arbitrary: text },
  fc.constantFrom(Number.NaN, -0, null, undefined, true, 1n),
  fc.tuple(fc.integer({ min: 0, max: 9 }), fc.constantFrom('x', 'y')),
  fc.record({ id: fc.integer({ min: 0, max: 9 }) }, { noNullPrototype: true }),
)

const inputs = (value: fc.Arbitrary<unknown>): fc.Arbitrary<Pair[][]> =>
  fc.constantFrom(number, text, mixed).chain(key =>
    fc
      .array(fc.array(fc.tuple(key, value), { minLength: 30, maxLength: 300 }), {
        minLength: 1,
        maxLength: 4,
      })
      .map(slices => slices as Pair[][]),
  )
const limit = fc.integer({ min: 1_000, max: 20_000 })

describe('with less memory than the data takes', () => {
  const kinds: [string, fc.Arbitrary<unknown>, (maker: PlanMaker) => CombineSpec][] = [
    // Sums of fractions and concatenations show any change of order.
    [
      'reduce of fractions',
      fc.double({ noNaN: true }),
      maker => ({ kind: 'reduce', fn: maker.fn((a: number, b: number) => a + b) }),
    ],
    [
      'reduce of text that grows',
      fc.string({ maxLength: 20 }),
      maker => ({ kind: 'reduce', fn: maker.fn((a: string, b: string) => a + b) }),
    ],
    [
      'aggregate into lists that grow',
      fc.integer(),
      maker => ({
        kind: 'aggregate',
        create: maker.fn((value: unknown) => [value]),
        mergeValue: maker.fn((list: unknown[], value: unknown) => [...list, value]),
        mergeCombiners: maker.fn((a: unknown[], b: unknown[]) => [...a, ...b]),
        mapSide: false,
      }),
    ],
    [
      'aggregate with map side',
      fc.integer(),
      maker => ({
        kind: 'aggregate',
        create: maker.fn((value: unknown) => [value]),
        mergeValue: maker.fn((list: unknown[], value: unknown) => [...list, value]),
        mergeCombiners: maker.fn((a: unknown[], b: unknown[]) => [...a, ...b]),
        mapSide: true,
      }),
    ],
    ['group', fc.string({ maxLength: 30 }), () => ({ kind: 'group' })],
  ]
  it.each(kinds)('%s gives the same bytes', async (name, value, combine) => {
    let records = 0
    await fc.assert(
      fc.asyncProperty(inputs(value), limit, async (slices, limitBytes) => {
        records += await sameBytes(
          maker => shuffle(maker, maker.parallelize(slices), combine(maker)),
          limitBytes,
        )
      }),
      { numRuns: 40 },
    )
    expect(records, name).toBeGreaterThan(300)
  })

  it('cogroup gives the same bytes', async () => {
    let records = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(inputs(fc.integer()), { minLength: 1, maxLength: 3 }),
        limit,
        async (parents, limitBytes) => {
          records += await sameBytes(maker => {
            const sides = parents.map(slices => shuffle(maker, maker.parallelize(slices), { kind: 'none' }))
            maker.node({ op: 'cogroup', partitions: 2, parents: sides })
          }, limitBytes)
        },
      ),
      { numRuns: 40 },
    )
    expect(records).toBeGreaterThan(300)
  })

  it('sort gives the same bytes: ascending and descending, equal keys in the order of the input', async () => {
    let records = 0
    const anyKey = fc.oneof(fc.integer({ min: -50, max: 50 }), mixed, fc.double(), fc.string())
    const rows = fc.array(fc.tuple(anyKey, fc.integer()), { minLength: 300, maxLength: 3000 })
    await fc.assert(
      fc.asyncProperty(rows, limit, fc.boolean(), async (input, limitBytes, ascending) => {
        records += await sameBytes(maker => {
          const parent = maker.parallelize([input])
          const by = { kind: 'builtin', name: 'pairKey' } as const
          maker.node({ op: 'steps', partitions: 1, parent, steps: [{ op: 'sort', by, ascending }] })
        }, limitBytes)
      }),
      { numRuns: 40 },
    )
    expect(records).toBeGreaterThan(300)
  })
})

describe('one key with most of the data', () => {
  const heavy = (count: number): Pair[][] => {
    const random = seededRandom(7)
    const rows: Pair[] = Array.from({ length: count }, (_, i) => [
      random.next() < 0.8 ? 'heavy' : `key ${i}`,
      i,
    ])
    return [rows.slice(0, count / 2), rows.slice(count / 2)]
  }
  const sumOf = (maker: PlanMaker): void => {
    const parent = shuffle(maker, maker.parallelize(heavy(40_000)), { kind: 'group' }, 1)
    const totals = ([name, values]: [string, number[]]): unknown => [
      name,
      values.length,
      values.map(value => 2 * value).reduce((sum, value) => (sum * 31 + value) % 1_000_003, 0),
      [...values].length,
      values.slice(-1)[0],
      values.includes(values[0]!),
    ]
    maker.node({ op: 'steps', partitions: 1, parent, steps: [{ op: 'map', fn: maker.fn(totals) }] })
    maker.node({
      op: 'steps',
      partitions: 1,
      parent: 2,
      steps: [{ op: 'filter', fn: maker.fn(([name]: [string]) => name === 'heavy') }],
    })
  }

  it('is grouped in a list on disk that functions read like any array', async () => {
    const collected = async (memoryLimitBytes: number): Promise<TaskOutcome> => {
      const maker = new PlanMaker()
      sumOf(maker)
      return (await runPlan(maker, { kind: 'collect' }, new MemoryPorts({ memoryLimitBytes })))[0]!
    }
    const outcome = await collected(100_000)
    deepStrictEqual(rowsOf(outcome), rowsOf(await collected(AMPLE_BYTES)))
    if (outcome.type !== 'result') throw new Error('no result')
    expect(outcome.metrics.spilledRecords).toBeGreaterThan(30_000)
    expect(outcome.metrics.largestGroup).toBeGreaterThan(30_000)
    expect(outcome.metrics.largestKey).toBe('heavy')
    // By estimate: the limit, and what an operator may have beside it.
    expect(outcome.metrics.peakBytes).toBeLessThan(150_000)
  })
})

describe('a map output larger than the memory of its task', () => {
  it('is written as one file with the bytes that it would have in memory', async () => {
    const rows: Pair[] = Array.from({ length: 60_000 }, (_, i) => [`key ${i % 999}`, i / 3])
    const attempt = async (memoryLimitBytes: number) => {
      const maker = new PlanMaker()
      shuffle(maker, maker.parallelize([rows]), { kind: 'none' }, 5)
      const ports = new MemoryPorts({ memoryLimitBytes })
      const plan = maker.plan({ kind: 'count' })
      const outcome = await maker
        .runner()
        .runTask('job', plan, taskInput(plan, 0, 0, { kind: 'shuffle', node: 1 }), ports)
      return { outcome, ports }
    }
    const { outcome: ample } = await attempt(AMPLE_BYTES)
    const { outcome: scarce, ports } = await attempt(50_000)
    if (ample.type !== 'map-output' || scarce.type !== 'map-file')
      throw new Error(`${ample.type} and ${scarce.type}`)
    expect(Buffer.compare(ports.spill.takeSealed(scarce.file), ample.bytes)).toBe(0)
    expect([scarce.offsets, scarce.checksum, scarce.sizeBytes]).toEqual([
      ample.offsets,
      ample.checksum,
      ample.bytes.length,
    ])
    expect(scarce.metrics.spilledBytes).toBeGreaterThan(100_000)
    expect(ports.spill.openFiles).toBe(0)
  })
})
