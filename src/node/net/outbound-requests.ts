import { ShoalError } from '../../base/index.ts'
import type { BodyClass } from '../../base/index.ts'
import { inlineBody } from './body-streams.ts'
import type { BodyStreams, IncomingBody } from './body-streams.ts'
import { encodeFrame, encodeRequest, FRAME } from './frame-codec.ts'
import type { FrameMessage } from './frame-codec.ts'
import type { FrameWriter } from './frame-writer.ts'
import type { OutboundBody } from './outbound-body.ts'
import { abortReason, busy, violation } from './refusals.ts'

export interface ChannelCallOptions {
  bodyClass: BodyClass
  /** Until the reply's head. */
  timeoutMs: number
  body?: AsyncIterable<Uint8Array> | undefined
  signal?: AbortSignal | undefined
}

export interface ChannelReply {
  head: Uint8Array
  body: AsyncIterable<Uint8Array>
}

export interface OutboundRequestsOptions {
  writer: FrameWriter
  bodies: BodyStreams
  /** The remote's id, for errors. */
  remote: string
  /** 1 at the end that dialled, 2 at the other: so both number their requests without asking. */
  firstId: 1 | 2
  /** Calls under way; more reject with BUSY. */
  requestsMax: number
  /** A call is under way. */
  onBegin: () => void
}

interface Asked {
  what: string
  bodyClass: BodyClass
  /** False once the reply's head is here. */
  waiting: boolean
  resolve(reply: ChannelReply): void
  reject(error: Error): void
  timer: NodeJS.Timeout
  unlisten: () => void
  /** Puts the request on the wire; waits in the writer's queue while the port is full. */
  write: () => void
  requestBody?: OutboundBody
  replyBody?: IncomingBody
}

/** Exchange ids are u32. */
const ID_MAX = 0xffff_fffd

/** The requests of this end of a channel, each from the call to the end of the reply's body. */
export class OutboundRequests {
  readonly #options: OutboundRequestsOptions
  readonly #asked = new Map<number, Asked>()
  #nextId: number

  constructor(options: OutboundRequestsOptions) {
    this.#options = options
    this.#nextId = options.firstId
  }

  get size(): number {
    return this.#asked.size
  }

  call(type: string, head: Uint8Array, options: ChannelCallOptions): Promise<ChannelReply> {
    return new Promise((resolve, reject) => {
      const { remote, requestsMax, writer, onBegin } = this.#options
      if (this.#asked.size >= requestsMax) return reject(busy(`calls to ${remote}`, requestsMax))
      const { signal, timeoutMs } = options
      const refusal = abortReason(signal, type)
      if (refusal !== undefined) return reject(refusal)
      const id = this.#takeId()
      const what = `${type} to ${remote}`
      const giveUp = (error: Error): void => this.#giveUp(id, error)
      const onAbort = (): void => giveUp(abortReason(signal, what)!)
      signal?.addEventListener('abort', onAbort, { once: true })
      const asked: Asked = {
        what,
        bodyClass: options.bodyClass,
        waiting: true,
        resolve,
        reject,
        timer: setTimeout(() => {
          giveUp(new ShoalError('TIMEOUT', { what, timeoutMs }, `${what} got no reply in ${timeoutMs} ms`))
        }, timeoutMs),
        unlisten: () => signal?.removeEventListener('abort', onAbort),
        write: () => {
          if (this.#asked.get(id) === asked) this.#write(id, asked, type, head, options.body)
        },
      }
      this.#asked.set(id, asked)
      onBegin()
      writer.whenWritable(asked.write)
    })
  }

  /** The channel is gone. */
  failAll(error: Error): void {
    for (const [id, asked] of this.#asked) this.#fail(id, asked, error)
  }

  // ---- frames of the remote ----

  onReply(id: number, message: FrameMessage): void {
    const asked = this.#asked.get(id)
    if (asked === undefined) return
    if (!asked.waiting) throw violation('a second reply to one request')
    asked.waiting = false
    clearTimeout(asked.timer)
    if (!message.bodyFollows) {
      this.#finish(id, asked)
      asked.resolve({ head: message.head, body: inlineBody(message.inline) })
      return
    }
    const what = `the body of the reply to ${asked.what}`
    asked.replyBody = this.#options.bodies.receive(id, what, asked.bodyClass, () =>
      this.#giveUp(id, new ShoalError('CANCELLED', { what: asked.what })),
    )
    asked.resolve({ head: message.head, body: asked.replyBody.body })
  }

  onData(id: number, bytes: Uint8Array): void {
    this.#asked.get(id)?.replyBody?.push(bytes)
  }

  /** The reply is whole: the exchange is over, though its reader may not be through. */
  onEnd(id: number): void {
    const asked = this.#asked.get(id)
    if (asked?.replyBody === undefined) return
    asked.replyBody.body.end()
    this.#finish(id, asked)
  }

  onError(id: number, error: ShoalError): void {
    const asked = this.#asked.get(id)
    if (asked !== undefined) this.#fail(id, asked, error)
  }

  onCredit(id: number, bytes: number): void {
    this.#asked.get(id)?.requestBody?.grant(bytes)
  }

  /** The remote wants no more of the request's body; its reply may still come. */
  onCancel(id: number): void {
    this.#asked.get(id)?.requestBody?.stop()
  }

  // ---- one request ----

  #takeId(): number {
    // An id is free again after four billion calls; the few that are still in use are stepped over.
    do {
      if (this.#nextId > ID_MAX) this.#nextId = this.#options.firstId
      this.#nextId += 2
    } while (this.#asked.has(this.#nextId - 2))
    return this.#nextId - 2
  }

  #write(
    id: number,
    asked: Asked,
    type: string,
    head: Uint8Array,
    body: AsyncIterable<Uint8Array> | undefined,
  ): void {
    const { writer, bodies } = this.#options
    const inline = bodies.inlineOf(body)
    const follows = body !== undefined && inline === undefined
    writer.write(encodeRequest(FRAME.request, id, type, head, inline ?? [], follows))
    if (!follows) return
    asked.requestBody = bodies.send(id, `the body of ${asked.what}`, body, () => delete asked.requestBody)
  }

  /** Its caller wants it no longer: the remote is told. */
  #giveUp(id: number, error: Error): void {
    const asked = this.#asked.get(id)
    if (asked === undefined) return
    this.#fail(id, asked, error)
    this.#options.writer.control(encodeFrame(FRAME.cancel, id))
  }

  #fail(id: number, asked: Asked, error: Error): void {
    this.#finish(id, asked)
    asked.reject(error)
    asked.replyBody?.body.fail(error)
  }

  #finish(id: number, asked: Asked): void {
    this.#asked.delete(id)
    clearTimeout(asked.timer)
    asked.unlisten()
    this.#options.writer.forget(asked.write)
    asked.requestBody?.stop()
  }
}
