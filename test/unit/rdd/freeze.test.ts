import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createDatasets, type DatasetContext } from '../../../src/rdd/context.ts'
import type { JobRunner } from '../../../src/rdd/job-runner.ts'
import { LocalFiles } from '../../../src/rdd/local-files.ts'
import { createLocal, LocalRunner } from '../../../src/rdd/local-runner.ts'
import { pack, unpack } from '../../../src/base/wire.ts'
import { decodePlan, encodePlan, planHash } from '../../../src/rdd/plan-codec.ts'
import type { Plan, PlanNode } from '../../../src/rdd/plan.ts'
import type { RDD } from '../../../src/rdd/rdd.ts'

/** The plans that actions of a context make, as its runner sees them. */
function recorded(): { mesh: DatasetContext; plans: Plan[]; planOf: (rdd: RDD<unknown>) => Promise<Plan> } {
  const plans: Plan[] = []
  const files = new LocalFiles({ '/t': 'a\nb\n' })
  const inner = new LocalRunner({ files })
  const runner: JobRunner = {
    run(plan, options) {
      plans.push(plan)
      return inner.run(plan, options)
    },
    forget() {},
  }
  const planOf = async (rdd: RDD<unknown>): Promise<Plan> => {
    await rdd.collect()
    return plans.at(-1)!
  }
  return { mesh: createDatasets({ runner, files, defaultPartitions: 4 }), plans, planOf }
}

/** Bytes as lists of numbers, whatever view of them it is. */
function plainBytes(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value]
  if (Array.isArray(value)) return value.map(plainBytes)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainBytes(item)]))
}

const ops = (plan: Plan): string[] =>
  plan.nodes.map(({ op, label }) => (op === label ? op : `${op} ${label}`))
const shuffles = (plan: Plan): PlanNode[] => plan.nodes.filter(({ op }) => op === 'shuffle')

describe('a plan', () => {
  test('is plain data that survives its encoding, with the same hash each time', async () => {
    const { mesh, planOf } = recorded()
    const suffix = '!'
    const rdd = mesh
      .textFile('/t')
      .map(line => [line + suffix, new Date(0)])
      .union(mesh.parallelize([['b!', new Date(1)]], 1))
      .sortByKey()
      .partitionBy(3, key => key.length)
      .aggregateByKey(
        new Set([1]),
        (seen, date) => seen.add(date.getTime()),
        (a, b) => new Set([...a, ...b]),
      )
      .setName('all')
      .cache()
    const plan = await planOf(rdd)
    const bytes = encodePlan(plan)
    const decoded = decodePlan(bytes)
    expect(plainBytes(decoded)).toEqual(plainBytes(plan))
    expect(plainBytes(encodePlan(decoded))).toEqual(plainBytes(bytes))
    expect(planHash(bytes)).toMatch(/^[0-9a-f]{32}$/)
    expect(planHash(encodePlan(await planOf(rdd)))).toBe(planHash(bytes))
  })

  test('captures a function once for all its uses, and equal functions once', async () => {
    const { mesh, planOf } = recorded()
    const double = (n: number): number => n * 2
    const plan = await planOf(mesh.range(3).map(double).map(double).union(mesh.range(4).map(double)))
    expect(plan.closures.length).toBe(1)
  })

  test('computes shared parents once: a diamond is one node', async () => {
    const { mesh, planOf } = recorded()
    const base = mesh.range(0, 8).keyBy(n => n % 2)
    const counts = base.reduceByKey((a, b) => a + b)
    const plan = await planOf(counts.mapValues(n => n + 1).join(counts.mapValues(n => n - 1)))
    expect(ops(plan).filter(op => op === 'range')).toEqual(['range'])
    expect(shuffles(plan).length).toBe(1)
  })

  test('of two lineages that are the same, though built apart, holds one', async () => {
    const { mesh, planOf } = recorded()
    const build = (): RDD<number> => mesh.range(0, 8).map(n => n + 1)
    const plan = await planOf(build().union(build()))
    expect(ops(plan)).toEqual(['range', 'steps map', 'union'])
    expect(plan.nodes[2]).toMatchObject({ parents: [1, 1] })
  })

  test('of a lineage of thousands of operators is made without exhausting the stack', async () => {
    const { mesh } = recorded()
    const next = (n: number): number => n + 1
    let rdd = mesh.range(3)
    for (let i = 0; i < 2000; i++) rdd = rdd.map(next)
    expect((await rdd.explain()).split('\n').length).toBe(2003)
    expect((await rdd.toDebugString()).split('\n').length).toBe(2001)
  })
})

