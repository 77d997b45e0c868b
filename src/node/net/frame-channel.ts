import { bodyOf, hasCode, ShoalError, WholeBody } from '../../base/index.ts'
import type { BodyClass } from '../../base/index.ts'
import { abortReason } from './abort-reason.ts'
import type { BodyBudget } from './body-budget.ts'
import type { ChannelLimits } from './config.ts'
import type { RawAnswer } from './dispatcher.ts'
import {
  decodeCredit,
  decodeReply,
  decodeRequest,
  encodeCredit,
  encodeFrame,
  encodeHeader,
  encodeReply,
  encodeRequest,
  FRAME,
  FrameParser,
  NAME_BYTES_MAX,
} from './frame-codec.ts'
import type { FrameKind, FrameMessage } from './frame-codec.ts'
import { InboundBody } from './inbound-body.ts'
import { OutboundBody } from './outbound-body.ts'
import { decodeError, encodeError } from './wire-error.ts'

/** The duplex byte stream under a channel. */
export interface DuplexPort {
  /** Queues bytes, uncopied. False: full, wait for `onDrain`. May throw once the port is closed. */
  send(bytes: Uint8Array): boolean
  /** Bytes queued here that the remote has not taken. */
  readonly queuedBytes: number
  onBytes(listener: (bytes: Uint8Array) => void): void
  onDrain(listener: () => void): void
  /** Once, whoever closed it. */
  onClose(listener: (error?: Error) => void): void
  /** Writes what is queued, then closes. */
  close(): void
  abort(error: Error): void
}

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
  budgets: Record<BodyClass, BodyBudget>
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
  replyBody?: Incoming
}

/** A request of theirs. */
interface Served {
  what: string
  controller: AbortController | undefined
  /** Why `controller` is, or would have been, aborted. */
  aborted: ShoalError | undefined
  requestBody?: Incoming
  replyBody?: OutboundBody
}

/** An inbound body with the credit that its sender still has. */
interface Incoming {
  body: InboundBody
  creditBytes: number
}

