import { createHash, randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bodyOf, ShoalError } from '../../../../src/base/index.ts'
import { BodyBudget } from '../../../../src/node/net/body-budget.ts'
import { BODY_WINDOW_BYTES, CHANNEL_LIMITS } from '../../../../src/node/net/config.ts'
import type { ChannelLimits } from '../../../../src/node/net/config.ts'
import type { RawAnswer } from '../../../../src/node/net/dispatcher.ts'
import { FrameChannel } from '../../../../src/node/net/frame-channel.ts'
import type { ChannelRequest } from '../../../../src/node/net/inbound-requests.ts'
import type { ChannelCallOptions } from '../../../../src/node/net/outbound-requests.ts'
import {
  encodeFrame,
  encodeHeader,
  encodeReply,
  encodeRequest,
  FRAME,
} from '../../../../src/node/net/frame-codec.ts'
import { decodeError } from '../../../../src/node/net/wire-error.ts'
import { MemoryPort } from '../../../support/duplex-pair.ts'
import type { DuplexPairOptions } from '../../../support/duplex-pair.ts'

const MIB = 1 << 20
type Answer = (request: ChannelRequest) => Promise<RawAnswer> | RawAnswer

function budgets(bodiesMax = 64) {
  const one = () => new BodyBudget({ bodiesMax, bytesMax: 16 * MIB })
  return { ingress: one(), replica: one(), fetch: one(), result: one() }
}

interface End {
  channel: FrameChannel
  port: MemoryPort
  budgets: ReturnType<typeof budgets>
  notes: string[]
  closed: Promise<Error | undefined>
}

function end(
  port: MemoryPort,
  dialler: boolean,
  answer: Answer,
  limits: Partial<ChannelLimits>,
  bodiesMax?: number,
): End {
  const notes: string[] = []
  const own = budgets(bodiesMax)
  const closed = Promise.withResolvers<Error | undefined>()
  const channel = new FrameChannel({
    port,
    dialler,
    remote: dialler ? 'listener' : 'dialler',
    hello: Buffer.from('hello'),
    onHello: payload => {
      if (Buffer.from(payload).toString() !== 'hello')
        throw new ShoalError('MESH_MISMATCH', { mine: 'a', theirs: 'b' })
    },
    onRequest: async request => answer(request),
    onNote: (type, head) => {
      notes.push(`${type} ${Buffer.from(head).toString()}`)
      return Promise.resolve()
    },
    classOf: () => 'fetch',
    budgets: own,
    limits: { ...CHANNEL_LIMITS, ...limits },
    onClose: reason => closed.resolve(reason),
  })
  return { channel, port, budgets: own, notes, closed: closed.promise }
}

interface PairOptions extends DuplexPairOptions {
  limits?: Partial<ChannelLimits>
  bodiesMax?: number
  /** What the dialler answers; the listener's is given apart. */
  dialler?: Answer
}

async function pair(answer: Answer, options: PairOptions = {}): Promise<{ a: End; b: End }> {
  const { limits = {}, bodiesMax, dialler = echo, ...duplex } = options
  const [portA, portB] = MemoryPort.pair(duplex)
  const a = end(portA, true, dialler, limits, bodiesMax)
  const b = end(portB, false, answer, limits, bodiesMax)
  await Promise.all([a.channel.opened, b.channel.opened])
  return { a, b }
}

const echo: Answer = request => ({ head: request.head })
const HEAD = Buffer.from('head')

function call(from: End, body?: AsyncIterable<Uint8Array>, options: Partial<ChannelCallOptions> = {}) {
  return from.channel.call('test', HEAD, { bodyClass: 'fetch', timeoutMs: 10_000, body, ...options })
}

async function readAll(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function* cutUp(bytes: Uint8Array, chunkBytes: number) {
  for (let at = 0; at < bytes.byteLength; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes)
}

async function* endless(onChunk: () => void, onStop: () => void, chunkBytes = 100_000) {
  try {
    while (true) {
      onChunk()
      yield new Uint8Array(chunkBytes)
    }
  } finally {
    onStop()
  }
}

async function until(condition: () => boolean, timeoutMs = 5_000): Promise<void> {
  const endMs = performance.now() + timeoutMs
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`not so after ${timeoutMs} ms: ${condition.toString()}`)
    await new Promise(setImmediate)
  }
}

/** Several turns of the event loop without anything changing. */
async function settled(value: () => number): Promise<number> {
  let last = -1
  for (let same = 0; same < 20;) {
    await new Promise(setImmediate)
    same = value() === last ? same + 1 : 0
    last = value()
  }
  return last
}