describe('fingerprints', () => {
  const fingerprint = async (build: (mesh: DatasetContext) => RDD<unknown>): Promise<string> => {
    const { mesh, planOf } = recorded()
    return (await planOf(build(mesh))).nodes.at(-1)!.fingerprint
  }
  const scaled =
    (factor: number): ((n: number) => number) =>
    n =>
      n * factor

  test('are the same for the same lineage in another context', async () => {
    const build = (mesh: DatasetContext): RDD<unknown> =>
      mesh
        .textFile('/t')
        .map(line => line.length)
        .map(scaled(2))
        .keyBy(n => n)
        .groupByKey()
    expect(await fingerprint(build)).toBe(await fingerprint(build))
    expect(await fingerprint(build)).toMatch(/^[0-9a-f]{32}$/)
  })

  test('differ with data, captured values, partitions, order and action-independent operators', async () => {
    const variants: ((mesh: DatasetContext) => RDD<unknown>)[] = [
      mesh => mesh.range(3),
      mesh => mesh.range(4),
      mesh => mesh.range(0, 3, 1, 2),
      mesh => mesh.parallelize([0, 1, 2]),
      mesh => mesh.parallelize([0, 1, 3]),
      mesh => mesh.range(3).map(scaled(2)),
      mesh => mesh.range(3).map(scaled(3)),
      mesh => mesh.range(3).map(scaled(2)).map(scaled(3)),
      mesh => mesh.range(3).map(scaled(3)).map(scaled(2)),
      mesh => mesh.range(3).filter(scaled(2)),
      mesh => mesh.range(3).keyBy(scaled(2)).groupByKey(),
      mesh => mesh.range(3).keyBy(scaled(2)).groupByKey(5),
      mesh => mesh.range(3).sortBy(scaled(2)),
      mesh => mesh.range(3).sortBy(scaled(2), false),
    ]
    const all = await Promise.all(variants.map(fingerprint))
    expect(new Set(all).size).toBe(variants.length)
  })

  test('do not depend on names, caching or the action', async () => {
    const { mesh, planOf, plans } = recorded()
    const rdd = mesh.range(3).map(scaled(2))
    const before = (await planOf(rdd)).nodes.at(-1)!.fingerprint
    await rdd.setName('n').cache().count()
    expect(plans.at(-1)!.nodes.at(-1)).toMatchObject({ fingerprint: before, name: 'n', cached: true })
  })
})

describe('a shuffle', () => {
  const add = (a: number, b: number): number => a + b

  test('is left out where the pairs are partitioned as wanted', async () => {
    const { mesh, planOf } = recorded()
    const pairs = mesh.range(0, 9).keyBy(n => n % 3)
    const parted = pairs.partitionBy(4)
    const once: RDD<unknown>[] = [
      parted,
      parted.partitionBy(4),
      parted.reduceByKey(add),
      parted.reduceByKey(add, 4),
      parted.groupByKey(),
      parted
        .mapValues(n => n + 1)
        .filter(() => true)
        .foldByKey(0, add),
      parted.flatMapValues(n => [n]).combineByKey(n => n, add, add),
      parted.join(parted.mapValues(n => n * 2)),
      pairs
        .reduceByKey(add)
        .reduceByKey(add)
        .mapValues(n => n)
        .join(pairs.reduceByKey(add)),
      pairs.sortByKey().reduceByKey(add),
      parted.map(pair => pair, true).groupByKey(),
    ]
    for (const rdd of once) expect(shuffles(await planOf(rdd)).length, await rdd.explain()).toBe(1)
  })

  test('is made where they are not', async () => {
    const { mesh, planOf } = recorded()
    const parted = mesh
      .range(0, 9)
      .keyBy(n => n % 3)
      .partitionBy(4)
    const modulo = (n: number): number => n
    const twice: RDD<unknown>[] = [
      parted.partitionBy(5),
      parted.reduceByKey(add, 3),
      parted.map(pair => pair).groupByKey(),
      parted.partitionBy(4, modulo),
      parted.union(parted).groupByKey(),
      parted.join(mesh.range(3).keyBy(n => n)),
      parted.sortByKey(),
    ]
    for (const rdd of twice) expect(shuffles(await planOf(rdd)).length, await rdd.explain()).toBe(2)
    const custom = parted.partitionBy(4, modulo)
    expect(shuffles(await planOf(custom.partitionBy(4, modulo))).length).toBe(2)
    expect(shuffles(await planOf(custom.partitionBy(4, n => n + 1))).length).toBe(3)
  })

  test('has as many partitions as the largest parent, unless told otherwise', async () => {
    const { mesh } = recorded()
    const [small, large] = [mesh.range(0, 9, 1, 2).keyBy(n => n), mesh.range(0, 9, 1, 7).keyBy(n => n)]
    expect(await small.groupByKey().getNumPartitions()).toBe(2)
    expect(await small.join(large).getNumPartitions()).toBe(7)
    expect(await large.cogroup(small, 3).getNumPartitions()).toBe(3)
    expect(await large.distinct().getNumPartitions()).toBe(7)
    expect(await large.sortByKey().getNumPartitions()).toBe(7)
    expect(await small.reduceByKey(add).join(large).getNumPartitions()).toBe(7)
    expect(await small.partitionBy(9).join(large).getNumPartitions()).toBe(9)
  })
})

