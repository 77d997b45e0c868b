import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { hasCode, message, ShoalError } from '../../src/base/index.ts'
import type { PeerId, Transport } from '../../src/base/index.ts'

/** Two peers and one client that can all reach each other, of one implementation of the transport. */
export interface TransportPair {
  a: Transport
  b: Transport
  client: Transport
  /** Ends `b` as SIGKILL would. */
  killB(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const echo = message({
  name: 'test.echo',
  request: z.object({ text: z.string() }),
  reply: z.object({ text: z.string(), from: z.string(), fromClient: z.boolean() }),
  from: 'everyone',
})
const peersOnly = message({
  name: 'test.peers-only',
  request: z.object({}),
  reply: z.object({}),
  from: 'peers',
})
const sink = message({
  name: 'test.sink',
  request: z.object({}),
  reply: z.object({ bytes: z.number() }),
  from: 'everyone',
})
const source = message({
  name: 'test.source',
  request: z.object({ chunks: z.number(), chunkBytes: z.number() }),
  reply: z.object({}),
  from: 'everyone',
})
const note = message({
  name: 'test.note',
  request: z.object({ n: z.number() }),
  reply: z.void(),
  from: 'everyone',
})

async function* chunksOf(count: number, chunkBytes: number, onChunk?: (i: number) => void) {
  for (let i = 0; i < count; i++) {
    onChunk?.(i)
    yield new Uint8Array(chunkBytes).fill(i)
  }
}

async function countBytes(body: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0
  for await (const chunk of body) bytes += chunk.byteLength
  return bytes
}

/** The error a promise rejects with; fails the test when it does not reject with one of ours. */
async function refusalOf(promise: Promise<unknown>): Promise<ShoalError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof ShoalError) return error
    throw error
  }
  throw new Error('expected a refusal, got an answer')
}

async function until(condition: () => boolean, timeoutMs = 5_000): Promise<void> {
  const endMs = performance.now() + timeoutMs
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`not so after ${timeoutMs} ms: ${condition.toString()}`)
    await new Promise(resolve => {
      setTimeout(resolve, 5)
    })
  }
}

