import { deepStrictEqual } from 'node:assert'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeRows } from '../../../../src/rdd/codec/index.ts'
import { ENGINE } from '../../../../src/rdd/engine/config.ts'
import { compareValues } from '../../../../src/rdd/engine/ordering.ts'
import { keyEquals } from '../../../../src/rdd/engine/key-equality.ts'
import type { CombineSpec, PartitionerSpec } from '../../../../src/rdd/plan.ts'
import { collect, MemoryPorts, PlanMaker, rowsOf, runPlan } from './plan-support.ts'

type Pair = [unknown, unknown]

const key = fc.oneof(
  fc.integer({ min: -3, max: 3 }),
  fc.constantFrom('a', 'b', '1', '__proto__', Number.NaN, -0, null, undefined, true, 1n),
  fc.tuple(fc.integer({ min: 0, max: 1 }), fc.constantFrom('x', 'y')),
  fc.record({ id: fc.integer({ min: 0, max: 2 }) }, { noNullPrototype: true }),
)
const slices = (value: fc.Arbitrary<unknown>): fc.Arbitrary<Pair[][]> =>
  fc.array(fc.array(fc.tuple(key, value), { maxLength: 30 }), { minLength: 1, maxLength: 4 })

/** Keys with their values in the order of the input. */
function grouped(pairs: readonly Pair[]): [unknown, unknown[]][] {
  const groups: [unknown, unknown[]][] = []
  for (const [key, value] of pairs) {
    const known = groups.find(([other]) => keyEquals(other, key))
    if (known === undefined) groups.push([Object.is(key, -0) ? 0 : key, [value]])
    else known[1].push(value)
  }
  return groups
}

async function shuffled(
  input: Pair[][],
  by: (maker: PlanMaker) => PartitionerSpec,
  combine: (maker: PlanMaker) => CombineSpec,
  ports?: MemoryPorts,
): Promise<unknown[][]> {
  const maker = new PlanMaker()
  const parent = maker.parallelize(input)
  const spec = by(maker)
  maker.node({ op: 'shuffle', partitions: spec.partitions, parent, by: spec, combine: combine(maker) })
  return collect(maker, ports)
}

const hash = (partitions: number) => (): PartitionerSpec => ({ kind: 'hash', partitions })
const byKey = (rows: unknown[]): unknown[] =>
  rows.toSorted((left, right) => compareValues((left as Pair)[0], (right as Pair)[0]))
const text = fc.string({ maxLength: 3 })

