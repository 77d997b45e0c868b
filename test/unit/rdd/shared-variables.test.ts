import {
  array,
  assert,
  boolean,
  constant,
  constantFrom,
  nat,
  property,
  record,
  uniqueArray,
} from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AccumulatorMerge } from '../../../src/rdd/accumulator-merge.ts'
import { createLocal } from '../../../src/rdd/index.ts'
import { SharedVariables } from '../../../src/rdd/shared-variables.ts'

describe('accumulators', () => {
  test('sum numbers and bigints, list, and do what { zero, add, merge } says, from what they began with', async () => {
    const mesh = createLocal({ defaultPartitions: 4 })
    const count = mesh.accumulator(100)
    const large = mesh.accumulator(2n ** 70n)
    const list = mesh.accumulator<string>(['first'])
    const best = mesh.accumulator({
      zero: () => new Map<number, number>(),
      add: (map: Map<number, number>, n: number) => map.set(n % 2, Math.max(n, map.get(n % 2) ?? 0)),
      merge: (map: Map<number, number>, other: Map<number, number>) => {
        for (const [key, n] of other) map.set(key, Math.max(n, map.get(key) ?? 0))
        return map
      },
    })
    count.add(1)
    await mesh.range(10).forEach(n => {
      count.add(1)
      large.add(1n)
      list.add(`n${n}`)
      best.add(n)
    })
    expect(count.value).toBe(111)
    expect(large.value).toBe(2n ** 70n + 10n)
    expect(list.value).toEqual(['first', ...Array.from({ length: 10 }, (_, n) => `n${n}`)])
    expect(best.value).toEqual(
      new Map([
        [0, 8],
        [1, 9],
      ]),
    )
  })

  test('keep instances of classes, and give each task a zero of its own', async () => {
    class Range {
      low = Infinity
      high = -Infinity
      with(low: number, high: number): this {
        this.low = Math.min(low, this.low)
        this.high = Math.max(high, this.high)
        return this
      }
    }
    const mesh = createLocal({ defaultPartitions: 3 })
    const zero = new Range()
    const range = mesh.accumulator({
      zero,
      add: (total: Range, n: number) => total.with(n, n),
      merge: (total: Range, other: Range) => total.with(other.low, other.high),
    })
    await mesh.range(5, 25).forEach(n => range.add(n))
    expect(range.value).toEqual(expect.objectContaining({ low: 5, high: 24 }))
    expect(range.value.with(0, 0).low).toBe(0)
    expect(zero.low).toBe(Infinity)
  })

  test('do not count what operators run to find out about their input', async () => {
    const mesh = createLocal({ defaultPartitions: 4 })
    const count = mesh.accumulator(0)
    const counted = mesh.range(0, 50).map(n => {
      count.add(1)
      return n
    })
    await counted.sortBy(n => -n).collect()
    expect(count.value).toBe(50)
    await counted.zipWithIndex().collect()
    expect(count.value).toBe(100)
  })

  test('count a shuffle once, whichever jobs compute it', async () => {
    const mesh = createLocal({ defaultPartitions: 4 })
    const [before, after] = [mesh.accumulator(0), mesh.accumulator(0)]
    const sums = mesh
      .range(0, 40)
      .map(n => {
        before.add(1)
        return [n % 4, n] as const
      })
      .reduceByKey((a, b) => a + b)
      .map(pair => {
        after.add(1)
        return pair
      })
    await sums.collect()
    await sums.count()
    expect(before.value).toBe(40)
    expect(after.value).toBe(8)
  })

  test('are refused where they mean nothing: another type, reading in a task, what is none', async () => {
    const mesh = createLocal()
    const count = mesh.accumulator(0)
    const wrong = 'one' as unknown as number
    expect(() => count.add(wrong)).toThrow(expect.objectContaining({ code: 'VALUE_REFUSED' }))
    await expect(mesh.range(1).forEach(() => count.add(wrong))).rejects.toMatchObject({
      code: 'VALUE_REFUSED',
    })
    await expect(
      mesh
        .range(1)
        .map(() => count.value)
        .collect(),
    ).rejects.toMatchObject({ code: 'ACCUMULATOR_READ' })
    const none = null as unknown as number
    expect(() => mesh.accumulator(none)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
    expect(count.value).toBe(0)
  })

  test('add nothing of a task that failed, and reject the action with what a merge throws', async () => {
    const mesh = createLocal({ defaultPartitions: 1 })
    const count = mesh.accumulator(0)
    const failing = mesh.range(3).map(n => {
      count.add(1)
      if (n === 2) throw new Error('too late')
      return n
    })
    await expect(failing.collect()).rejects.toMatchObject({ code: 'TASK_FAILED' })
    expect(count.value).toBe(0)
    const merging = mesh.accumulator({
      zero: 0,
      add: (total: number, n: number) => total + n,
      merge: (): number => {
        throw new Error('no merging')
      },
    })
    await expect(mesh.range(3).forEach(n => merging.add(n))).rejects.toThrow('no merging')
    const pairs = mesh.range(3).map(n => {
      merging.add(n)
      return [n, n] as const
    })
    await expect(pairs.reduceByKey(a => a).collect()).rejects.toThrow('no merging')
  })
})

describe('merging', () => {
  const arrivals = uniqueArray(nat(30), { minLength: 1, maxLength: 12 })
    .map(partitions => partitions.toSorted((a, b) => a - b))
    .chain(expected =>
      record({
        expected: constant(expected),
        // Attempts in any order, some twice or more.
        arriving: array(constantFrom(...expected), { maxLength: 40 }),
      }),
    )

  test('takes each partition once and, as far as it was not cut short, in partition order', () => {
    assert(
      property(arrivals, boolean(), ({ expected, arriving }, isMapStage) => {
        const merged: number[] = []
        const merge = new AccumulatorMerge(
          updates => void merged.push(updates[0]!),
          isMapStage ? undefined : expected,
        )
        for (const partition of arriving) merge.take(partition, Uint8Array.of(partition))
        merge.flush()
        const wanted = [...new Set(arriving)].sort((a, b) => a - b)
        expect(merged).toEqual(wanted)
        // What comes after the end of the job counts once, too.
        for (const partition of [...arriving, ...expected]) merge.take(partition, Uint8Array.of(partition))
        merge.flush()
        expect(merged.toSorted((a, b) => a - b)).toEqual(expected)
      }),
    )
  })

  test('hands on what is in order at once', () => {
    const merged: number[] = []
    const merge = new AccumulatorMerge(updates => void merged.push(updates[0]!), [2, 5, 9])
    merge.take(5, Uint8Array.of(5))
    expect(merged).toEqual([])
    merge.take(2, undefined)
    expect(merged).toEqual([5])
    merge.take(9, Uint8Array.of(9))
    expect(merged).toEqual([5, 9])
  })
})

describe('broadcasts', () => {
  test('are read as they were when they were made, without travelling in closures', async () => {
    const mesh = createLocal({ maxClosureBytes: 10_000 })
    const names = Array.from({ length: 5_000 }, (_, i) => `name ${i}`)
    expect(() => mesh.range(1).map(n => names[n]!)).toThrow(
      expect.objectContaining({
        code: 'CLOSURE_REFUSED',
        message: expect.stringContaining(
          'broadcast() it instead, and read its .value in the function',
        ) as unknown,
      }),
    )
    const shared = mesh.broadcast(names)
    names[1] = 'changed'
    expect(
      await mesh
        .range(3)
        .map(n => shared.value[n]!)
        .collect(),
    ).toEqual(['name 0', 'name 1', 'name 2'])
  })

  test('keep maps, sets, dates, bytes, bigints, classes, functions and cycles', async () => {
    class Tree {
      children: Tree[] = []
      parent: Tree | undefined
      depth(): number {
        return 1 + Math.max(0, ...this.children.map(child => child.depth()))
      }
    }
    const mesh = createLocal()
    const root = new Tree()
    const child = new Tree()
    child.parent = root
    root.children.push(child)
    const shared = mesh.broadcast({
      root,
      twice: (n: number) => 2 * n,
      bytes: Uint16Array.of(1, 2),
      at: new Date(5),
    })
    const plain = mesh.broadcast(new Map<unknown, unknown>([[1n, new Set([-0, NaN, undefined])]]))
    const [seen] = await mesh
      .range(1)
      .map(() => {
        const { root: tree, twice, bytes, at } = shared.value
        const [key, set] = [...plain.value][0]!
        return [
          tree.depth(),
          tree.children[0]!.parent === tree,
          twice(4),
          [...bytes],
          at.getTime(),
          key,
          [...(set as Set<unknown>)],
        ]
      })
      .collect()
    expect(seen).toEqual([2, true, 8, [1, 2], 5, 1n, [0, NaN, undefined]])
  })

  test('say what they cannot hold, and where it is', () => {
    const mesh = createLocal()
    const count = mesh.accumulator(0)
    const held = { list: [count] }
    expect(() => mesh.broadcast(held)).toThrow(expect.objectContaining({ code: 'VALUE_REFUSED' }))
    expect(() => mesh.broadcast({ a: { waiting: Promise.resolve() } })).toThrow(
      expect.objectContaining({
        code: 'CLOSURE_REFUSED',
        message: expect.stringMatching(/broadcast.*waiting.*Promise/) as unknown,
      }),
    )
  })

  test('once destroyed are an error where they are read, captured and called back', async () => {
    const drops: boolean[] = []
    const variables = new SharedVariables({
      drop: (_ref, _generation, isDestroyed) => drops.push(isDestroyed),
    })
    const shared = variables.makeBroadcast(5)
    shared.unpersist()
    expect(shared.value).toBe(5)
    shared.destroy()
    shared.destroy()
    expect(drops).toEqual([false, true])
    for (const use of [() => shared.value, () => shared.unpersist(), () => shared.shipped()]) {
      expect(use).toThrow(expect.objectContaining({ code: 'BROADCAST_DESTROYED' }))
    }
    const mesh = createLocal()
    const other = mesh.broadcast(1)
    const used = mesh.range(1).map(() => other.value)
    expect(await used.collect()).toEqual([1])
    other.destroy()
    await expect(used.collect()).rejects.toMatchObject({ code: 'BROADCAST_DESTROYED' })
  })
})
