import { inspect } from 'node:util'
import { compileFunction } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { createLocal } from '../../../src/rdd/local-runner.ts'

describe('operators', () => {
  test('run nothing: no task, no file looked up, no function called, before an action', async () => {
    const mesh = createLocal()
    const shipped = mesh
      .textFile('/missing')
      .map((): readonly [string, number] => {
        throw new Error('called')
      })
      .reduceByKey((a, b) => a + b)
      .sortByKey()
    expect(mesh.runner.tasksRun.size).toBe(0)
    await expect(shipped.count()).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('leave the RDD they are called on as it was', async () => {
    const mesh = createLocal()
    const base = mesh.range(0, 6, 1, 2)
    const before = await base.toDebugString()
    base.map(n => n * 2).filter(n => n > 3)
    base
      .keyBy(n => n)
      .partitionBy(3)
      .cache()
    base.union(base)
    expect(await base.toDebugString()).toBe(before)
    expect(await base.collect()).toEqual([0, 1, 2, 3, 4, 5])
  })

  test('take local data as it is at the call: later changes do not show', async () => {
    const mesh = createLocal()
    const row = { n: 1 }
    const data = [row]
    const rdd = mesh.parallelize(data, 1)
    row.n = 2
    data.push({ n: 3 })
    expect(await rdd.collect()).toEqual([{ n: 1 }])
  })

  test('read captured variables when the action runs, afresh for each', async () => {
    const mesh = createLocal()
    let factor = 1
    const scaled = mesh.range(1, 4).map(n => n * factor)
    factor = 10
    expect(await scaled.collect()).toEqual([10, 20, 30])
    factor = 100
    expect(await scaled.collect()).toEqual([100, 200, 300])
  })

  test('refuse at their call a function that cannot travel, naming operator, variable and line', () => {
    const mesh = createLocal()
    const registry = new WeakMap<object, number>()
    let refused: unknown
    try {
      mesh.range(3).filter(n => registry.has(Object(n)))
    } catch (error) {
      refused = error
    }
    expect(refused).toMatchObject({
      code: 'CLOSURE_REFUSED',
      message: expect.stringMatching(/laziness\.test\.ts:\d+: filter\(\):.*registry/),
      details: {
        variable: 'registry',
        file: expect.stringMatching(/laziness\.test\.ts$/),
        line: expect.any(Number),
      },
    })
    expect(() =>
      mesh
        .range(3)
        .keyBy(n => n)
        .reduceByKey((a, b) => (registry.has({}) ? a : b)),
    ).toThrow(/reduceByKey\(\)/)
    expect(mesh.runner.tasksRun.size).toBe(0)
  })

  test('refuse a function that uses another RDD or the context: jobs do not nest', () => {
    const mesh = createLocal()
    const other = mesh.range(3)
    const refused = (variable: string): unknown =>
      expect.objectContaining({ code: 'CLOSURE_REFUSED', details: expect.objectContaining({ variable }) })
    expect(() => mesh.range(3).map(() => other.count())).toThrow(refused('other'))
    expect(() => mesh.range(3).map(() => mesh.range(3))).toThrow(refused('mesh'))
  })

  test('refuse a captured value larger than the limit', () => {
    const mesh = createLocal({ maxClosureBytes: 10_000 })
    const table = Array.from({ length: 5000 }, (_, i) => i)
    expect(() => mesh.range(3).map(n => table[n])).toThrow(
      expect.objectContaining({ code: 'CLOSURE_REFUSED' }),
    )
  })

  test('warn of assignments to captured variables, which stay on the executing peer', async () => {
    const warnings: string[] = []
    const mesh = createLocal({ onWarning: text => warnings.push(text) })
    let total = 0
    await mesh.range(3).forEach(n => {
      total += n
    })
    expect(total).toBe(0)
    expect(warnings).toEqual([expect.stringMatching(/^forEach\(\): .*total/)])
  })

  test('look free names up in the globals that were given', async () => {
    const globals = { rate: 3 }
    const mesh = createLocal({ globals })
    const scaled = mesh.range(1, 3).map(compileFunction('return n * rate', ['n']) as (n: number) => number)
    expect(await scaled.collect()).toEqual([3, 6])
  })
})

test('an RDD shows itself as its operator, name and line, not as its insides', () => {
  const rdd = createLocal().range(3).distinct().setName('all')
  expect(inspect({ rdd })).toMatch(/^\{ rdd: RDD "all" distinct at laziness\.test\.ts:\d+ \}$/)
  expect(rdd.toString()).toMatch(/^RDD "all" distinct at/)
})

describe('cache', () => {
  test('computes a partition once, until unpersist', async () => {
    const mesh = createLocal()
    const calls: number[] = []
    Reflect.set(globalThis, 'shoalTestCalls', calls)
    try {
      const slow = mesh.range(0, 4, 1, 2).map(n => {
        const seen = Reflect.get(globalThis, 'shoalTestCalls') as number[]
        seen.push(n)
        return n * 2
      })
      expect(slow.cache()).toBe(slow)
      expect(await slow.sum()).toBe(12)
      expect(await slow.map(n => n + 1).collect()).toEqual([1, 3, 5, 7])
      expect(calls).toEqual([0, 1, 2, 3])
      expect(slow.unpersist()).toBe(slow)
      expect(await slow.sum()).toBe(12)
      expect(calls.length).toBe(8)
    } finally {
      Reflect.deleteProperty(globalThis, 'shoalTestCalls')
    }
  })

  test('take of a cached RDD keeps whole partitions only', async () => {
    const mesh = createLocal()
    const cached = mesh
      .range(0, 10, 1, 2)
      .map(n => n)
      .cache()
    expect(await cached.take(2)).toEqual([0, 1])
    expect(await cached.collect()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })
})

describe('sources', () => {
  test('a text file is read in the version of the first action', async () => {
    const mesh = createLocal({ files: { '/f': 'old\n' } })
    const lines = mesh.textFile('/f')
    expect(await lines.collect()).toEqual(['old'])
    mesh.files.write('/f', 'new\n')
    expect(await lines.collect()).toEqual(['old'])
    expect(await mesh.textFile('/f').collect()).toEqual(['new'])
  })

  test('default partitions are a constant of the context', async () => {
    const mesh = createLocal({ defaultPartitions: 3 })
    expect(await mesh.range(10).getNumPartitions()).toBe(3)
    expect(await mesh.parallelize([]).getNumPartitions()).toBe(3)
    expect(await createLocal().range(10).getNumPartitions()).toBe(8)
  })

  test('a sort is sampled by the first action that needs it, and only once', async () => {
    const mesh = createLocal()
    const sorted = mesh.range(0, 20, 1, 4).sortBy(n => -n, true, 3)
    await sorted.explain()
    await sorted.getNumPartitions()
    expect(mesh.runner.tasksRun.size).toBe(0)
    const count = (): number => [...mesh.runner.tasksRun.values()].reduce((a, b) => a + b, 0)
    await sorted.count()
    const first = count()
    await sorted.count()
    expect(first).toBe(4 + 4 + 3)
    expect(count() - first).toBe(4 + 3)
  })
})
