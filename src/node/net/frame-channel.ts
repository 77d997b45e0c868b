import { hasCode, ShoalError } from '../../base/index.ts'
import type { BodyClass } from '../../base/index.ts'
import { BodyStreams, discard, inlineBody } from './body-streams.ts'
import type { BodyBudgets, IncomingBody } from './body-streams.ts'
import type { ChannelLimits } from './config.ts'
import type { RawAnswer } from './dispatcher.ts'
import {
  decodeCredit,
  decodeReply,
  decodeRequest,
  encodeFrame,
  encodeReply,
  encodeRequest,
  FRAME,
  FrameParser,
  NAME_BYTES_MAX,
} from './frame-codec.ts'
import type { FrameKind, FrameMessage } from './frame-codec.ts'
import { FrameWriter } from './frame-writer.ts'
import type { DuplexPort } from './frame-writer.ts'
import type { OutboundBody } from './outbound-body.ts'
import { abortReason, busy, connectionLost, tooLarge, violation } from './refusals.ts'
import { SilenceWatch } from './silence-watch.ts'
import { decodeError, encodeError } from './wire-error.ts'

export interface ChannelRequest {
  type: string
  head: Uint8Array
  body: AsyncIterable<Uint8Array>
  readonly signal: AbortSignal
}

export interface ChannelOptions {
  port: DuplexPort
  /** The end that opened the stream: it numbers its requests odd. */
  dialler: boolean
  /** The remote's id, for errors. */
  remote: string
  /** Payload of our HELLO. */
  hello: Uint8Array
  /** Looks at the remote's HELLO; what it throws is sent back as the refusal. */
  onHello(payload: Uint8Array, channel: FrameChannel): void
  onRequest(request: ChannelRequest): Promise<RawAnswer>
  onNote(type: string, head: Uint8Array): Promise<void>
  /** Class of the bodies of a type that is asked for here. */
  classOf(type: string): BodyClass
  budgets: BodyBudgets
  limits: ChannelLimits
  /** Once; with the reason when it was not `close()`. */
  onClose(reason: Error | undefined, channel: FrameChannel): void
}

export interface ChannelCallOptions {
  bodyClass: BodyClass
  timeoutMs: number
  body?: AsyncIterable<Uint8Array> | undefined
  signal?: AbortSignal | undefined
}

export interface ChannelReply {
  head: Uint8Array
  body: AsyncIterable<Uint8Array>
}

/** A request of ours. */
interface Asked {
  what: string
  bodyClass: BodyClass
  /** False once the reply's head is here. */
  waiting: boolean
  resolve(reply: ChannelReply): void
  reject(error: Error): void
  timer: NodeJS.Timeout
  unlisten: () => void
  requestBody?: OutboundBody
  replyBody?: IncomingBody
}

/** A request of theirs. */
interface Served {
  what: string
  controller: AbortController | undefined
  /** Why `controller` is, or would have been, aborted. */
  aborted: ShoalError | undefined
  requestBody?: IncomingBody
  replyBody?: OutboundBody
}

/** Exchange ids are u32. */
const ID_MAX = 0xffff_fffd

/**
 * Requests, replies, one-way messages and streamed bodies over one byte stream, both ends alike.
 *
 * - Either end asks; a reply's head resolves the call, its body streams after it under credit.
 * - The answerer's exchange is over when its reply is out whole; what is left of the request's body is then cancelled.
 * - A body not read for `bodyIdleTimeoutMs` fails and frees its credit; leaving a `for await` early cancels it at once.
 * - The end of the stream, or a remote silent for `idleLimitMs` while something is under way, fails everything with
 *   CONNECTION_LOST: a body ends cleanly only with its END frame.
 * - Inbound bytes need no back-pressure below: requests, notes and credit bound what can come.
 */
