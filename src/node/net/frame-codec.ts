import { ShoalError } from '../../base/index.ts'
import type { ChannelLimits } from './config.ts'

/**
 * The frames of a channel: `[u32 payload length][u32 exchange id][u8 kind][payload]`, big-endian. An exchange is one
 * request with its reply and bodies; its id is odd when the dialler asked, even when the listener did.
 */
export const FRAME = {
  /** First frame of both ends: who I am. */
  hello: 1,
  /** Last frame of an end that will not go on: why. */
  refuse: 2,
  request: 3,
  reply: 4,
  /** Bytes of a body: the request's from the asker, the reply's from the answerer. */
  data: 5,
  /** The body is whole. */
  end: 6,
  /** Before the reply: the call failed. From the asker, or after the reply: the body failed. */
  error: 7,
  /** The reader of a body takes that many bytes more (u32). */
  credit: 8,
  /** From the asker: forget it all. From the answerer: the request's body is not wanted any further. */
  cancel: 9,
  ping: 10,
  pong: 11,
  /** One-way: no reply, no body. */
  note: 12,
} as const

export type FrameKind = (typeof FRAME)[keyof typeof FRAME]

export const FRAME_HEADER_BYTES = 9
/** Longest name of a message type. */
export const NAME_BYTES_MAX = 255
/** Greatest hello payload. */
export const HELLO_BYTES_MAX = 4096
/** Greatest error payload; the sender shortens what is longer. */
export const ERROR_BYTES_MAX = 64 * 1024

/** What precedes head and body in a request: flags, name length, head length. */
const REQUEST_FIXED_BYTES = 6
const REPLY_FIXED_BYTES = 5
const FLAG_BODY_FOLLOWS = 1

export interface FrameSink {
  /** A whole frame of any kind but DATA; the payload is a view that is gone after the call. */
  onFrame(kind: FrameKind, id: number, payload: Uint8Array): void
  /** Some bytes of a DATA frame, as they came; never empty. */
  onData(id: number, bytes: Uint8Array): void
}

type PayloadLimits = Pick<ChannelLimits, 'headBytesMax' | 'inlineBodyBytesMax' | 'dataBytesMax'>

/** Least and greatest payload of each kind; of an unknown kind there is none. */
function payloadBounds(limits: PayloadLimits): (readonly [number, number] | undefined)[] {
  const message = REQUEST_FIXED_BYTES + NAME_BYTES_MAX + limits.headBytesMax + limits.inlineBodyBytesMax
  const bounds: (readonly [number, number] | undefined)[] = []
  bounds[FRAME.hello] = [0, HELLO_BYTES_MAX]
  bounds[FRAME.refuse] = [0, ERROR_BYTES_MAX]
  bounds[FRAME.request] = [REQUEST_FIXED_BYTES, message]
  bounds[FRAME.reply] = [REPLY_FIXED_BYTES, message]
  bounds[FRAME.data] = [1, limits.dataBytesMax]
  bounds[FRAME.end] = [0, 0]
  bounds[FRAME.error] = [0, ERROR_BYTES_MAX]
  bounds[FRAME.credit] = [4, 4]
  bounds[FRAME.cancel] = [0, 0]
  bounds[FRAME.ping] = [0, 0]
  bounds[FRAME.pong] = [0, 0]
  bounds[FRAME.note] = [REQUEST_FIXED_BYTES, message]
  return bounds
}

/**
 * Cuts a stream of chunks into frames. Bytes of bodies are handed on as they arrive; everything else is put together,
 * of at most one frame at a time. Throws BAD_MESSAGE or TOO_LARGE on what is no frame, and is of no use after that.
 */