describe('shuffle', () => {
  it('none: every pair arrives once, equal keys together, in map order', async () => {
    await fc.assert(
      fc.asyncProperty(slices(fc.integer()), fc.integer({ min: 1, max: 5 }), async (input, partitions) => {
        const output = await shuffled(input, hash(partitions), () => ({ kind: 'none' }))
        expect(output.length).toBe(partitions)
        const groups = grouped(input.flat())
        expect(output.flat().length).toBe(input.flat().length)
        for (const [key, values] of groups) {
          const holding = output.filter(rows => rows.some(row => keyEquals((row as Pair)[0], key)))
          expect(holding.length).toBe(1)
          const found = holding[0]!.filter(row => keyEquals((row as Pair)[0], key))
          deepStrictEqual(
            found.map(row => (row as Pair)[1]),
            values,
          )
        }
      }),
      { numRuns: 150 },
    )
  })

  it('reduce, aggregate with and without map side, and group give what grouping first would', async () => {
    const kinds: [string, (maker: PlanMaker) => CombineSpec, (values: unknown[]) => unknown][] = [
      // Concatenation shows any change of order.
      [
        'reduce',
        maker => ({ kind: 'reduce', fn: maker.fn((a: string, b: string) => a + b) }),
        values => values.join(''),
      ],
      ['group', () => ({ kind: 'group' }), values => values],
      ...[true, false].map((mapSide): (typeof kinds)[number] => [
        `aggregate, map side ${mapSide}`,
        maker => ({
          kind: 'aggregate',
          mapSide,
          create: maker.fn((value: string) => ({ values: [value] })),
          mergeValue: maker.fn((c: { values: string[] }, value: string) => ({
            values: [...c.values, value],
          })),
          mergeCombiners: maker.fn((a: { values: string[] }, b: { values: string[] }) => ({
            values: [...a.values, ...b.values],
          })),
        }),
        values => ({ values }),
      ]),
    ]
    for (const [name, combine, meaning] of kinds) {
      await fc.assert(
        fc.asyncProperty(slices(text), fc.integer({ min: 1, max: 4 }), async (input, partitions) => {
          const output = await shuffled(input, hash(partitions), combine)
          const expected = grouped(input.flat()).map(([key, values]) => [key, meaning(values)])
          deepStrictEqual(byKey(output.flat()), byKey(expected), name)
        }),
        { numRuns: 80 },
      )
    }
  })

  it('gives the same bytes on every run', async () => {
    await fc.assert(
      fc.asyncProperty(slices(fc.double()), async input => {
        const run = async (): Promise<unknown> => {
          const maker = new PlanMaker()
          const parent = maker.parallelize(input)
          const fn = maker.fn((a: number, b: number) => a + b)
          const by = { kind: 'hash', partitions: 3 } as const
          maker.node({ op: 'shuffle', partitions: 3, parent, by, combine: { kind: 'reduce', fn } })
          const ports = new MemoryPorts()
          const results = await runPlan(maker, { kind: 'collect' }, ports)
          return [
            [...ports.outputs],
            results.map(result => (result.type === 'result' ? result.checksum : result)),
          ].map(part =>
            JSON.stringify(part, (name, value: unknown) => (name === 'metrics' ? undefined : value)),
          )
        }
        deepStrictEqual(await run(), await run())
      }),
      { numRuns: 40 },
    )
  })

  it('range: partitions follow one another in order, keys at a bound go below it, both directions', async () => {
    const bounds = encodeRows([10, 20])
    const input: Pair[][] = [[25, 10, 11, 3].map(key => [key, 0]), [20, 21, 10].map(key => [key, 0])]
    const keys = (output: unknown[][]): unknown[][] => output.map(rows => rows.map(row => (row as Pair)[0]))
    for (const [ascending, expected] of [
      [
        true,
        [
          [10, 3, 10],
          [11, 20],
          [25, 21],
        ],
      ],
      [
        false,
        [
          [25, 21],
          [11, 20],
          [10, 3, 10],
        ],
      ],
    ] as const) {
      const by = (): PartitionerSpec => ({ kind: 'range', partitions: 3, bounds, ascending })
      deepStrictEqual(keys(await shuffled(input, by, () => ({ kind: 'none' }))), expected)
    }
  })

  it('range: agrees with counting the smaller bounds, for keys and bounds of any type', async () => {
    const sorted = fc.array(key, { maxLength: 5 }).map(keys => keys.toSorted(compareValues))
    await fc.assert(
      fc.asyncProperty(slices(fc.constant(0)), sorted, async (input, bounds) => {
        const partitions = bounds.length + 1
        const by = (): PartitionerSpec => ({
          kind: 'range',
          partitions,
          bounds: encodeRows(bounds),
          ascending: true,
        })
        const output = await shuffled(input, by, () => ({ kind: 'none' }))
        for (const [partition, rows] of output.entries()) {
          for (const row of rows) {
            expect(bounds.filter(bound => compareValues(bound, (row as Pair)[0]) < 0).length).toBe(partition)
          }
        }
      }),
      { numRuns: 80 },
    )
  })

  it('custom: a negative result is taken as the non-negative remainder, anything but a whole number is an error', async () => {
    const input: Pair[][] = [[-1, -2, -3, 5, 0].map(key => [key, 0])]
    const by = (maker: PlanMaker): PartitionerSpec => ({
      kind: 'custom',
      partitions: 3,
      fn: maker.fn((key: number) => key),
    })
    const output = await shuffled(input, by, () => ({ kind: 'none' }))
    deepStrictEqual(
      output.map(rows => rows.map(row => (row as Pair)[0])),
      [[-3, 0], [-2], [-1, 5]],
    )
    for (const bad of [0.5, Number.NaN, 'x', undefined, Infinity]) {
      const wrong = (maker: PlanMaker): PartitionerSpec => ({
        kind: 'custom',
        partitions: 3,
        fn: maker.fn(() => bad),
      })
      await expect(shuffled(input, wrong, () => ({ kind: 'none' }))).rejects.toThrow(
        /must return a whole number/,
      )
    }
  })

  it('writes a full map-side table out and still gives one value per key', async () => {
    const keys = 30_000
    const long = 'k'.repeat(1200)
    const input: Pair[][] = [Array.from({ length: 2 * keys }, (_, i) => [`${long}${i % keys}`, 1])]
    expect(keys * 2 * long.length).toBeGreaterThan(ENGINE.combineBytes)
    const ports = new MemoryPorts({ memoryLimitBytes: 1 << 30 })
    const output = await shuffled(
      input,
      hash(2),
      maker => ({ kind: 'reduce', fn: maker.fn((a: number, b: number) => a + b) }),
      ports,
    )
    expect(output.flat().length).toBe(keys)
    expect(output.flat().every(row => (row as Pair)[1] === 2)).toBe(true)
  })

  it('cogroup: values of every parent per key, empty where there are none, keys in the order first seen', async () => {
    const inputs = fc.array(slices(fc.integer()), { minLength: 1, maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(inputs, fc.integer({ min: 1, max: 3 }), async (parents, partitions) => {
        const maker = new PlanMaker()
        const by = { kind: 'hash', partitions } as const
        const sides = parents.map(input => {
          const parent = maker.parallelize(input)
          return maker.node({ op: 'shuffle', partitions, parent, by, combine: { kind: 'none' } })
        })
        maker.node({ op: 'cogroup', partitions, parents: sides })
        const rows = (await collect(maker)).flat()
        const all = grouped(parents.flat(2))
        const expected = all.map(([key]) => [
          key,
          parents.map(input => grouped(input.flat()).find(([other]) => keyEquals(other, key))?.[1] ?? []),
        ])
        deepStrictEqual(byKey(rows), byKey(expected))
      }),
      { numRuns: 80 },
    )
  })

  it('a shuffle read takes part in the fused loop behind it', async () => {
    const maker = new PlanMaker()
    const parent = maker.parallelize([
      [
        ['a', 1],
        ['b', 2],
      ],
      [['a', 3]],
    ])
    const by = { kind: 'hash', partitions: 1 } as const
    const fn = maker.fn((a: number, b: number) => a + b)
    const shuffle = maker.node({ op: 'shuffle', partitions: 1, parent, by, combine: { kind: 'reduce', fn } })
    const swap = { kind: 'builtin', name: 'swap' } as const
    maker.node({ op: 'steps', partitions: 1, parent: shuffle, steps: [{ op: 'map', fn: swap }] })
    const [outcome] = await runPlan(maker, { kind: 'collect' })
    deepStrictEqual(rowsOf(outcome!), [
      [4, 'a'],
      [2, 'b'],
    ])
  })
})
