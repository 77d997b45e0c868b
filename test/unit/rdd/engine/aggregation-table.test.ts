import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AggregationTable, MISSED } from '../../../../src/rdd/engine/aggregation-table.ts'
import { hashKey } from '../../../../src/rdd/engine/hashing.ts'
import { TaskMemory } from '../../../../src/rdd/engine/task-memory.ts'

function table(limitBytes = 1 << 30): AggregationTable {
  return new AggregationTable(new TaskMemory(limitBytes).holding('reduceByKey'), { freezes: true })
}

function add(into: AggregationTable, key: unknown, value: number): void {
  const index = into.locate(key)
  if (index >= 0) into.values[index] = (into.values[index] as number) + value
  else into.values.push(value)
}

const primitive = fc.oneof(
  fc.integer({ min: -5, max: 5 }),
  fc.double(),
  fc.constantFrom(-0, 0, Number.NaN, '1', '', 'a long key of more than thirteen characters', '__proto__'),
  fc.string({ maxLength: 2 }),
  fc.boolean(),
  fc.constantFrom(null, undefined, 1n, 2n),
)

describe('aggregation table', () => {
  it('agrees with a Map on every sequence of primitive keys, in the order of first insertion', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(primitive, fc.integer()), { maxLength: 400 }), entries => {
        const made = table()
        const model = new Map<unknown, number>()
        for (const [key, value] of entries) {
          add(made, key, value)
          model.set(key, (model.get(key) ?? 0) + value)
        }
        expect(made.keys).toEqual([...model.keys()])
        expect(made.values).toEqual([...model.values()])
        expect(made.size).toBe(model.size)
        expect([...made.keyHashes()]).toEqual(made.keys.map(hashKey).map(hash => hash | 0))
      }),
    )
  })

  it('keeps its entries while it grows by orders of magnitude', () => {
    const made = table()
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 50_000; i++) {
        add(made, i, 1)
        add(made, `key ${i}`, 1)
      }
    }
    expect(made.size).toBe(100_000)
    expect(made.values.every(value => value === 2)).toBe(true)
    expect(made.locate(49_999)).toBe(99_998)
    expect(made.locate('key 0')).toBe(1)
  })

  it('compares container keys by content', () => {
    const made = table()
    for (const key of [[1, 'a'], { x: 1, y: [2] }, [1, 'a'], { y: [2], x: 1 }, new Date(3), new Date(3)])
      add(made, key, 1)
    expect(made.keys).toEqual([[1, 'a'], { x: 1, y: [2] }, new Date(3)])
    expect(made.values).toEqual([2, 2, 2])
  })

  it('starts afresh after clear and leaves the old arrays to their holder', () => {
    const made = table()
    add(made, 'a', 1)
    const { keys } = made
    made.clear()
    expect(made.size).toBe(0)
    expect(keys).toEqual(['a'])
    expect(made.locate('a')).toBe(~0)
  })

  it('takes no new key when it is refused memory, and goes on finding those that it has', () => {
    const made = table(10_000)
    let taken = 0
    while (made.locate(taken) !== MISSED) {
      made.values.push(taken)
      taken++
    }
    expect(taken).toBeGreaterThan(20)
    expect(taken).toBeLessThan(200)
    expect(made.missedHash).toBe(hashKey(taken))
    for (let i = 0; i < taken; i++) expect(made.locate(i)).toBe(i)
    expect(made.locate('another')).toBe(MISSED)
    expect(made.size).toBe(taken)
  })

  it('holds what it is given when it does not freeze', () => {
    const memory = new TaskMemory(10_000)
    const made = new AggregationTable(memory.holding('reduceByKey'), { freezes: false })
    for (let i = 0; i < 1000; i++) add(made, i, 1)
    expect(made.size).toBe(1000)
    expect(memory.usedBytes).toBeGreaterThanOrEqual(64_000)
  })

  it('does not keep the text alive that a key was cut from', () => {
    const made = table()
    const before = heapBytes()
    for (let i = 0; i < 256; i++) {
      // As large as V8 keeps on its own heap.
      const block = Buffer.alloc(1 << 18, `${i} is the number of this block, `).toString('latin1')
      add(made, block.slice(0, 30), 1)
    }
    expect(made.size).toBe(256)
    expect(heapBytes() - before).toBeLessThan(16 << 20)
  })
})

function heapBytes(): number {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  return process.memoryUsage().heapUsed
}