/** Payloads below this are copied behind their header: one write is cheaper than two. */
const COPY_BYTES_MAX = 16 * 1024
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
  readonly #asked = new Map<number, Asked>()
  readonly #served = new Map<number, Served>()
  readonly #opened = Promise.withResolvers<void>()
  readonly #helloTimer: NodeJS.Timeout
  #greeted = false
  #closed: ShoalError | undefined
  #nextId: number
  #blocked = false
  #waitingWrites: (() => void)[] = []
  #notesQueued = 0
  #notesHandled = 0
  #watch: NodeJS.Timeout | undefined
  #heardMs = 0
  #watchedMs = 0

  constructor(options: ChannelOptions) {
    this.#options = options
    this.#port = options.port
    this.#limits = options.limits
    this.#nextId = options.dialler ? 1 : 2
    this.#opened.promise.catch(() => undefined)
    const parser = new FrameParser(options.limits, {
      onFrame: (kind, id, payload) => this.#onFrame(kind, id, payload),
      onData: (id, bytes) => this.#onData(id, bytes),
    })
    this.#port.onBytes(bytes => {
      if (this.#closed !== undefined) return
      this.#heardMs = performance.now()
      try {
        parser.push(bytes)
      } catch (error) {
        this.#refuse(error)
      }
    })
    this.#port.onDrain(() => this.#onDrain())
    this.#port.onClose(error => this.#lose(error))
    const { helloTimeoutMs } = options.limits
    this.#helloTimer = setTimeout(() => {
      this.#refuse(
        new ShoalError('TIMEOUT', { what: `hello of ${options.remote}`, timeoutMs: helloTimeoutMs }),
      )
    }, helloTimeoutMs)
    this.#write(encodeFrame(FRAME.hello, 0, options.hello))
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
      this.#startWatch()
      this.#whenWritable(() => {
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
    this.#whenWritable(() => {
      this.#notesQueued -= 1
      this.#write(encodeRequest(FRAME.note, 0, type, head, [], false))
    })
    return true
  }

  /** Ends it: everything under way fails with CONNECTION_LOST. */
  close(): void {
    this.#shut(
      new ShoalError('CONNECTION_LOST', { peer: this.#options.remote }, 'the connection was closed here'),
    )
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
    const inline = this.#inlineOf(body)
    const follows = body !== undefined && inline === undefined
    this.#write(encodeRequest(FRAME.request, id, type, head, inline ?? [], follows))
    if (!follows) return
    asked.requestBody = this.#sendBody(id, `the body of ${asked.what}`, body, () => delete asked.requestBody)
  }

  #onReply(id: number, message: FrameMessage): void {
    const asked = this.#asked.get(id)
    if (asked === undefined) return
    if (!asked.waiting) throw violation('a second reply to one request')
    asked.waiting = false
    clearTimeout(asked.timer)
    if (message.bodyFollows) {
      const body = this.#receiveBody(id, `the body of the reply to ${asked.what}`, asked.bodyClass, () =>
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
    this.#writeControl(encodeFrame(FRAME.cancel, id))
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
    if (this.#served.size >= this.#limits.requestsMax) {
      this.#writeControl(
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
    this.#startWatch()
    let body: AsyncIterable<Uint8Array> = inlineBody(message.inline)
    if (message.bodyFollows) {
      const bodyClass = this.#options.classOf(message.type)
      served.requestBody = this.#receiveBody(id, `the body of ${served.what}`, bodyClass, () =>
        this.#writeControl(encodeFrame(FRAME.cancel, id)),
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
    this.#options.onRequest(request).then(
      answer => this.#answer(id, served, answer),
      (error: unknown) => this.#answerError(id, served, error),
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
    this.#whenWritable(() => {
      if (this.#served.get(id) !== served) return discard(answer.body)
      const inline = this.#inlineOf(answer.body)
      const follows = answer.body !== undefined && inline === undefined
      this.#write(encodeReply(id, answer.head, inline ?? [], follows))
      if (!follows) return this.#finishServed(id, served)
      served.replyBody = this.#sendBody(id, `the body of the reply to ${served.what}`, answer.body!, () => {
        delete served.replyBody
        this.#finishServed(id, served)
      })
    })
  }

  #answerError(id: number, served: Served, error: unknown): void {
    this.#whenWritable(() => {
      if (this.#served.get(id) !== served) return
      this.#write(encodeFrame(FRAME.error, id, encodeError(error)))
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

  // ---- bodies ----

  /** The chunks of a body that is small and at hand. */
  #inlineOf(body: AsyncIterable<Uint8Array> | undefined): readonly Uint8Array[] | undefined {
    return body instanceof WholeBody && body.sizeBytes <= this.#limits.inlineBodyBytesMax
      ? body.chunks
      : undefined
  }

  #sendBody(id: number, what: string, source: AsyncIterable<Uint8Array>, onDone: () => void): OutboundBody {
    const body = new OutboundBody({
      what,
      source,
      dataBytesMax: this.#limits.dataBytesMax,
      idleTimeoutMs: this.#limits.bodyIdleTimeoutMs,
      carrier: {
        whenWritable: write => this.#whenWritable(write),
        data: bytes => this.#writeData(id, bytes),
        end: () => this.#writeControl(encodeFrame(FRAME.end, id)),
        fail: error => this.#writeControl(encodeFrame(FRAME.error, id, encodeError(error))),
        onDone,
      },
    })
    body.start()
    return body
  }

  /** @param onCancel tells the remote that its bytes are not wanted any further. */
  #receiveBody(id: number, what: string, bodyClass: BodyClass, onCancel: () => void): Incoming {
    let windowBytes = 0
    let takenBytes = 0
    const grant = (bytes: number): void => {
      incoming.creditBytes += bytes
      this.#writeControl(encodeCredit(id, bytes))
    }
    let release = (): void => {}
    const incoming: Incoming = {
      creditBytes: 0,
      body: new InboundBody({
        what,
        idleTimeoutMs: this.#limits.bodyIdleTimeoutMs,
        onTake: bytes => {
          takenBytes += bytes
          if (takenBytes < windowBytes / 4 || !incoming.body.open) return
          grant(takenBytes)
          takenBytes = 0
        },
        onCancel,
        onSettled: () => release(),
      }),
    }
    release = this.#options.budgets[bodyClass].admit(bytes => {
      windowBytes = bytes
      grant(bytes)
    })
    return incoming
  }

  #onData(id: number, bytes: Uint8Array): void {
    const incoming = this.#inboundBody(id)
    if (incoming === undefined) return
    if (bytes.byteLength > incoming.creditBytes) throw violation('more bytes of a body than it has credit')
    incoming.creditBytes -= bytes.byteLength
    incoming.body.push(bytes)
  }

  #inboundBody(id: number): Incoming | undefined {
    if (!this.#isOurs(id)) return this.#served.get(id)?.requestBody
    return this.#asked.get(id)?.replyBody
  }

  #outboundBody(id: number): OutboundBody | undefined {
    return this.#isOurs(id) ? this.#asked.get(id)?.requestBody : this.#served.get(id)?.replyBody
  }

  // ---- frames ----

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
      case FRAME.data:
        return
      case FRAME.end:
        return this.#onEnd(id)
      case FRAME.error:
        return this.#onError(id, decodeError(payload))
      case FRAME.credit:
        return this.#outboundBody(id)?.grant(decodeCredit(payload))
      case FRAME.cancel:
        return this.#onCancel(id)
      case FRAME.ping:
        return this.#writeControl(encodeFrame(FRAME.pong, 0))
      case FRAME.pong:
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

  // ---- writing ----

  /** Runs `write` now, or in turn once the port takes more. Heads and bodies wait here; control frames do not. */
  #whenWritable(write: () => void): boolean {
    if (this.#closed !== undefined) {
      write()
      return true
    }
    if (!this.#blocked && this.#waitingWrites.length === 0) {
      write()
      return true
    }
    this.#waitingWrites.push(write)
    return false
  }

  #onDrain(): void {
    this.#blocked = false
    let next = 0
    while (!this.#blocked && next < this.#waitingWrites.length) {
      const write = this.#waitingWrites[next]!
      next += 1
      write()
    }
    this.#waitingWrites = this.#waitingWrites.slice(next)
  }

  #writeData(id: number, bytes: Uint8Array): void {
    if (bytes.byteLength <= COPY_BYTES_MAX) return this.#write(encodeFrame(FRAME.data, id, bytes))
    this.#write(encodeHeader(FRAME.data, id, bytes.byteLength))
    this.#write(bytes)
  }

  /** A frame that must not wait: a remote that makes us write such and reads nothing is given up. */
  #writeControl(frame: Uint8Array): void {
    const { outboundBytesMax } = this.#limits
    if (this.#port.queuedBytes <= outboundBytesMax) return this.#write(frame)
    const error = tooLarge(`queue to ${this.#options.remote}`, this.#port.queuedBytes, outboundBytesMax)
    this.#lose(error)
    this.#port.abort(error)
  }

  #write(bytes: Uint8Array): void {
    if (this.#closed !== undefined) return
    try {
      if (!this.#port.send(bytes)) this.#blocked = true
    } catch (error) {
      this.#lose(error instanceof Error ? error : new Error(String(error)))
    }
  }

  // ---- the end ----

  #startWatch(): void {
    if (this.#watch !== undefined) return
    this.#heardMs = performance.now()
    this.#watchedMs = this.#heardMs
    this.#watch = setInterval(() => this.#onWatch(), this.#limits.pingIntervalMs)
    this.#watch.unref()
  }

  #onWatch(): void {
    if (this.exchanges === 0) {
      clearInterval(this.#watch)
      this.#watch = undefined
      return
    }
    const { pingIntervalMs, idleLimitMs } = this.#limits
    const nowMs = performance.now()
    // When we ourselves were held up, what the remote sent may lie unread: it is not to blame.
    const lateMs = nowMs - this.#watchedMs - pingIntervalMs
    this.#watchedMs = nowMs
    if (lateMs > pingIntervalMs) this.#heardMs += lateMs
    const silentMs = nowMs - this.#heardMs
    if (silentMs >= idleLimitMs) {
      const error = new ShoalError('TIMEOUT', {
        what: `a sign of ${this.#options.remote}`,
        timeoutMs: idleLimitMs,
      })
      this.#lose(error)
      this.#port.abort(error)
    } else if (silentMs >= pingIntervalMs / 2) {
      this.#writeControl(encodeFrame(FRAME.ping, 0))
    }
  }

  /** The remote does what it must not: it is told why and not heard any more. */
  #refuse(error: unknown): void {
    if (this.#closed !== undefined) return
    this.#write(encodeFrame(FRAME.refuse, 0, encodeError(error)))
    this.#opened.reject(error)
    this.#lose(error instanceof Error ? error : new Error(String(error)))
    this.#port.close()
  }

  #lose(cause: Error | undefined): void {
    const { remote } = this.#options
    const why = cause === undefined ? '' : `: ${cause.message}`
    const text = `the connection to ${remote} is gone${why}`
    this.#shut(new ShoalError('CONNECTION_LOST', { peer: remote }, text, { cause }), cause)
  }

  #shut(error: ShoalError, reason?: Error): void {
    if (this.#closed !== undefined) return
    this.#closed = error
    clearTimeout(this.#helloTimer)
    clearInterval(this.#watch)
    this.#opened.reject(error)
    for (const [id, asked] of this.#asked) this.#failAsked(id, asked, error)
    for (const [id, served] of this.#served) this.#abortServed(id, served, error)
    const waiting = this.#waitingWrites
    this.#waitingWrites = []
    for (const write of waiting) write()
    this.#options.onClose(reason, this)
  }
}

function inlineBody(bytes: Uint8Array): WholeBody {
  return bytes.byteLength === 0 ? NO_BODY : bodyOf(bytes)
}

const NO_BODY = bodyOf()

/** A body that nobody will read: lets its source clean up. */
function discard(body: AsyncIterable<Uint8Array> | undefined): void {
  if (body === undefined || body instanceof WholeBody) return
  Promise.resolve(body[Symbol.asyncIterator]().return?.()).catch(() => undefined)
}

function tooLarge(what: string, bytes: number, limitBytes: number): ShoalError {
  return new ShoalError(
    'TOO_LARGE',
    { what, bytes, limitBytes },
    `${what}: ${bytes} bytes are over the limit of ${limitBytes}`,
  )
}

function busy(what: string, limit: number): ShoalError {
  return new ShoalError(
    'BUSY',
    { what, limit },
    `too many ${what} at once: ${limit} are allowed; try again later`,
  )
}

function violation(reason: string): ShoalError {
  return new ShoalError('BAD_MESSAGE', { type: 'frame', reason }, `the remote broke the protocol: ${reason}`)
}
