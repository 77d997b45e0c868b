import { ShoalError } from '../../base/index.ts'
import type { BodyClass } from '../../base/index.ts'
import { discard, inlineBody } from './body-streams.ts'
import type { BodyStreams, IncomingBody } from './body-streams.ts'
import type { RawAnswer } from './dispatcher.ts'
import { encodeFrame, encodeReply, FRAME } from './frame-codec.ts'
import type { FrameMessage } from './frame-codec.ts'
import type { FrameWriter } from './frame-writer.ts'
import type { OutboundBody } from './outbound-body.ts'
import { busy, tooLarge, violation } from './refusals.ts'
import { encodeError } from './wire-error.ts'

export interface ChannelRequest {
  type: string
  head: Uint8Array
  body: AsyncIterable<Uint8Array>
  readonly signal: AbortSignal
}

export interface InboundRequestsOptions {
  writer: FrameWriter
  bodies: BodyStreams
  /** The remote's id, for errors. */
  remote: string
  /** Requests under way, and handlers running; more are answered with BUSY. */
  requestsMax: number
  /** A longer head of an answer is an error instead. */
  headBytesMax: number
  /** Class of the bodies of a type that is asked for here. */
  classOf(type: string): BodyClass
  onRequest(request: ChannelRequest): Promise<RawAnswer>
  /** A request is under way. */
  onBegin: () => void
}

interface Served {
  what: string
  controller: AbortController | undefined
  /** Why `controller` is, or would have been, aborted. */
  aborted: ShoalError | undefined
  requestBody?: IncomingBody
  replyBody?: OutboundBody
}

/** The requests of the remote end of a channel, each from its head to the end of our answer's body. */
export class InboundRequests {
  readonly #options: InboundRequestsOptions
  readonly #served = new Map<number, Served>()
  /** Handlers running: also those whose caller has given up. */
  #handling = 0

  constructor(options: InboundRequestsOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#served.size
  }

  /** The channel is gone. */
  failAll(error: ShoalError): void {
    for (const [id, served] of this.#served) this.#abort(id, served, error)
  }

  // ---- frames of the remote ----

  onRequest(id: number, message: FrameMessage): void {
    const { writer, bodies, remote, requestsMax, onBegin } = this.#options
    if (this.#served.has(id)) throw violation(`request id ${id} is in use`)
    if (Math.max(this.#served.size, this.#handling) >= requestsMax) {
      writer.control(encodeFrame(FRAME.error, id, encodeError(busy('requests', requestsMax))))
      return
    }
    const served: Served = {
      what: `${message.type} from ${remote}`,
      controller: undefined,
      aborted: undefined,
    }
    this.#served.set(id, served)
    onBegin()
    let body: AsyncIterable<Uint8Array> = inlineBody(message.inline)
    if (message.bodyFollows) {
      const bodyClass = this.#options.classOf(message.type)
      served.requestBody = bodies.receive(id, `the body of ${served.what}`, bodyClass, () =>
        writer.control(encodeFrame(FRAME.cancel, id)),
      )
      body = served.requestBody.body
    }
    this.#handle(id, served, {
      type: message.type,
      head: message.head,
      body,
      // Most handlers never look at it, and a controller per request costs.
      get signal() {
        served.controller ??= new AbortController()
        if (served.aborted !== undefined) served.controller.abort(served.aborted)
        return served.controller.signal
      },
    })
  }

  onData(id: number, bytes: Uint8Array): void {
    this.#served.get(id)?.requestBody?.push(bytes)
  }

  onEnd(id: number): void {
    this.#served.get(id)?.requestBody?.body.end()
  }

  /** The source of the request's body failed. */
  onError(id: number, error: ShoalError): void {
    this.#served.get(id)?.requestBody?.body.fail(error)
  }

  onCredit(id: number, bytes: number): void {
    this.#served.get(id)?.replyBody?.grant(bytes)
  }

  onCancel(id: number): void {
    const served = this.#served.get(id)
    if (served !== undefined) this.#abort(id, served, new ShoalError('CANCELLED', { what: served.what }))
  }

  // ---- one request ----

  #handle(id: number, served: Served, request: ChannelRequest): void {
    this.#handling += 1
    this.#options.onRequest(request).then(
      answer => {
        this.#handling -= 1
        this.#answer(id, served, answer)
      },
      (error: unknown) => {
        this.#handling -= 1
        this.#answerError(id, served, error)
      },
    )
  }

  #answer(id: number, served: Served, answer: RawAnswer): void {
    const { writer, bodies, headBytesMax } = this.#options
    const { head, body } = answer
    const what = `the reply to ${served.what}`
    if (head.byteLength > headBytesMax) {
      discard(body)
      this.#answerError(id, served, tooLarge(`head of ${what}`, head.byteLength, headBytesMax))
      return
    }
    writer.whenWritable(() => {
      if (this.#served.get(id) !== served) return discard(body)
      const inline = bodies.inlineOf(body)
      const follows = body !== undefined && inline === undefined
      writer.write(encodeReply(id, head, inline ?? [], follows))
      if (!follows) return this.#finish(id, served)
      served.replyBody = bodies.send(id, `the body of ${what}`, body, () => {
        delete served.replyBody
        this.#finish(id, served)
      })
    })
  }

  #answerError(id: number, served: Served, error: unknown): void {
    const { writer } = this.#options
    writer.whenWritable(() => {
      if (this.#served.get(id) !== served) return
      writer.write(encodeFrame(FRAME.error, id, encodeError(error)))
      this.#finish(id, served)
    })
  }

  /** Answered: what is left of the request's body is not wanted. */
  #finish(id: number, served: Served): void {
    if (this.#served.get(id) !== served) return
    this.#served.delete(id)
    served.requestBody?.body.cancel()
  }

  #abort(id: number, served: Served, error: ShoalError): void {
    this.#served.delete(id)
    served.aborted = error
    served.controller?.abort(error)
    served.requestBody?.body.fail(error)
    served.replyBody?.stop()
  }
}
