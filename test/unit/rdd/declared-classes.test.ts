import { assert, integer, property } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ClassRegistry } from '../../../src/rdd/class-registry.ts'
import { reviveClosure } from '../../../src/rdd/closure/index.ts'
import { declareClass, decodeRows, encodeRows } from '../../../src/rdd/codec/index.ts'
import { createLocal } from '../../../src/rdd/index.ts'

class Point {
  x: number
  y: number
  #secret = 1
  constructor(x: number, y: number) {
    this.x = x
    this.y = y
  }
  secret(): number {
    return this.#secret
  }
}

class Vector {
  x: number
  next: Vector | undefined
  constructor(x: number) {
    this.x = x
  }
  plus(other: Vector): Vector {
    return new Vector(this.x + other.x)
  }
}

class Labelled extends Vector {
  label = 'none'
  shout(): string {
    return `${this.label}!${this.x}`
  }
}

describe('declared classes', () => {
  test('instances stay instances in rows, alone, inside others and in cycles', () => {
    const { ids } = new ClassRegistry()
    expect(ids.size).toBe(0)
    createLocal().registerClass(Vector, Labelled)
    const labelled = Object.assign(new Labelled(2), { label: 'two' })
    const ring = new Vector(1)
    ring.next = ring
    const rows = [new Vector(1), labelled, { inside: [new Vector(3)] }, new Map([['k', labelled]]), ring]
    const [vector, second, third, fourth, cycle] = decodeRows(encodeRows(rows)) as [
      Vector,
      Labelled,
      { inside: Vector[] },
      Map<string, Labelled>,
      Vector,
    ]
    expect(vector).toBeInstanceOf(Vector)
    expect(vector.plus(vector).x).toBe(2)
    expect(second.shout()).toBe('two!2')
    expect(Object.getPrototypeOf(second)).toBe(Labelled.prototype)
    expect(third.inside[0]).toBeInstanceOf(Vector)
    expect(fourth.get('k')).toBeInstanceOf(Labelled)
    expect(cycle.next).toBe(cycle)
    expect(cycle).toBeInstanceOf(Vector)
  })

  test('many of them side by side, and equal ones are equal bytes', () => {
    createLocal().registerClass(Vector)
    assert(
      property(integer({ min: 0, max: 300 }), count => {
        const rows = Array.from({ length: count }, (_, i) => (i % 3 === 0 ? { x: i } : new Vector(i)))
        const bytes = encodeRows(rows)
        const back = decodeRows(bytes)
        expect(back.map(row => row instanceof Vector)).toEqual(rows.map(row => row instanceof Vector))
        expect(encodeRows(back)).toEqual(bytes)
      }),
    )
  })

  test('an id that this thread does not know gives plain objects', () => {
    class Known {
      a = 1
    }
    declareClass('Known#1', Known)
    const bytes = encodeRows([new Known()])
    const unknown = Buffer.from(bytes)
    unknown.write('Knowm#1', unknown.indexOf('Known#1'))
    const [row] = decodeRows(unknown)
    expect(Object.getPrototypeOf(row)).toBe(Object.prototype)
    expect(row).toEqual({ a: 1 })
  })

  test('a job keeps them through shuffles, sorts, disk and results', async () => {
    const mesh = createLocal({ memoryLimitBytes: 256 * 1024 })
    class Plain {
      x: number
      constructor(x: number) {
        this.x = x
      }
      plus(other: Plain): Plain {
        return new Plain(this.x + other.x)
      }
    }
    const keyed = mesh.range(30_000, undefined, 1, 2).map(i => [i % 15_000, i] as const)
    const plain = keyed.mapValues(i => new Plain(i)).reduceByKey((a, b) => a.plus(b))
    await expect(plain.count(), 'of one that is not declared').rejects.toThrow('a.plus is not a function')
    // 7,500 keys in one task are too many for its memory: they go to disk.
    mesh.registerClass(Vector, Labelled)
    const vectors = keyed.mapValues(i => new Vector(i))
    const summed = vectors.reduceByKey((a, b) => a.plus(b))
    expect(await summed.map(([, sum]) => sum instanceof Vector).countByValue()).toEqual(
      new Map([[true, 15_000]]),
    )
    expect(await summed.map(([, { x }]) => x).sum()).toBe(449_985_000)
    const grouped = vectors.groupByKey().map(([, all]) => all.every(each => each instanceof Vector))
    expect(await grouped.countByValue()).toEqual(new Map([[true, 15_000]]))
    const sorted = await vectors
      .values()
      .sortBy(({ x }) => -x)
      .take(2)
    expect(sorted.map(each => [each instanceof Vector, each.x])).toEqual([
      [true, 29_999],
      [true, 29_998],
    ])
  })

  test('functions of a job mean the class that the thread has, not a copy each', () => {
    const registry = new ClassRegistry()
    registry.add(Vector, {})
    const [{ id, closure }] = registry.classes as [{ id: string; closure: Uint8Array }]
    expect(id).toMatch(/^Vector#[0-9a-f]{16}$/)
    const copy = reviveClosure(closure)
    expect(copy).not.toBe(Vector)
    const again = new ClassRegistry()
    again.add(Vector, {})
    expect(again.classes[0]!.id, 'the same class is the same id').toBe(id)
  })

  test('what cannot be made again of its fields is refused', () => {
    const mesh = createLocal()
    class Bag extends Map<string, number> {}
    expect(() => mesh.registerClass(Point)).toThrow(
      expect.objectContaining({
        code: 'CLOSURE_REFUSED',
        message: expect.stringMatching(/registerClass\(\): .*Point have #private state/),
      }),
    )
    expect(() => mesh.registerClass(Bag)).toThrow(/state inside the engine, being a kind of Map/)
  })
})
