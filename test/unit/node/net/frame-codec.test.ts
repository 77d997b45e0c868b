import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { hasCode, ShoalError } from '../../../../src/base/index.ts'
import { CHANNEL_LIMITS } from '../../../../src/node/net/config.ts'
import {
  decodeReply,
  decodeRequest,
  encodeFrame,
  encodeReply,
  encodeRequest,
  FRAME,
  FrameParser,
} from '../../../../src/node/net/frame-codec.ts'
import type { FrameKind } from '../../../../src/node/net/frame-codec.ts'

interface Seen {
  kind: FrameKind
  id: number
  payload: string
}

/** All frames of some chunks; pieces of one DATA frame's payload are joined again. */
function parse(chunks: Iterable<Uint8Array>): Seen[] {
  const seen: Seen[] = []
  const parser = new FrameParser(CHANNEL_LIMITS, {
    onFrame: (kind, id, payload) => seen.push({ kind, id, payload: Buffer.from(payload).toString('hex') }),
    onData: (id, bytes) => {
      expect(bytes.byteLength).toBeGreaterThan(0)
      const hex = Buffer.from(bytes).toString('hex')
      const last = seen.at(-1)
      if (last?.kind === FRAME.data && last.id === id) last.payload += hex
      else seen.push({ kind: FRAME.data, id, payload: hex })
    },
  })
  for (const chunk of chunks) parser.push(chunk)
  return seen
}

const anyId = fc.integer({ min: 0, max: 0xffff_ffff })
const bytes = (min: number, max: number) => fc.uint8Array({ minLength: min, maxLength: max })
const anyFrame = fc.oneof(
  fc.record({ kind: fc.constant(FRAME.hello), id: anyId, payload: bytes(0, 300) }),
  fc.record({ kind: fc.constantFrom(FRAME.error, FRAME.refuse), id: anyId, payload: bytes(0, 300) }),
  fc.record({
    kind: fc.constantFrom(FRAME.request, FRAME.note, FRAME.reply),
    id: anyId,
    payload: bytes(6, 300),
  }),
  fc.record({ kind: fc.constant(FRAME.data), id: anyId, payload: bytes(1, 300) }),
  fc.record({ kind: fc.constant(FRAME.credit), id: anyId, payload: bytes(4, 4) }),
  fc.record({
    kind: fc.constantFrom(FRAME.end, FRAME.cancel, FRAME.ping, FRAME.pong),
    id: anyId,
    payload: bytes(0, 0),
  }),
)

function cut(whole: Uint8Array, sizes: number[]): Uint8Array[] {
  const chunks: Uint8Array[] = []
  let at = 0
  for (let i = 0; at < whole.byteLength; i++) {
    const size = sizes[i % sizes.length]!
    chunks.push(whole.subarray(at, at + size))
    at += size
  }
  return chunks
}

describe('frame codec', () => {
  test('any cutting of the bytes gives the same frames', () => {
    fc.assert(
      fc.property(
        fc.array(anyFrame, { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 }),
        (frames, sizes) => {
          // Neighbouring DATA frames of one id cannot be told apart, and need not be.
          const distinct = frames.filter(
            (frame, i) => frame.kind !== FRAME.data || frames[i - 1]?.kind !== FRAME.data,
          )
          const whole = Buffer.concat(distinct.map(({ kind, id, payload }) => encodeFrame(kind, id, payload)))
          const wanted = distinct.map(({ kind, id, payload }) => ({
            kind,
            id,
            payload: Buffer.from(payload).toString('hex'),
          }))
          expect(parse(cut(whole, sizes))).toEqual(wanted)
          expect(parse([whole])).toEqual(wanted)
        },
      ),
    )
  })

  test('garbage throws nothing but BAD_MESSAGE or TOO_LARGE', () => {
    fc.assert(
      fc.property(fc.array(bytes(0, 60), { maxLength: 6 }), chunks => {
        try {
          parse(chunks)
        } catch (error) {
          if (!hasCode(error, 'BAD_MESSAGE') && !hasCode(error, 'TOO_LARGE')) throw error
        }
      }),
    )
  })

  test('damaging one byte of good frames throws nothing but coded errors', () => {
    fc.assert(
      fc.property(
        fc.array(anyFrame, { minLength: 1, maxLength: 6 }),
        fc.nat(),
        fc.integer({ min: 0, max: 255 }),
        (frames, where, value) => {
          const whole = Buffer.concat(frames.map(({ kind, id, payload }) => encodeFrame(kind, id, payload)))
          whole[where % whole.byteLength] = value
          try {
            parse([whole])
          } catch (error) {
            if (!(error instanceof ShoalError)) throw error
          }
        },
      ),
    )
  })

  test('an oversized frame is refused by its header, before its payload comes', () => {
    const header = encodeFrame(FRAME.data, 1, new Uint8Array(1)).slice(0, 9)
    new DataView(header.buffer, header.byteOffset).setUint32(0, CHANNEL_LIMITS.dataBytesMax + 1)
    expect(() => parse([header])).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }))
  })

  test('requests and replies come back as they went', () => {
    fc.assert(
      fc.property(
        fc.string({ maxLength: 60 }),
        bytes(0, 200),
        fc.array(bytes(0, 50), { maxLength: 3 }),
        fc.boolean(),
        (type, head, chunks, bodyFollows) => {
          const inline = bodyFollows ? [] : chunks
          const wanted = {
            head: Buffer.from(head),
            inline: Buffer.concat(inline),
            bodyFollows,
          }
          const request = decodeRequest(
            encodeRequest(FRAME.request, 1, type, head, inline, bodyFollows).subarray(9),
            CHANNEL_LIMITS,
          )
          expect(normal(request)).toEqual({ ...wanted, type: Buffer.from(type).toString() })
          const reply = decodeReply(encodeReply(1, head, inline, bodyFollows).subarray(9), CHANNEL_LIMITS)
          expect(normal(reply)).toEqual({ ...wanted, type: '' })
        },
      ),
    )
  })

  test('a damaged request or reply throws nothing but BAD_MESSAGE', () => {
    fc.assert(
      fc.property(bytes(6, 80), payload => {
        for (const decode of [decodeRequest, decodeReply]) {
          try {
            decode(payload, CHANNEL_LIMITS)
          } catch (error) {
            if (!hasCode(error, 'BAD_MESSAGE')) throw error
          }
        }
      }),
    )
  })

  test('a decoded head keeps nothing of the buffer it came in', () => {
    const frame = encodeRequest(FRAME.request, 1, 'x', Buffer.from('head'), [], false)
    const socketBuffer = new Uint8Array(100_000)
    socketBuffer.set(frame, 500)
    const decoded = decodeRequest(socketBuffer.subarray(509, 500 + frame.byteLength), CHANNEL_LIMITS)
    expect(decoded.head.buffer.byteLength).toBeLessThan(1000)
  })
})

function normal(message: { type: string; head: Uint8Array; inline: Uint8Array; bodyFollows: boolean }) {
  return { ...message, head: Buffer.from(message.head), inline: Buffer.from(message.inline) }
}
