import { expect, test } from 'vitest'
import { ShoalError } from '../../../../src/base/index.ts'
import { StreamInbox } from '../../../../src/node/executor/stream-inbox.ts'
import { gather } from '../../../support/gather.ts'

function inbox() {
  const consumed: [number, number][] = []
  const closed: number[] = []
  const streams = new StreamInbox({
    onConsumed: (stream, bytes) => consumed.push([stream, bytes]),
    onClosed: stream => closed.push(stream),
  })
  return { streams, consumed, closed }
}

const chunk = (length: number): Uint8Array => new Uint8Array(length)

test('chunks are read in order with their maps, those that came before the reader and those after', async () => {
  const { streams, consumed, closed } = inbox()
  const id = streams.open()
  streams.push(id, chunk(3), 0)
  const reading = gather(streams.read(id))
  streams.push(id, chunk(4), 1)
  setImmediate(() => {
    streams.push(id, chunk(5), 2)
    streams.end(id)
  })
  expect((await reading).map(({ bytes, map }) => [bytes.byteLength, map])).toEqual([
    [3, 0],
    [4, 1],
    [5, 2],
  ])
  expect(consumed).toEqual([
    [id, 3],
    [id, 4],
    [id, 5],
  ])
  expect(closed).toEqual([])
})

test('only what is read is credited', async () => {
  const { streams, consumed } = inbox()
  const id = streams.open()
  for (let i = 0; i < 5; i++) streams.push(id, chunk(10), undefined)
  const reader = streams.read(id)
  await reader.next()
  await reader.next()
  expect(consumed).toHaveLength(2)
})

test('what came before an error is read first, then the error is thrown', async () => {
  const { streams } = inbox()
  const id = streams.open()
  streams.push(id, chunk(1), undefined)
  streams.fail(id, new ShoalError('CONNECTION_LOST', { peer: 'b' }))
  const reader = streams.read(id)
  expect((await reader.next()).done).toBe(false)
  await expect(reader.next()).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
})

test('a reader that stops early closes the stream, and what still comes is dropped', async () => {
  const { streams, closed, consumed } = inbox()
  const id = streams.open()
  streams.push(id, chunk(1), undefined)
  for await (const _ of streams.read(id)) break
  expect(closed).toEqual([id])
  streams.push(id, chunk(9), undefined)
  streams.end(id)
  expect(await gather(streams.read(id))).toEqual([])
  expect(consumed).toEqual([[id, 1]])
})

test('the end of the task cancels readers that wait, and closes what nobody has read', async () => {
  const { streams, closed } = inbox()
  const [read, unread] = [streams.open(), streams.open()]
  const reading = gather(streams.read(read))
  streams.closeAll()
  await expect(reading).rejects.toMatchObject({ code: 'CANCELLED' })
  expect(new Set(closed)).toEqual(new Set([read, unread]))
})
