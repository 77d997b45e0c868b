import { assert, asyncProperty, integer } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createLocal } from '../../../src/rdd/index.ts'
import { streamed } from '../../../src/rdd/stream-source.ts'
import type { FoundFile } from '../../../src/rdd/index.ts'

/** Holds back what is stored until told. */
class SlowStore {
  readonly waiting: (() => void)[] = []
  bytes = 0

  async keep(content: Uint8Array): Promise<FoundFile> {
    this.bytes += content.byteLength
    await new Promise<void>(resolve => this.waiting.push(resolve))
    const blocks = [{ blockId: `b${this.bytes}`, bytes: content.byteLength }]
    return { path: 'x', fileId: `f${this.bytes}`, blocks, cut: 'binary', packed: false }
  }
}

async function* numbers(count: number): AsyncGenerator<number> {
  for (let i = 0; i < count; i++) yield i
}

describe('fromAsync', () => {
  test('reads async and other iterables once; the dataset can be read again and again', async () => {
    const mesh = createLocal()
    const few = await mesh.fromAsync(numbers(10), 3)
    expect(await few.glom().collect()).toEqual([
      [0, 1, 2],
      [3, 4, 5],
      [6, 7, 8, 9],
    ])
    const many = await mesh.fromAsync(numbers(50_000), 5)
    expect(await many.getNumPartitions()).toBe(5)
    expect(await many.sum()).toBe(1_249_975_000)
    expect(await many.collect()).toEqual(Array.from({ length: 50_000 }, (_, i) => i))
    const sizes = (await many.glom().collect()).map(part => part.length)
    expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(2048)
    const pairs = await mesh.fromAsync(new Map([['a', 1]]))
    expect(await pairs.mapValues(n => n + 1).collect()).toEqual([['a', 2]])
    expect(await (await mesh.fromAsync([], 2)).collect()).toEqual([])
  })

  test('keeps all elements in order, in any number of partitions', async () => {
    await assert(
      asyncProperty(integer({ min: 0, max: 9_000 }), integer({ min: 1, max: 20 }), async (count, slices) => {
        const made = await createLocal().fromAsync(numbers(count), slices)
        expect(await made.getNumPartitions()).toBe(slices)
        expect(await made.collect()).toEqual(Array.from({ length: count }, (_, i) => i))
      }),
      { numRuns: 15 },
    )
  })

  test('asks a source for no more while what it gave is being stored', async () => {
    const store = new SlowStore()
    let given = 0
    const source = function* (): Generator<string> {
      for (; given < 1_000_000; given++) yield `${given}`.padEnd(1_000, '.')
    }
    const reading = streamed(source(), 4, store)
    await expect.poll(() => store.waiting.length, { timeout: 20_000 }).toBe(2)
    const before = given
    for (let turn = 0; turn < 100; turn++) await new Promise(resolve => setImmediate(resolve))
    expect(given).toBe(before)
    expect(given).toBeLessThan(20_000)
    given = 1_000_000
    store.waiting.splice(0).forEach(release => release())
    await expect.poll(() => store.waiting.length, { timeout: 20_000 }).toBeLessThanOrEqual(1)
    const timer = setInterval(() => store.waiting.splice(0).forEach(release => release()), 1)
    expect(await reading).toHaveProperty('parts')
    clearInterval(timer)
  })

  test('a million elements are never in memory together: files of some MiB, two at a time', async () => {
    let under = 0
    let most = 0
    let largest = 0
    let total = 0
    const store = {
      async keep(content: Uint8Array): Promise<FoundFile> {
        most = Math.max(most, ++under)
        largest = Math.max(largest, content.byteLength)
        total += content.byteLength
        await new Promise(resolve => setImmediate(resolve))
        under--
        const blocks = [{ blockId: `b${total}`, bytes: content.byteLength }]
        return { path: 'x', fileId: `f${total}`, blocks, cut: 'binary', packed: false }
      },
    }
    const source = async function* (): AsyncGenerator<{ id: number; text: string }> {
      for (let id = 0; id < 1_000_000; id++) yield { id, text: `some text to take place ${id}` }
    }
    const read = await streamed(source(), 8, store)
    expect(read).toHaveProperty('parts.length', 8)
    expect(total).toBeGreaterThan(32 * 2 ** 20)
    expect(largest).toBeLessThan(9 * 2 ** 20)
    expect(most).toBeLessThanOrEqual(2)
  })

  test('an abort ends the reading, also of a silent source, and closes the source', async () => {
    const mesh = createLocal()
    const abort = new AbortController()
    let closed = false
    const silent = async function* (): AsyncGenerator<number> {
      try {
        yield 1
        await new Promise(resolve => setTimeout(resolve, 60_000).unref())
        yield 2
      } finally {
        closed = true
      }
    }
    const stopped = mesh.fromAsync(silent(), 2, { signal: abort.signal })
    abort.abort(new Error('enough'))
    await expect(stopped).rejects.toThrow('enough')
    const busy = async function* (): AsyncGenerator<number> {
      try {
        for (;;) yield 1
      } finally {
        closed = true
      }
    }
    const second = new AbortController()
    const endless = mesh.fromAsync(busy(), 2, { signal: second.signal })
    setTimeout(() => second.abort(new Error('enough again')), 5)
    await expect(endless).rejects.toThrow('enough again')
    await expect.poll(() => closed, { timeout: 20_000 }).toBe(true)
  })

  test('what the source throws comes through, and what cannot travel is refused', async () => {
    const mesh = createLocal()
    const broken = async function* (): AsyncGenerator<number> {
      yield 1
      throw new Error('the line is dead')
    }
    await expect(mesh.fromAsync(broken())).rejects.toThrow('the line is dead')
    await expect(mesh.fromAsync([() => 1])).rejects.toMatchObject({ code: 'VALUE_REFUSED' })
  })
})
