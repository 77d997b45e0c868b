import { expect, test } from 'vitest'
import { ResultQueue } from '../../../../src/node/jobs/result-queue.ts'

function offer(partition: number, inline?: Uint8Array, executor = 'a') {
  return { id: { partition }, executor, checksum: 0, sizeBytes: inline?.byteLength ?? 100, inline }
}

const bytes = (value: number): Uint8Array => Uint8Array.of(value)

test('in order: the lowest partition comes first, however results arrive', async () => {
  const queue = new ResultQueue([2, 5, 9], true)
  const first = queue.next()
  for (const partition of [9, 5, 2]) expect(queue.offer(offer(partition, bytes(partition)))).toBe(true)
  expect([await first, await queue.next(), await queue.next()]).toEqual(
    [2, 5, 9].map(partition => ({ partition, bytes: bytes(partition) })),
  )
  expect(await queue.next()).toBeUndefined()
  expect(queue.complete()).toBe(true)
})

test('unordered: results come as they arrive', async () => {
  const queue = new ResultQueue([0, 1], false)
  queue.offer(offer(1, bytes(1)))
  queue.offer(offer(0, bytes(0)))
  expect([await queue.next(), await queue.next()].map(result => result?.partition)).toEqual([1, 0])
})

test('a second result of a partition is not wanted, before the first is handed out and after', async () => {
  const queue = new ResultQueue([0, 1], false)
  queue.offer(offer(0, bytes(1)))
  expect(queue.offer(offer(0, bytes(2)))).toBe(true)
  expect(await queue.next()).toEqual({ partition: 0, bytes: bytes(1) })
  expect(queue.offer(offer(0, bytes(3)))).toBe(true)
  expect(queue.offer(offer(7, bytes(3)))).toBe(true)
  expect(queue.accepted()).toEqual([0])
})

test('a sealed result is accepted when it was pulled, and not before', async () => {
  const queue = new ResultQueue([0], true)
  expect(queue.offer(offer(0))).toBe(false)
  expect(await queue.next()).toMatchObject({ partition: 0, executor: 'a' })
  expect(queue.accepted()).toEqual([])
  queue.accept(0)
  expect(queue.accepted()).toEqual([0])
  expect(await queue.next()).toBeUndefined()
})

test('what another attempt offers while a sealed one is pulled is not handed out as well', async () => {
  for (const second of [offer(0, bytes(1), 'b'), offer(0, undefined, 'b')]) {
    const queue = new ResultQueue([0, 1], false)
    queue.offer(offer(0))
    await queue.next()
    queue.offer(second)
    queue.accept(0)
    queue.offer(offer(1, bytes(1)))
    expect((await queue.next())?.partition).toBe(1)
    expect(await queue.next()).toBeUndefined()
  }
})

test('a sealed one that is lost is waited for, unless another attempt has offered it meanwhile', async () => {
  const queue = new ResultQueue([0], true)
  queue.offer(offer(0))
  await queue.next()
  expect(queue.lose(0, 'a')).toBe(true)
  expect(queue.lost()).toEqual([{ partition: 0, executor: 'a' }])
  queue.offer(offer(0, undefined, 'b'))
  expect(queue.lost()).toEqual([])
  expect(await queue.next()).toMatchObject({ executor: 'b' })
  queue.offer(offer(0, undefined, 'c'))
  expect(queue.lose(0, 'b')).toBe(false)
  expect(await queue.next()).toMatchObject({ executor: 'c' })
})

test('small results beyond what may wait stay where they were made, until there is room', async () => {
  const queue = new ResultQueue([0, 1, 2], true)
  const large = new Uint8Array(40 * 1024 * 1024)
  expect(queue.offer(offer(1, large))).toBe(true)
  expect(queue.offer(offer(2, large))).toBe(false)
  expect(queue.offer(offer(0, bytes(0)))).toBe(true)
  await queue.next()
  await queue.next()
  expect(queue.offer(offer(2, large))).toBe(true)
})