const coded = (code: string) => expect.objectContaining({ code })

/** Nothing may be left over at either end. */
function expectNothingLeft(...ends: End[]): void {
  for (const { channel, budgets } of ends) {
    expect(channel.exchanges).toBe(0)
    for (const budget of Object.values(budgets)) {
      expect(budget.bodies).toBe(0)
      expect(budget.grantedBytes).toBe(0)
    }
  }
}

describe('frame channel', () => {
  test('bodies come back byte for byte, however both streams are cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 600_000 }),
        fc.integer({ min: 200, max: 300_000 }),
        fc.integer({ min: 50, max: 300_000 }),
        fc.integer({ min: 1_000, max: 500_000 }),
        async (bodyBytes, sourceChunk, chunkBytesMax, highWaterBytes) => {
          const { a, b } = await pair(({ head, body }) => ({ head, body }), { chunkBytesMax, highWaterBytes })
          const bytes = randomBytes(bodyBytes)
          const reply = await call(a, cutUp(bytes, sourceChunk))
          expect(Buffer.compare(await readAll(reply.body), bytes)).toBe(0)
          await until(() => b.channel.exchanges === 0)
          expectNothingLeft(a, b)
          a.channel.close()
        },
      ),
      { numRuns: 25 },
    )
  })

  test('both ends ask at once without mixing anything up', async () => {
    const { a, b } = await pair(({ head, body }) => ({ head, body }), {
      dialler: ({ head, body }) => ({ head, body }),
    })
    const bodies = Array.from({ length: 12 }, (_, i) => randomBytes(50_000 * i))
    const digests = await Promise.all(
      bodies.flatMap(bytes =>
        [a, b].map(async from => {
          const reply = await call(from, cutUp(bytes, 70_000))
          return Buffer.compare(await readAll(reply.body), bytes)
        }),
      ),
    )
    expect(digests).toEqual(Array.from({ length: 24 }, () => 0))
    await until(() => a.channel.exchanges + b.channel.exchanges === 0)
    expectNothingLeft(a, b)
  })

  test('a small body at hand rides in the frame of its head', async () => {
    const { a, b } = await pair(async ({ head, body }) => ({ head, body: bodyOf(await readAll(body)) }))
    const before = a.port.sentBytes
    const reply = await call(a, bodyOf(Buffer.alloc(1000, 7), Buffer.alloc(24, 8)))
    expect(
      Buffer.compare(await readAll(reply.body), Buffer.concat([Buffer.alloc(1000, 7), Buffer.alloc(24, 8)])),
    ).toBe(0)
    // One frame, nothing else: header, fixed part, name, head, body.
    expect(a.port.sentBytes - before).toBe(9 + 6 + 4 + HEAD.byteLength + 1024)
    expectNothingLeft(a, b)
  })

  test('nobody is sent more than the credit: a reader that does not read holds the source back', async () => {
    let chunks = 0
    const { a, b } = await pair(({ head }) => ({
      head,
      body: endless(
        () => chunks++,
        () => {},
      ),
    }))
    const reply = await call(a)
    const sent = (await settled(() => chunks)) * 100_000
    expect(sent).toBeGreaterThanOrEqual(BODY_WINDOW_BYTES)
    expect(sent).toBeLessThan(BODY_WINDOW_BYTES + 300_000)
    const iterator = reply.body[Symbol.asyncIterator]()
    for (let taken = 0; taken < BODY_WINDOW_BYTES;) taken += (await iterator.next()).value!.byteLength
    // It goes on as the reader reads.
    expect(await settled(() => chunks)).toBeGreaterThan((2 * BODY_WINDOW_BYTES) / 100_000 - 8)
    await iterator.return?.()
    await until(() => b.channel.exchanges === 0)
    expectNothingLeft(a, b)
  })

  test('a port that is full is not sent more bodies and heads', async () => {
    const { a, b } = await pair(async ({ head, body }) => ({ head, body: bodyOf(await readAll(body)) }), {
      highWaterBytes: 200_000,
    })
    a.port.frozen = true
    const head = Buffer.alloc(50_000)
    const calls = Array.from({ length: 40 }, () =>
      a.channel.call('test', head, {
        bodyClass: 'fetch',
        timeoutMs: 5_000,
        body: cutUp(Buffer.alloc(500_000), 50_000),
      }),
    )
    await settled(() => a.port.sentBytes)
    expect(a.port.queuedBytesMax).toBeLessThan(400_000)
    a.port.thaw()
    for (const reply of await Promise.all(calls)) expect((await readAll(reply.body)).byteLength).toBe(500_000)
    await until(() => b.channel.exchanges === 0)
    expectNothingLeft(a, b)
  })

  test('more bodies than the budget allows wait for their turn', async () => {
    const { a, b } = await pair(({ head }) => ({ head, body: cutUp(Buffer.alloc(300_000), 100_000) }), {
      bodiesMax: 2,
    })
    const replies = await Promise.all(Array.from({ length: 5 }, () => call(a)))
    await settled(() => b.port.sentBytes)
    expect(a.budgets.fetch.bodies).toBe(2)
    // Read last to first would stall on the waiting ones, so at once.
    const sizes = await Promise.all(replies.map(async reply => (await readAll(reply.body)).byteLength))
    expect(sizes).toEqual(Array.from({ length: 5 }, () => 300_000))
    await until(() => b.channel.exchanges === 0)
    expectNothingLeft(a, b)
  })

  test('bodies of one class do not take the place of another', async () => {
    const { a } = await pair(({ head }) => ({ head, body: cutUp(Buffer.alloc(300_000), 100_000) }), {
      bodiesMax: 1,
    })
    await call(a, undefined, { bodyClass: 'ingress' })
    const leaf = await call(a, undefined, { bodyClass: 'replica' })
    expect((await readAll(leaf.body)).byteLength).toBe(300_000)
  })

  test('an error in the source reaches the reader with its code, never as an end', async () => {
    const broken = async function* () {
      yield new Uint8Array(300_000)
      throw new ShoalError('CORRUPT_REPLICA', { block: 'b', peer: 'p' })
    }
    const { a, b } = await pair(async ({ head, body }) => {
      await readAll(body)
      return { head }
    })
    await expect(call(a, broken())).rejects.toEqual(coded('CORRUPT_REPLICA'))
    expectNothingLeft(a, b)
    const other = await pair(({ head }) => ({ head, body: broken() }))
    const reply = await call(other.a)
    await expect(readAll(reply.body)).rejects.toEqual(coded('CORRUPT_REPLICA'))
    expectNothingLeft(other.a, other.b)
  })

  test('leaving a body early stops its source and frees its credit', async () => {
    let stopped = false
    const { a, b } = await pair(({ head }) => ({
      head,
      body: endless(
        () => {},
        () => (stopped = true),
      ),
    }))
    const reply = await call(a)
    for await (const chunk of reply.body) if (chunk.byteLength > 0) break
    await until(() => stopped)
    expectNothingLeft(a, b)
  })

  test('a handler that answers without reading the body stops the sender', async () => {
    let stopped = false
    const { a, b } = await pair(echo)
    await call(
      a,
      endless(
        () => {},
        () => (stopped = true),
      ),
    )
    await until(() => stopped)
    expectNothingLeft(a, b)
  })

  test('a body that nobody reads fails after the idle limit and leaks nothing', async () => {
    let stopped = false
    const { a, b } = await pair(
      ({ head }) => ({
        head,
        body: endless(
          () => {},
          () => (stopped = true),
        ),
      }),
      { limits: { bodyIdleTimeoutMs: 60 } },
    )
    const reply = await call(a)
    await until(() => stopped)
    await expect(readAll(reply.body)).rejects.toEqual(coded('TIMEOUT'))
    expectNothingLeft(a, b)
  })

  test('a source that stalls fails the waiting reader after the idle limit', async () => {
    const { a, b } = await pair(
      ({ head, signal }) => ({
        head,
        body: (async function* () {
          yield new Uint8Array(200_000)
          await new Promise(resolve => {
            signal.addEventListener('abort', resolve)
          })
        })(),
      }),
      { limits: { bodyIdleTimeoutMs: 60 } },
    )
    const reply = await call(a)
    await expect(readAll(reply.body)).rejects.toEqual(coded('TIMEOUT'))
    await until(() => b.channel.exchanges === 0)
    expectNothingLeft(a, b)
  })

  test("the caller's signal aborts the handler's, before and after the reply", async () => {
    const aborted: unknown[] = []
    const { a, b } = await pair(({ head, signal }) => {
      signal.addEventListener('abort', () => aborted.push(signal.reason))
      return {
        head,
        body: endless(
          () => {},
          () => {},
        ),
      }
    })
    const controller = new AbortController()
    const reply = await call(a, undefined, { signal: controller.signal })
    controller.abort()
    await expect(readAll(reply.body)).rejects.toEqual(coded('CANCELLED'))
    await until(() => aborted.length === 1)
    expect(aborted[0]).toEqual(coded('CANCELLED'))
    expectNothingLeft(a, b)
    await expect(call(a, undefined, { signal: controller.signal })).rejects.toEqual(coded('CANCELLED'))
  })

  test('a call past its deadline rejects with TIMEOUT; the late reply does no harm', async () => {
    const late = Promise.withResolvers<RawAnswer>()
    const { a, b } = await pair(() => late.promise)
    await expect(call(a, undefined, { timeoutMs: 30 })).rejects.toEqual(coded('TIMEOUT'))
    await until(() => b.channel.exchanges === 0)
    late.resolve({ head: HEAD })
    await settled(() => b.port.sentBytes)
    expect(a.channel.open).toBe(true)
    expectNothingLeft(a, b)
  })

  test('requests over the limit are refused with BUSY, and the others are served', async () => {
    const gate = Promise.withResolvers<void>()
    const [portA, portB] = MemoryPort.pair()
    const a = end(portA, true, echo, {})
    const b = end(
      portB,
      false,
      async ({ head }) => {
        await gate.promise
        return { head }
      },
      { requestsMax: 3 },
    )
    const calls = Promise.allSettled(Array.from({ length: 5 }, () => call(a)))
    await until(() => b.channel.exchanges === 3)
    await settled(() => b.port.sentBytes)
    gate.resolve()
    const outcomes = (await calls).map(outcome =>
      outcome.status === 'rejected' ? outcome.reason : undefined,
    )
    expect(outcomes).toEqual([undefined, undefined, undefined, coded('BUSY'), coded('BUSY')])
    expectNothingLeft(a, b)
  })

  test('giving calls up does not let a remote run more handlers than allowed', async () => {
    let running = 0
    const { a, b } = await pair(
      () => {
        running++
        return new Promise(() => undefined)
      },
      { limits: { requestsMax: 3 } },
    )
    for (let i = 0; i < 3; i++) {
      const controller = new AbortController()
      const given = expect(call(a, undefined, { signal: controller.signal })).rejects.toEqual(
        coded('CANCELLED'),
      )
      await until(() => running === i + 1)
      controller.abort()
      await given
    }
    await expect(call(a)).rejects.toEqual(coded('BUSY'))
    expect(running).toBe(3)
    expectNothingLeft(a, b)
  })

  test('a head over the limit is refused where it is sent, in both directions', async () => {
    const { a, b } = await pair(() => ({ head: Buffer.alloc(2000) }), { limits: { headBytesMax: 1000 } })
    const big = a.channel.call('test', Buffer.alloc(1001), { bodyClass: 'fetch', timeoutMs: 1000 })
    await expect(big).rejects.toEqual(coded('TOO_LARGE'))
    await expect(call(a)).rejects.toEqual(coded('TOO_LARGE'))
    expect(() => a.channel.note('test', Buffer.alloc(1001))).toThrow(coded('TOO_LARGE'))
    expectNothingLeft(a, b)
  })

  test('what a handler throws crosses with code, details and cause; even what cannot be packed', async () => {
    const { a } = await pair(() => {
      throw new ShoalError('NOT_FOUND', { path: '/x' }, 'no', {
        cause: new ShoalError('BUSY', { what: 'disk', limit: 1 }),
      })
    })
    await expect(call(a)).rejects.toMatchObject({
      code: 'NOT_FOUND',
      details: { path: '/x' },
      cause: { code: 'BUSY' },
    })
    const huge = await pair(() => {
      throw new Error('x'.repeat(1_000_000))
    })
    await expect(call(huge.a)).rejects.toEqual(coded('INTERNAL'))
    expectNothingLeft(huge.a, huge.b)
  })

  test('a killed remote makes calls and bodies throw CONNECTION_LOST, never end', async () => {
    const aborted: unknown[] = []
    const { a, b } = await pair(({ head, signal, body }) => {
      signal.addEventListener('abort', () => aborted.push(signal.reason))
      readAll(body).catch((error: unknown) => aborted.push(error))
      return {
        head,
        body: endless(
          () => {},
          () => {},
        ),
      }
    })
    const never = endless(
      () => {},
      () => {},
    )
    const reply = await call(a, never)
    const reading = readAll(reply.body)
    b.port.cut()
    await expect(reading).rejects.toEqual(coded('CONNECTION_LOST'))
    await expect(call(a)).rejects.toEqual(coded('CONNECTION_LOST'))
    await until(() => aborted.length === 2)
    expect(aborted).toEqual([coded('CONNECTION_LOST'), coded('CONNECTION_LOST')])
    expectNothingLeft(a, b)
  })

  test('a remote that falls silent while something is under way is given up; an idle one is not', async () => {
    const limits = { pingIntervalMs: 20, idleLimitMs: 150 }
    const { a, b } = await pair(() => new Promise<RawAnswer>(() => undefined), { limits })
    const controller = new AbortController()
    const answered = expect(call(a, undefined, { signal: controller.signal })).rejects.toEqual(
      coded('CANCELLED'),
    )
    // Pings are answered meanwhile: the silence of the handler alone is no fault.
    await new Promise(resolve => {
      setTimeout(resolve, 400)
    })
    expect(a.channel.open).toBe(true)
    controller.abort()
    await answered
    const lost = expect(call(a)).rejects.toEqual(coded('CONNECTION_LOST'))
    b.port.frozen = true
    await lost
    expect(await a.closed).toEqual(coded('TIMEOUT'))
    expect(a.port.closed).toBe(true)
  })

  test('one-way messages arrive in order, and are dropped, not queued without end, when the remote is stuck', async () => {
    const { a, b } = await pair(echo, { limits: { notesMax: 10 }, highWaterBytes: 1000 })
    a.port.frozen = true
    const taken = Array.from({ length: 300 }, (_, i) =>
      a.channel.note('n', Buffer.from(`${i} ${'x'.repeat(100)}`)),
    )
    // A batch of 16 KiB is gathered before the port is asked, and ten wait after it said no.
    expect(taken.filter(Boolean).length).toBeLessThan(160)
    expect(taken.at(-1)).toBe(false)
    a.port.thaw()
    await until(() => b.notes.length > 0)
    await settled(() => b.notes.length)
    // Of what comes together the remote drops what is over its own limit.
    const arrived = b.notes.map(note => Number(note.split(' ')[1]))
    expect(arrived.slice(0, 10)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(arrived).toEqual(arrived.toSorted((one, other) => one - other))
    expect(a.channel.note('n', Buffer.from('again'))).toBe(true)
  })

  test('a burst that comes in one read is handled whole up to twice notesMax, in order', async () => {
    const { a, b } = await pair(echo, { limits: { notesMax: 10 } })
    a.port.frozen = true
    for (let i = 0; i < 20; i++) expect(a.channel.note('n', Buffer.from(`${i}`))).toBe(true)
    await new Promise(resolve => {
      setImmediate(resolve)
    })
    a.port.thaw()
    await until(() => b.notes.length === 20)
    expect(b.notes).toEqual(Array.from({ length: 20 }, (_, i) => `n ${i}`))
  })

  test('small messages of one turn of the event loop go out in one write, in order', async () => {
    const { a, b } = await pair(echo)
    let writes = 0
    const send = a.port.send.bind(a.port)
    a.port.send = bytes => {
      writes += 1
      return send(bytes)
    }
    for (let i = 0; i < 20; i++) a.channel.note('n', Buffer.from(`${i}`))
    await until(() => b.notes.length === 20)
    expect(b.notes.map(note => note.split(' ')[1])).toEqual(b.notes.map((_, i) => String(i)))
    expect(writes).toBe(1)
  })

  test('one-way messages go out although no more calls may', async () => {
    const gate = Promise.withResolvers<void>()
    const { a, b } = await pair(
      async ({ head }) => {
        await gate.promise
        return { head }
      },
      { limits: { requestsMax: 1 } },
    )
    const first = call(a)
    await expect(call(a)).rejects.toEqual(coded('BUSY'))
    expect(a.channel.note('n', HEAD)).toBe(true)
    await until(() => b.notes.length === 1)
    gate.resolve()
    await first
    expectNothingLeft(a, b)
  })

  test('a hello that is refused closes both ends with the same reason', async () => {
    const [portA, portB] = MemoryPort.pair()
    const a = end(portA, true, echo, {})
    portB.onBytes(() => {})
    portB.send(encodeFrame(FRAME.hello, 0, Buffer.from('another mesh')))
    await expect(a.channel.opened).rejects.toEqual(coded('MESH_MISMATCH'))
    expect(await a.closed).toEqual(coded('MESH_MISMATCH'))

    const [portC, portD] = MemoryPort.pair()
    const c = end(portC, true, echo, {})
    portD.send(encodeFrame(FRAME.refuse, 0, Buffer.from('not a wire error')))
    await expect(c.channel.opened).rejects.toEqual(coded('BAD_MESSAGE'))
  })

  test('a remote that never says hello is given up', async () => {
    const [portA] = MemoryPort.pair()
    const a = end(portA, true, echo, { helloTimeoutMs: 30 })
    await expect(a.channel.opened).rejects.toEqual(coded('TIMEOUT'))
    expect(portA.closed).toBe(true)
  })

  const hello = encodeFrame(FRAME.hello, 0, Buffer.from('hello'))
  const request = (id: number) => encodeRequest(FRAME.request, id, 'x', HEAD, [], true)
  test.each<[string, Uint8Array[]]>([
    ['speaks before its hello', [request(2)]],
    ['says hello twice', [hello, hello]],
    ['uses our request ids', [hello, request(1)]],
    ['uses an id that is in use', [hello, request(2), request(2)]],
    ['answers what was not asked by us', [hello, encodeReply(2, HEAD, [], false)]],
    [
      'sends bytes without credit',
      [hello, request(2), encodeHeader(FRAME.data, 2, 200_000), Buffer.alloc(200_000)],
    ],
    [
      'sends a one-way message with a body',
      [hello, encodeRequest(FRAME.note, 0, 'x', HEAD, [Buffer.from('b')], false)],
    ],
    ['sends no frames', [Buffer.from('GET / HTTP/1.1\r\n\r\n')]],
  ])('a remote that %s is refused with BAD_MESSAGE or TOO_LARGE, and not heard any more', async (_, sent) => {
    const [portA, portB] = MemoryPort.pair()
    // The budget is taken, so that no body has credit.
    const a = end(portA, true, () => new Promise(() => undefined), {}, 1)
    a.budgets.fetch.admit(() => undefined)
    const received: Uint8Array[] = []
    portB.onBytes(bytes => received.push(bytes))
    for (const bytes of sent) portB.send(bytes)
    const reason = await a.closed
    expect(reason).toBeInstanceOf(ShoalError)
    expect(['BAD_MESSAGE', 'TOO_LARGE']).toContain((reason as ShoalError).code)
    expect(a.channel.exchanges).toBe(0)
    expect(portA.closed).toBe(true)
    // It is told why.
    await until(() => portB.closed)
    const last = received.at(-1)!
    expect(last[8]).toBe(FRAME.refuse)
    expect(decodeError(last.subarray(9)).code).toBe((reason as ShoalError).code)
  })

  test('any bytes after the hello neither throw nor leave anything behind', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            kind: fc.integer({ min: 1, max: 12 }),
            id: fc.integer({ min: 0, max: 6 }),
            payload: fc.uint8Array({ maxLength: 40 }),
          }),
          { maxLength: 30 },
        ),
        async frames => {
          const [portA, portB] = MemoryPort.pair()
          const a = end(portA, true, ({ head, body }) => ({ head, body }), {})
          portB.send(hello)
          for (const { kind, id, payload } of frames) {
            portB.send(Buffer.concat([encodeHeader(kind as 1, id, payload.byteLength), payload]))
          }
          await settled(() => portA.sentBytes)
          portB.cut()
          await a.closed
          expectNothingLeft(a)
        },
      ),
      { numRuns: 150 },
    )
  })

  test('a remote that makes us answer and reads nothing is given up', async () => {
    const [portA, portB] = MemoryPort.pair()
    const a = end(portA, true, echo, { outboundBytesMax: 10_000 })
    portB.send(hello)
    portA.frozen = true
    for (let i = 0; i < 3_000; i++) portB.send(encodeFrame(FRAME.ping, 0))
    expect(await a.closed).toEqual(coded('TOO_LARGE'))
    expect(portA.closed).toBe(true)
  })

  test('64 MiB each way at once are whole', async () => {
    const { a, b } = await pair(({ head, body }) => ({ head, body }))
    const piece = randomBytes(1 << 20)
    const sent = createHash('sha256')
    const source = (async function* () {
      for (let i = 0; i < 64; i++) {
        sent.update(piece)
        yield piece
      }
    })()
    const reply = await call(a, source)
    const received = createHash('sha256')
    for await (const chunk of reply.body) received.update(chunk)
    expect(received.digest('hex')).toBe(sent.digest('hex'))
    await until(() => b.channel.exchanges === 0)
    expectNothingLeft(a, b)
  })
})