export class FrameParser {
  readonly #sink: FrameSink
  readonly #bounds: (readonly [number, number] | undefined)[]
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES)
  readonly #headerView = new DataView(this.#header.buffer)
  #headerBytes = 0
  #kind: FrameKind = FRAME.ping
  #id = 0
  /** Payload bytes of the current frame that are still to come. */
  #missingBytes = 0
  /** A payload that came in pieces, put together here. */
  #partial: Uint8Array | undefined
  #partialBytes = 0

  constructor(limits: PayloadLimits, sink: FrameSink) {
    this.#sink = sink
    this.#bounds = payloadBounds(limits)
  }

  push(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.byteLength) {
      if (this.#headerBytes < FRAME_HEADER_BYTES) {
        const take = Math.min(FRAME_HEADER_BYTES - this.#headerBytes, chunk.byteLength - at)
        for (let i = 0; i < take; i++) this.#header[this.#headerBytes + i] = chunk[at + i]!
        this.#headerBytes += take
        at += take
        if (this.#headerBytes < FRAME_HEADER_BYTES) return
        this.#startFrame()
        if (this.#missingBytes === 0) this.#finishFrame(EMPTY)
        continue
      }
      const take = Math.min(this.#missingBytes, chunk.byteLength - at)
      this.#takePayload(chunk.subarray(at, at + take))
      at += take
    }
  }

  #startFrame(): void {
    const length = this.#headerView.getUint32(0)
    const kind = this.#headerView.getUint8(8)
    const bounds = this.#bounds[kind]
    if (bounds === undefined) throw malformed(`frame kind ${kind} is unknown`)
    if (length > bounds[1]) {
      throw new ShoalError(
        'TOO_LARGE',
        { what: `frame of kind ${kind}`, bytes: length, limitBytes: bounds[1] },
        `a frame of kind ${kind} announces ${length} bytes, more than ${bounds[1]}`,
      )
    }
    if (length < bounds[0])
      throw malformed(`a frame of kind ${kind} has ${length} bytes, less than ${bounds[0]}`)
    this.#kind = kind as FrameKind
    this.#id = this.#headerView.getUint32(4)
    this.#missingBytes = length
  }

  #takePayload(bytes: Uint8Array): void {
    this.#missingBytes -= bytes.byteLength
    if (this.#kind === FRAME.data) {
      if (this.#missingBytes === 0) this.#headerBytes = 0
      this.#sink.onData(this.#id, bytes)
      return
    }
    if (this.#partial === undefined && this.#missingBytes === 0) return this.#finishFrame(bytes)
    this.#partial ??= new Uint8Array(bytes.byteLength + this.#missingBytes)
    this.#partial.set(bytes, this.#partialBytes)
    this.#partialBytes += bytes.byteLength
    if (this.#missingBytes === 0) this.#finishFrame(this.#partial)
  }

  #finishFrame(payload: Uint8Array): void {
    this.#headerBytes = 0
    this.#partial = undefined
    this.#partialBytes = 0
    this.#sink.onFrame(this.#kind, this.#id, payload)
  }
}

const EMPTY = new Uint8Array(0)

/** A whole frame in one buffer. */
export function encodeFrame(kind: FrameKind, id: number, payload: Uint8Array = EMPTY): Uint8Array {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.byteLength)
  writeHeader(frame, kind, id, payload.byteLength)
  frame.set(payload, FRAME_HEADER_BYTES)
  return frame
}

/** Only the header, for a payload that is sent after it uncopied. */
export function encodeHeader(kind: FrameKind, id: number, payloadBytes: number): Uint8Array {
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES)
  writeHeader(header, kind, id, payloadBytes)
  return header
}

function writeHeader(frame: Buffer, kind: FrameKind, id: number, payloadBytes: number): void {
  frame.writeUInt32BE(payloadBytes, 0)
  frame.writeUInt32BE(id, 4)
  frame.writeUInt8(kind, 8)
}

export function encodeCredit(id: number, bytes: number): Uint8Array {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + 4)
  writeHeader(frame, FRAME.credit, id, 4)
  frame.writeUInt32BE(bytes, FRAME_HEADER_BYTES)
  return frame
}

export function decodeCredit(payload: Uint8Array): number {
  return viewOf(payload).getUint32(0)
}

/** A message as it stands in a request, note or reply frame. */
export interface FrameMessage {
  /** Empty in a reply. */
  type: string
  head: Uint8Array
  /** The whole body, when it is small; empty otherwise. */
  inline: Uint8Array
  /** DATA frames and an END follow. Never together with inline bytes. */
  bodyFollows: boolean
}