describe('decodePlan', () => {
  const encodedPlan = async (): Promise<Uint8Array> => {
    const { mesh, planOf } = recorded()
    const rdd = mesh.range(0, 4, 1, 2).keyBy(n => n % 2)
    return encodePlan(await planOf(rdd.join(rdd.mapValues(n => n + 1)).union(rdd.join(rdd))))
  }

  test('refuses any damaged bytes with BAD_MESSAGE, or gives a plan', async () => {
    const bytes = await encodedPlan()
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(bytes.length), (at, value, length) => {
        const damaged = bytes.slice(0, length === 0 ? bytes.length : length)
        if (at < damaged.length) damaged[at] = value
        try {
          expect(decodePlan(damaged).version).toBe(1)
        } catch (error) {
          expect(error).toMatchObject({ code: 'BAD_MESSAGE', details: { type: 'plan' } })
        }
      }),
      { numRuns: 500 },
    )
  })

  test('refuses plans that contradict themselves, saying how', async () => {
    const bytes = await encodedPlan()
    const change = (edit: (plan: Plan) => void): Uint8Array => {
      const plan = unpack(bytes) as Plan
      edit(plan)
      return pack(plan)
    }
    const contradictions: [RegExp, (plan: Plan) => void][] = [
      [/version/, plan => Object.assign(plan, { version: 2 })],
      [/before its parent/, plan => Object.assign(plan.nodes[1]!, { parent: 1 })],
      [/cannot have 9 partitions/, plan => Object.assign(plan.nodes[1]!, { partitions: 9 })],
      [/closure 0 is missing/, plan => Object.assign(plan, { closures: [] })],
      [/in range/, plan => Object.assign(plan, { only: [99] })],
      [/ascending/, plan => Object.assign(plan, { only: [1, 0] })],
      [/nodes/, plan => Object.assign(plan, { nodes: [] })],
      [/op/, plan => Object.assign(plan.nodes[0]!, { op: 'exec' })],
      [/partitions/, plan => Object.assign(plan.nodes[0]!, { partitions: -1 })],
    ]
    for (const [reason, edit] of contradictions) {
      expect(() => decodePlan(change(edit)), String(reason)).toThrow(reason)
    }
  })

  test('drops fields it does not know', async () => {
    const plan = unpack(await encodedPlan()) as Plan
    const decoded = decodePlan(pack({ ...plan, priority: 3 }))
    expect('priority' in decoded).toBe(false)
  })
})

test('range bounds are the same for the same data, wherever they are sampled', async () => {
  const rows = Array.from({ length: 500 }, (_, n) => (n * 7919) % 503)
  const boundsOf = async (): Promise<unknown> => {
    const { mesh, planOf } = recorded()
    const plan = await planOf(mesh.parallelize(rows, 5).sortBy(n => n, true, 4))
    return shuffles(plan)[0]
  }
  expect(await boundsOf()).toEqual(await boundsOf())
})

test('createLocal refuses what could not travel to a peer', async () => {
  expect(() => createLocal().parallelize([() => 1])).toThrow(
    expect.objectContaining({ code: 'VALUE_REFUSED' }),
  )
})