export class FrameChannel {
  readonly #options: ChannelOptions
  readonly #port: DuplexPort
  readonly #limits: ChannelLimits
  readonly #writer: FrameWriter
  readonly #bodies: BodyStreams
  readonly #watch: SilenceWatch
  readonly #asked = new Map<number, Asked>()
  readonly #served = new Map<number, Served>()
  readonly #opened = Promise.withResolvers<void>()
  readonly #helloTimer: NodeJS.Timeout
  #greeted = false
  #closed: ShoalError | undefined
  #nextId: number
  /** Handlers running: also those whose caller has given up. */
  #handling = 0
  #notesQueued = 0
  #notesHandled = 0

  constructor(options: ChannelOptions) {
    const { port, limits, budgets, remote } = options
    this.#options = options
    this.#port = port
    this.#limits = limits
    this.#nextId = options.dialler ? 1 : 2
    this.#opened.promise.catch(() => undefined)
    const parser = new FrameParser(limits, {
      onFrame: (kind, id, payload) => this.#onFrame(kind, id, payload),
      onData: (id, bytes) => this.#inboundBody(id)?.push(bytes),
    })
    port.onBytes(bytes => {
      if (this.#closed !== undefined) return
      this.#watch.heard()
      try {
        parser.push(bytes)
      } catch (error) {
        this.#refuse(error)
      }
    })
    port.onClose(error => this.#lose(error))
    this.#writer = new FrameWriter({
      port,
      remote,
      outboundBytesMax: limits.outboundBytesMax,
      onFailure: error => this.#giveUp(error),
    })
    this.#bodies = new BodyStreams({ writer: this.#writer, budgets, limits })
    this.#watch = new SilenceWatch({
      intervalMs: limits.pingIntervalMs,
      limitMs: limits.idleLimitMs,
      isNeeded: () => this.exchanges > 0,
      onQuiet: () => this.#writer.control(encodeFrame(FRAME.ping, 0)),
      onSilent: () => {
        this.#giveUp(
          new ShoalError('TIMEOUT', { what: `a sign of ${remote}`, timeoutMs: limits.idleLimitMs }),
        )
      },
    })
    this.#helloTimer = setTimeout(() => {
      this.#refuse(
        new ShoalError('TIMEOUT', { what: `hello of ${remote}`, timeoutMs: limits.helloTimeoutMs }),
      )
    }, limits.helloTimeoutMs)
    this.#writer.write(encodeFrame(FRAME.hello, 0, options.hello))
  }

  /** Resolves when the remote has said an acceptable hello; rejects with the reason when either end refused. */
  get opened(): Promise<void> {
    return this.#opened.promise
  }

  /** True when it can be used. */
  get open(): boolean {
    return this.#greeted && this.#closed === undefined
  }

  get closed(): boolean {
    return this.#closed !== undefined
  }

  /** Requests under way, ours and theirs. */
  get exchanges(): number {
    return this.#asked.size + this.#served.size
  }

  call(type: string, head: Uint8Array, options: ChannelCallOptions): Promise<ChannelReply> {
    return new Promise((resolve, reject) => {
      const refusal = this.#refusalOf(type, head) ?? abortReason(options.signal, type)
      if (refusal !== undefined) return reject(refusal)
      const id = this.#takeId()
      const what = `${type} to ${this.#options.remote}`
      const cancel = (error: Error): void => this.#cancelAsked(id, error)
      const { signal, timeoutMs } = options
      const onAbort = (): void => cancel(abortReason(signal, what)!)
      signal?.addEventListener('abort', onAbort, { once: true })
      const asked: Asked = {
        what,
        bodyClass: options.bodyClass,
        waiting: true,
        resolve,
        reject,
        timer: setTimeout(() => {
          cancel(new ShoalError('TIMEOUT', { what, timeoutMs }, `${what} got no reply in ${timeoutMs} ms`))
        }, timeoutMs),
        unlisten: () => signal?.removeEventListener('abort', onAbort),
      }
      this.#asked.set(id, asked)
      this.#watch.start()
      this.#writer.whenWritable(() => {
        if (this.#asked.get(id) === asked) this.#writeRequest(id, asked, type, head, options.body)
      })
    })
  }

  /** Says without waiting. False: dropped, the remote does not keep up or the channel is closed. */
  note(type: string, head: Uint8Array): boolean {
    const refusal = this.#refusalOf(type, head)
    if (hasCode(refusal, 'TOO_LARGE') || hasCode(refusal, 'BAD_MESSAGE')) throw refusal
    if (refusal !== undefined || this.#notesQueued >= this.#limits.notesMax) return false
    this.#notesQueued += 1
    this.#writer.whenWritable(() => {
      this.#notesQueued -= 1
      this.#writer.write(encodeRequest(FRAME.note, 0, type, head, [], false))
    })
    return true
  }

  /** Ends it: everything under way fails with CONNECTION_LOST. */
  close(): void {
    this.#shut(connectionLost(this.#options.remote))
    this.#port.close()
  }

  // ---- asking ----

  #refusalOf(type: string, head: Uint8Array): ShoalError | undefined {
    if (this.#closed !== undefined) return this.#closed
    const { headBytesMax, requestsMax } = this.#limits
    if (head.byteLength > headBytesMax) return tooLarge(`head of ${type}`, head.byteLength, headBytesMax)
    if (Buffer.byteLength(type) > NAME_BYTES_MAX) {
      return new ShoalError('BAD_MESSAGE', {
        type,
        reason: `the name is longer than ${NAME_BYTES_MAX} bytes`,
      })
    }
    return this.#asked.size >= requestsMax ? busy(`calls to ${this.#options.remote}`, requestsMax) : undefined
  }

  #takeId(): number {
    // An id is free again after four billion calls; the few that are still in use are stepped over.
    do {
      if (this.#nextId > ID_MAX) this.#nextId = this.#options.dialler ? 1 : 2
      this.#nextId += 2
    } while (this.#asked.has(this.#nextId - 2))
    return this.#nextId - 2
  }

  #writeRequest(
    id: number,
    asked: Asked,
    type: string,
    head: Uint8Array,
    body: AsyncIterable<Uint8Array> | undefined,
  ): void {
    const inline = this.#bodies.inlineOf(body)
    const follows = body !== undefined && inline === undefined
    this.#writer.write(encodeRequest(FRAME.request, id, type, head, inline ?? [], follows))
    if (!follows) return
    asked.requestBody = this.#bodies.send(
      id,
      `the body of ${asked.what}`,
      body,
      () => delete asked.requestBody,
    )
  }

  #onReply(id: number, message: FrameMessage): void {
    const asked = this.#asked.get(id)
    if (asked === undefined) return
    if (!asked.waiting) throw violation('a second reply to one request')
    asked.waiting = false
    clearTimeout(asked.timer)
    if (message.bodyFollows) {
      const body = this.#bodies.receive(id, `the body of the reply to ${asked.what}`, asked.bodyClass, () =>
        this.#cancelAsked(id, new ShoalError('CANCELLED', { what: asked.what })),
      )
      asked.replyBody = body
      asked.resolve({ head: message.head, body: body.body })
      return
    }
    this.#finishAsked(id, asked)
    asked.resolve({ head: message.head, body: inlineBody(message.inline) })
  }

  /** Gives a call of ours up and tells the remote. */
  #cancelAsked(id: number, error: Error): void {
    const asked = this.#asked.get(id)
    if (asked === undefined) return
    this.#finishAsked(id, asked)
    asked.reject(error)
    asked.replyBody?.body.fail(error)
    this.#writer.control(encodeFrame(FRAME.cancel, id))
  }

  #failAsked(id: number, asked: Asked, error: Error): void {
    this.#finishAsked(id, asked)
    asked.reject(error)
    asked.replyBody?.body.fail(error)
  }

  #finishAsked(id: number, asked: Asked): void {
    this.#asked.delete(id)
    clearTimeout(asked.timer)
    asked.unlisten()
    asked.requestBody?.stop()
  }

  // ---- answering ----

  #onRequest(id: number, message: FrameMessage): void {
    if (this.#served.has(id)) throw violation(`request id ${id} is in use`)
    if (Math.max(this.#served.size, this.#handling) >= this.#limits.requestsMax) {
      this.#writer.control(
        encodeFrame(FRAME.error, id, encodeError(busy('requests', this.#limits.requestsMax))),
      )
      return
    }
    const served: Served = {
      what: `${message.type} from ${this.#options.remote}`,
      controller: undefined,
      aborted: undefined,
    }
    this.#served.set(id, served)
    this.#watch.start()
    let body: AsyncIterable<Uint8Array> = inlineBody(message.inline)
    if (message.bodyFollows) {
      const bodyClass = this.#options.classOf(message.type)
      served.requestBody = this.#bodies.receive(id, `the body of ${served.what}`, bodyClass, () =>
        this.#writer.control(encodeFrame(FRAME.cancel, id)),
      )
      body = served.requestBody.body
    }
    const request: ChannelRequest = {
      type: message.type,
      head: message.head,
      body,
      get signal() {
        served.controller ??= new AbortController()
        if (served.aborted !== undefined) served.controller.abort(served.aborted)
        return served.controller.signal
      },
    }
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
    const { headBytesMax } = this.#limits
    if (answer.head.byteLength > headBytesMax) {
      discard(answer.body)
      this.#answerError(
        id,
        served,
        tooLarge(`head of the reply to ${served.what}`, answer.head.byteLength, headBytesMax),
      )
      return
    }
    this.#writer.whenWritable(() => {
      if (this.#served.get(id) !== served) return discard(answer.body)
      const inline = this.#bodies.inlineOf(answer.body)
      const follows = answer.body !== undefined && inline === undefined
      this.#writer.write(encodeReply(id, answer.head, inline ?? [], follows))
      if (!follows) return this.#finishServed(id, served)
      served.replyBody = this.#bodies.send(
        id,
        `the body of the reply to ${served.what}`,
        answer.body!,
        () => {
          delete served.replyBody
          this.#finishServed(id, served)
        },
      )
    })
  }

  #answerError(id: number, served: Served, error: unknown): void {
    this.#writer.whenWritable(() => {
      if (this.#served.get(id) !== served) return
      this.#writer.write(encodeFrame(FRAME.error, id, encodeError(error)))
      this.#finishServed(id, served)
    })
  }

  #finishServed(id: number, served: Served): void {
    if (this.#served.get(id) !== served) return
    this.#served.delete(id)
    served.requestBody?.body.cancel()
  }

  #abortServed(id: number, served: Served, error: ShoalError): void {
    this.#served.delete(id)
    served.aborted = error
    served.controller?.abort(error)
    served.requestBody?.body.fail(error)
    served.replyBody?.stop()
  }

  // ---- frames ----

  #inboundBody(id: number): IncomingBody | undefined {
    return this.#isOurs(id) ? this.#asked.get(id)?.replyBody : this.#served.get(id)?.requestBody
  }

  #outboundBody(id: number): OutboundBody | undefined {
    return this.#isOurs(id) ? this.#asked.get(id)?.requestBody : this.#served.get(id)?.replyBody
  }

  /** Frames of an exchange that is over are no mistake: they were under way when it ended. */
  #onFrame(kind: FrameKind, id: number, payload: Uint8Array): void {
    if (!this.#greeted && kind !== FRAME.hello && kind !== FRAME.refuse)
      throw violation('the first frame is no hello')
    switch (kind) {
      case FRAME.hello:
        return this.#onHello(payload)
      case FRAME.refuse:
        return this.#onRefuse(payload)
      case FRAME.request:
        if (this.#isOurs(id) || id === 0) throw violation(`request id ${id} is not the remote's`)
        return this.#onRequest(id, decodeRequest(payload, this.#limits))
      case FRAME.reply:
        if (!this.#isOurs(id)) throw violation(`reply to request ${id}, which is not ours`)
        return this.#onReply(id, decodeReply(payload, this.#limits))
      case FRAME.note:
        return this.#onNote(decodeRequest(payload, this.#limits))
      case FRAME.end:
        return this.#onEnd(id)
      case FRAME.error:
        return this.#onError(id, decodeError(payload))
      case FRAME.credit:
        return this.#outboundBody(id)?.grant(decodeCredit(payload))
      case FRAME.cancel:
        return this.#onCancel(id)
      case FRAME.ping:
        return this.#writer.control(encodeFrame(FRAME.pong, 0))
      case FRAME.pong:
      case FRAME.data: // The parser hands its bytes on as they come.
        return
    }
  }

  #onHello(payload: Uint8Array): void {
    if (this.#greeted) throw violation('a second hello')
    this.#options.onHello(payload, this)
    this.#greeted = true
    clearTimeout(this.#helloTimer)
    this.#opened.resolve()
  }

  #onRefuse(payload: Uint8Array): void {
    const error = decodeError(payload)
    this.#opened.reject(error)
    this.#lose(error)
    this.#port.close()
  }

  #onNote(message: FrameMessage): void {
    if (message.bodyFollows || message.inline.byteLength > 0) throw violation('a one-way message with a body')
    if (this.#notesHandled >= this.#limits.notesMax) return
    this.#notesHandled += 1
    this.#options
      .onNote(message.type, message.head)
      .catch(() => undefined)
      .finally(() => {
        this.#notesHandled -= 1
      })
  }

  #onEnd(id: number): void {
    const incoming = this.#inboundBody(id)
    if (incoming === undefined) return
    incoming.body.end()
    const asked = this.#asked.get(id)
    // The reply is whole: the exchange is over, though its reader may not be through.
    if (asked !== undefined && this.#isOurs(id)) this.#finishAsked(id, asked)
  }

  #onError(id: number, error: ShoalError): void {
    if (!this.#isOurs(id)) return this.#served.get(id)?.requestBody?.body.fail(error)
    const asked = this.#asked.get(id)
    if (asked !== undefined) this.#failAsked(id, asked, error)
  }

  #onCancel(id: number): void {
    if (this.#isOurs(id)) return this.#asked.get(id)?.requestBody?.stop()
    const served = this.#served.get(id)
    if (served !== undefined)
      this.#abortServed(id, served, new ShoalError('CANCELLED', { what: served.what }))
  }

  #isOurs(id: number): boolean {
    return (id % 2 === 1) === this.#options.dialler
  }

  // ---- the end ----

  /** The remote does what it must not: it is told why and not heard any more. */
  #refuse(error: unknown): void {
    if (this.#closed !== undefined) return
    this.#writer.write(encodeFrame(FRAME.refuse, 0, encodeError(error)))
    this.#opened.reject(error)
    this.#lose(error instanceof Error ? error : new Error(String(error)))
    this.#port.close()
  }

  /** The remote is of no use any more. */
  #giveUp(error: Error): void {
    this.#lose(error)
    this.#port.abort(error)
  }

  #lose(cause: Error | undefined): void {
    this.#shut(connectionLost(this.#options.remote, cause), cause)
  }

  #shut(error: ShoalError, reason?: Error): void {
    if (this.#closed !== undefined) return
    this.#closed = error
    clearTimeout(this.#helloTimer)
    this.#watch.stop()
    this.#opened.reject(error)
    for (const [id, asked] of this.#asked) this.#failAsked(id, asked, error)
    for (const [id, served] of this.#served) this.#abortServed(id, served, error)
    this.#writer.close()
    this.#options.onClose(reason, this)
  }
}