/** `[u8 flags][u8 name length][name][u32 head length][head][inline body]`, framed. */
export function encodeRequest(
  kind: typeof FRAME.request | typeof FRAME.note,
  id: number,
  type: string,
  head: Uint8Array,
  inline: readonly Uint8Array[],
  bodyFollows: boolean,
): Uint8Array {
  const nameBytes = Buffer.byteLength(type)
  const payloadBytes = REQUEST_FIXED_BYTES + nameBytes + head.byteLength + sizeOf(inline)
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payloadBytes)
  writeHeader(frame, kind, id, payloadBytes)
  let at = frame.writeUInt8(bodyFollows ? FLAG_BODY_FOLLOWS : 0, FRAME_HEADER_BYTES)
  at = frame.writeUInt8(nameBytes, at)
  at += frame.write(type, at)
  at = frame.writeUInt32BE(head.byteLength, at)
  writeRest(frame, at, head, inline)
  return frame
}

/** `[u8 flags][u32 head length][head][inline body]`, framed. */
export function encodeReply(
  id: number,
  head: Uint8Array,
  inline: readonly Uint8Array[],
  bodyFollows: boolean,
): Uint8Array {
  const payloadBytes = REPLY_FIXED_BYTES + head.byteLength + sizeOf(inline)
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payloadBytes)
  writeHeader(frame, FRAME.reply, id, payloadBytes)
  let at = frame.writeUInt8(bodyFollows ? FLAG_BODY_FOLLOWS : 0, FRAME_HEADER_BYTES)
  at = frame.writeUInt32BE(head.byteLength, at)
  writeRest(frame, at, head, inline)
  return frame
}

/** Copies what it keeps: the payload may be a view into a far larger socket buffer. */
export function decodeRequest(payload: Uint8Array, limits: PayloadLimits): FrameMessage {
  const nameBytes = payload[1]!
  const headAt = REQUEST_FIXED_BYTES + nameBytes
  if (payload.byteLength < headAt) throw malformed('the name of the message type is cut off')
  const type = Buffer.from(payload.buffer, payload.byteOffset + 2, nameBytes).toString('utf8')
  return { type, ...decodeRest(payload, headAt, limits) }
}

/** Copies what it keeps: the payload may be a view into a far larger socket buffer. */
export function decodeReply(payload: Uint8Array, limits: PayloadLimits): FrameMessage {
  return { type: '', ...decodeRest(payload, REPLY_FIXED_BYTES, limits) }
}

function decodeRest(payload: Uint8Array, headAt: number, limits: PayloadLimits): Omit<FrameMessage, 'type'> {
  const flags = payload[0]!
  if (flags > FLAG_BODY_FOLLOWS) throw malformed(`message flags ${flags} are unknown`)
  const bodyFollows = flags === FLAG_BODY_FOLLOWS
  const headBytes = viewOf(payload).getUint32(headAt - 4)
  if (headBytes > limits.headBytesMax) throw malformed(`a head of ${headBytes} bytes is over the limit`)
  if (headAt + headBytes > payload.byteLength) throw malformed('the head is cut off')
  const inlineBytes = payload.byteLength - headAt - headBytes
  if (inlineBytes > limits.inlineBodyBytesMax || (bodyFollows && inlineBytes > 0)) {
    throw malformed(`${inlineBytes} bytes follow the head`)
  }
  const kept = payload.slice(headAt)
  return { head: kept.subarray(0, headBytes), inline: kept.subarray(headBytes), bodyFollows }
}

function writeRest(frame: Buffer, at: number, head: Uint8Array, inline: readonly Uint8Array[]): void {
  frame.set(head, at)
  let next = at + head.byteLength
  for (const chunk of inline) {
    frame.set(chunk, next)
    next += chunk.byteLength
  }
}

function sizeOf(chunks: readonly Uint8Array[]): number {
  let bytes = 0
  for (const chunk of chunks) bytes += chunk.byteLength
  return bytes
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function malformed(reason: string): ShoalError {
  return new ShoalError('BAD_MESSAGE', { type: 'frame', reason }, `malformed frame: ${reason}`)
}