/** What every transport keeps; run by the in-memory one and by the one over libp2p. */
export function transportContract(name: string, open: () => Promise<TransportPair>): void {
  describe(`${name}: transport contract`, () => {
    test('a call is answered, and the handler knows who asked', async () => {
      await using pair = await open()
      pair.b.handle(echo, ({ head, from, fromClient }) => ({ text: head.text, from, fromClient }))
      const reply = await pair.a.call(pair.b.self, echo, { text: 'hello' })
      expect(reply.head).toEqual({ text: 'hello', from: pair.a.self, fromClient: false })
      expect(await countBytes(reply.body)).toBe(0)
      const toClient = await pair.client.call(pair.b.self, echo, { text: 'hi' })
      expect(toClient.head).toEqual({ text: 'hi', from: pair.client.self, fromClient: true })
    })

    test('a peer can call a client that is connected to it', async () => {
      await using pair = await open()
      pair.b.handle(note, () => undefined)
      pair.client.handle(echo, ({ head, from, fromClient }) => ({ text: head.text, from, fromClient }))
      await pair.client.call(pair.b.self, note, { n: 1 })
      const reply = await pair.b.call(pair.client.self, echo, { text: 'back' })
      expect(reply.head).toEqual({ text: 'back', from: pair.b.self, fromClient: false })
    })

    test('a call to oneself goes through the same checks', async () => {
      await using pair = await open()
      pair.a.handle(echo, ({ head, from, fromClient }) => ({ text: head.text, from, fromClient }))
      const reply = await pair.a.call(pair.a.self, echo, { text: 'me' })
      expect(reply.head.from).toBe(pair.a.self)
      // @ts-expect-error the head is wrong on purpose
      const refusal = await refusalOf(pair.a.call(pair.a.self, echo, { text: 7 }))
      expect(refusal.code).toBe('BAD_MESSAGE')
    })

    test('a head that does not fit is refused before the handler sees it', async () => {
      await using pair = await open()
      let handled = 0
      pair.b.handle(echo, ({ head, from, fromClient }) => {
        handled++
        return { text: head.text, from, fromClient }
      })
      // @ts-expect-error the head is wrong on purpose
      const refusal = await refusalOf(pair.a.call(pair.b.self, echo, { text: 7 }))
      expect(refusal.code).toBe('BAD_MESSAGE')
      expect(handled).toBe(0)
      await pair.a.call(pair.b.self, echo, { text: 'still talking' })
    })

    test('a reply that does not fit is refused at the caller', async () => {
      await using pair = await open()
      // @ts-expect-error the reply is wrong on purpose
      pair.b.handle(sink, () => ({ bytes: 'many' }))
      const refusal = await refusalOf(pair.a.call(pair.b.self, sink, {}))
      expect(refusal.code).toBe('BAD_MESSAGE')
    })

    test('unknown fields are dropped', async () => {
      await using pair = await open()
      let seen: object = {}
      pair.b.handle(note, ({ head }) => {
        seen = head
      })
      const head = { n: 1, fromTheFuture: true }
      await pair.a.call(pair.b.self, note, head)
      expect(seen).toEqual({ n: 1 })
    })

    test('an unknown type is refused', async () => {
      await using pair = await open()
      const refusal = await refusalOf(pair.a.call(pair.b.self, sink, {}))
      expect(refusal.code).toBe('UNKNOWN_MESSAGE')
    })

    test('a client may not send what is for peers', async () => {
      await using pair = await open()
      pair.b.handle(peersOnly, () => ({}))
      await pair.a.call(pair.b.self, peersOnly, {})
      const refusal = await refusalOf(pair.client.call(pair.b.self, peersOnly, {}))
      expect(refusal.code).toBe('NOT_ADMITTED')
    })

    test("a handler's coded error crosses with its details, any other as INTERNAL", async () => {
      await using pair = await open()
      pair.b.handle(sink, () => {
        throw new ShoalError('NOT_FOUND', { path: '/x' }, 'no /x')
      })
      const coded = await refusalOf(pair.a.call(pair.b.self, sink, {}))
      expect(hasCode(coded, 'NOT_FOUND') && coded.details.path).toBe('/x')
      pair.b.handle(note, () => Promise.reject(new TypeError('slip')))
      const plain = await refusalOf(pair.a.call(pair.b.self, note, { n: 1 }))
      expect(plain.code).toBe('INTERNAL')
      expect(plain.message).toContain('slip')
    })

    test('a one-way message arrives, in order', async () => {
      await using pair = await open()
      const seen: number[] = []
      pair.b.handle(note, ({ head }) => {
        seen.push(head.n)
      })
      for (let n = 0; n < 50; n++) pair.a.send(pair.b.self, note, { n })
      await until(() => seen.length === 50)
      expect(seen).toEqual(Array.from({ length: 50 }, (_, n) => n))
    })

    test('bodies stream both ways at once, whole', async () => {
      await using pair = await open()
      pair.b.handle(source, ({ body }) => Promise.resolve({ head: {}, body }))
      let next = 0
      const reply = await pair.a.call(
        pair.b.self,
        source,
        { chunks: 0, chunkBytes: 0 },
        { body: chunksOf(100, 100_000) },
      )
      let position = 0
      for await (const chunk of reply.body) {
        for (let i = 0; i < chunk.byteLength; i += 997) {
          next = Math.floor((position + i) / 100_000)
          if (chunk[i] !== next) throw new Error(`byte ${position + i} is ${chunk[i]}, not ${next}`)
        }
        position += chunk.byteLength
      }
      expect(position).toBe(10_000_000)
    })

    test('a slow reader holds the source back', async () => {
      await using pair = await open()
      let made = 0
      pair.b.handle(source, ({ head }) =>
        Promise.resolve({
          head: {},
          body: chunksOf(head.chunks, head.chunkBytes, i => {
            made = i + 1
          }),
        }),
      )
      const reply = await pair.a.call(pair.b.self, source, { chunks: 300, chunkBytes: 100_000 })
      const iterator = reply.body[Symbol.asyncIterator]()
      await iterator.next()
      let before = -1
      await until(() => {
        const still = before === made
        before = made
        return still
      })
      // Window and buffers under way: a few MiB of the 30 MB.
      expect(made).toBeLessThan(100)
      let bytes = 0
      for (let step = await iterator.next(); step.done !== true; step = await iterator.next()) {
        bytes += step.value.byteLength
      }
      expect(bytes).toBeGreaterThan(29_000_000)
    })

    test("an error in a request body's source reaches the handler", async () => {
      await using pair = await open()
      pair.b.handle(sink, async ({ body }) => ({ bytes: await countBytes(body) }))
      const body = (async function* () {
        yield new Uint8Array(10)
        throw new ShoalError('NOT_FOUND', { path: '/half' }, 'gone half-way')
      })()
      const refusal = await refusalOf(pair.a.call(pair.b.self, sink, {}, { body }))
      expect(refusal.code).toBe('NOT_FOUND')
    })

    test("an error in a reply body's source reaches the reader", async () => {
      await using pair = await open()
      pair.b.handle(source, () =>
        Promise.resolve({
          head: {},
          body: (async function* () {
            yield new Uint8Array(200_000)
            throw new ShoalError('NOT_FOUND', { path: '/half' }, 'gone half-way')
          })(),
        }),
      )
      const reply = await pair.a.call(pair.b.self, source, { chunks: 1, chunkBytes: 1 })
      expect((await refusalOf(countBytes(reply.body))).code).toBe('NOT_FOUND')
    })

    test('leaving the body early stops its source', async () => {
      await using pair = await open()
      let stopped = false
      pair.b.handle(source, () =>
        Promise.resolve({
          head: {},
          body: (async function* () {
            try {
              while (true) yield new Uint8Array(100_000)
            } finally {
              stopped = true
            }
          })(),
        }),
      )
      const reply = await pair.a.call(pair.b.self, source, { chunks: 1, chunkBytes: 1 })
      for await (const chunk of reply.body) {
        expect(chunk.byteLength).toBeGreaterThan(0)
        break
      }
      await until(() => stopped)
    })

    test("the caller's signal rejects the call and aborts the handler's signal", async () => {
      await using pair = await open()
      let aborted = false
      let started = false
      pair.b.handle(note, ({ signal }) => {
        started = true
        return new Promise<void>((_, reject) => {
          signal.addEventListener('abort', () => {
            aborted = true
            reject(signal.reason as Error)
          })
        })
      })
      const controller = new AbortController()
      const call = refusalOf(pair.a.call(pair.b.self, note, { n: 1 }, { signal: controller.signal }))
      await until(() => started)
      controller.abort()
      expect((await call).code).toBe('CANCELLED')
      await until(() => aborted)
    })

    test('a call past its deadline rejects with TIMEOUT and aborts the handler', async () => {
      await using pair = await open()
      let aborted = false
      pair.b.handle(sink, () => ({ bytes: 0 }))
      // Connected first: a dial may take longer than the deadline below.
      await pair.a.call(pair.b.self, sink, {})
      pair.b.handle(note, async ({ signal }) => {
        await new Promise(resolve => {
          signal.addEventListener('abort', resolve)
        })
        aborted = true
      })
      const refusal = await refusalOf(pair.a.call(pair.b.self, note, { n: 1 }, { timeoutMs: 50 }))
      expect(refusal.code).toBe('TIMEOUT')
      await until(() => aborted)
    })

    test('a killed peer makes calls and bodies under way throw CONNECTION_LOST', async () => {
      await using pair = await open()
      const states: string[] = []
      pair.a.onConnection((peer, state) => {
        if (peer === pair.b.self) states.push(state)
      })
      let waiting = false
      pair.b.handle(note, () => {
        waiting = true
        return new Promise<void>(() => undefined)
      })
      pair.b.handle(source, () =>
        Promise.resolve({
          head: {},
          body: (async function* () {
            yield new Uint8Array(200_000)
            await new Promise(() => undefined)
          })(),
        }),
      )
      const reply = await pair.a.call(pair.b.self, source, { chunks: 1, chunkBytes: 1 })
      const reading = refusalOf(countBytes(reply.body))
      const calling = refusalOf(pair.a.call(pair.b.self, note, { n: 1 }))
      await until(() => waiting)
      await pair.killB()
      expect((await calling).code).toBe('CONNECTION_LOST')
      expect((await reading).code).toBe('CONNECTION_LOST')
      await until(() => states.at(-1) === 'closed')
      expect((await refusalOf(pair.a.call(pair.b.self, note, { n: 2 }))).code).toBe('UNREACHABLE')
    })

    test('gossip reaches the other peers under its author, not its author', async () => {
      await using pair = await open()
      const heard: string[] = []
      const atAuthor: string[] = []
      pair.a.subscribe('test/topic', (_, data) => atAuthor.push(Buffer.from(data).toString()))
      pair.b.subscribe('test/topic', (from: PeerId, data) =>
        heard.push(`${from} ${Buffer.from(data).toString()}`),
      )
      let tries = 0
      await until(() => {
        // The overlay forms within a heartbeat; gossip may be lost before that.
        if (tries++ % 20 === 0) pair.a.publish('test/topic', Buffer.from('news'))
        return heard.length > 0
      })
      expect(heard[0]).toBe(`${pair.a.self} news`)
      expect(atAuthor).toEqual([])
    })
  })
}
