import { ShoalError } from '../../base/index.ts'
import type { BodyClass } from '../../base/index.ts'
import { BodyStreams } from './body-streams.ts'
import type { BodyBudgets } from './body-streams.ts'
import type { ChannelLimits } from './config.ts'
import type { RawAnswer } from './dispatcher.ts'
import {
  decodeCredit,
  decodeReply,
  decodeRequest,
  encodeFrame,
  encodeRequest,
  FRAME,
  FrameParser,
  NAME_BYTES_MAX,
} from './frame-codec.ts'
import type { FrameKind, FrameMessage } from './frame-codec.ts'
import { FrameWriter } from './frame-writer.ts'
import type { DuplexPort } from './frame-writer.ts'
import { InboundRequests } from './inbound-requests.ts'
import type { ChannelRequest } from './inbound-requests.ts'
import { OutboundRequests } from './outbound-requests.ts'
import type { ChannelCallOptions, ChannelReply } from './outbound-requests.ts'
import { connectionLost, tooLarge, violation } from './refusals.ts'
import { SilenceWatch } from './silence-watch.ts'
import { decodeError, encodeError } from './wire-error.ts'

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

/**
 * Requests, replies, one-way messages and streamed bodies over one byte stream, both ends alike.
 *
 * - Either end asks; a reply's head resolves the call, its body streams after it under credit.
 * - The answerer's exchange is over when its reply is out whole; what is left of the request's body is then cancelled.
 * - A body not read for `bodyIdleTimeoutMs` fails and frees its credit; leaving a `for await` early cancels it at once.
 * - The end of the stream, or a remote silent for `idleLimitMs` while something is under way, fails everything with
 *   CONNECTION_LOST: a body ends cleanly only with its END frame.
 * - This file: the hello, the frames, one-way messages, the end. Exchanges: `OutboundRequests`, `InboundRequests`.
 * - Inbound bytes need no back-pressure below: requests, notes and credit bound what can come.
 */
export class FrameChannel {
  readonly #options: ChannelOptions
  readonly #port: DuplexPort
  readonly #limits: ChannelLimits
  readonly #writer: FrameWriter
  readonly #watch: SilenceWatch
  readonly #outbound: OutboundRequests
  readonly #inbound: InboundRequests
  readonly #opened = Promise.withResolvers<void>()
  readonly #helloTimer: NodeJS.Timeout
  #greeted = false
  #closed: ShoalError | undefined
  #notesQueued = 0
  #notesHandled = 0
  /** Come while as many as may be are being handled; at most `notesMax`, more are dropped. */
  readonly #notesHeld: FrameMessage[] = []

  constructor(options: ChannelOptions) {
    const { port, limits, budgets, remote } = options
    this.#options = options
    this.#port = port
    this.#limits = limits
    this.#opened.promise.catch(() => undefined)
    const parser = new FrameParser(limits, {
      onFrame: (kind, id, payload) => this.#onFrame(kind, id, payload),
      onData: (id, bytes) => this.#exchanges(id).onData(id, bytes),
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
    const writer = this.#writer
    const bodies = new BodyStreams({ writer, budgets, limits })
    const onBegin = (): void => this.#watch.start()
    const { requestsMax, headBytesMax } = limits
    const firstId = options.dialler ? 1 : 2
    this.#outbound = new OutboundRequests({ writer, bodies, remote, firstId, requestsMax, onBegin })
    this.#inbound = new InboundRequests({
      writer,
      bodies,
      remote,
      requestsMax,
      headBytesMax,
      classOf: type => options.classOf(type),
      onRequest: request => options.onRequest(request),
      onBegin,
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
    return this.#outbound.size + this.#inbound.size
  }

  /** Rejects with CONNECTION_LOST, TIMEOUT, CANCELLED, BUSY, TOO_LARGE, or what the remote answered. */
  call(type: string, head: Uint8Array, options: ChannelCallOptions): Promise<ChannelReply> {
    const refusal = this.#closed ?? this.#misfit(type, head)
    return refusal === undefined ? this.#outbound.call(type, head, options) : Promise.reject(refusal)
  }

  /**
   * Says without waiting. False: dropped, the remote does not keep up or the channel is closed.
   * @throws TOO_LARGE, BAD_MESSAGE
   */
  note(type: string, head: Uint8Array): boolean {
    const misfit = this.#misfit(type, head)
    if (misfit !== undefined) throw misfit
    if (this.#closed !== undefined || this.#notesQueued >= this.#limits.notesMax) return false
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

  #misfit(type: string, head: Uint8Array): ShoalError | undefined {
    const { headBytesMax } = this.#limits
    if (head.byteLength > headBytesMax) return tooLarge(`head of ${type}`, head.byteLength, headBytesMax)
    if (Buffer.byteLength(type) <= NAME_BYTES_MAX) return undefined
    const reason = `the name is longer than ${NAME_BYTES_MAX} bytes`
    return new ShoalError('BAD_MESSAGE', { type, reason })
  }

  // ---- frames ----

  #isOurs(id: number): boolean {
    return (id % 2 === 1) === this.#options.dialler
  }

  /** Those that the exchange belongs to. */
  #exchanges(id: number): OutboundRequests | InboundRequests {
    return this.#isOurs(id) ? this.#outbound : this.#inbound
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
        return this.#inbound.onRequest(id, decodeRequest(payload, this.#limits))
      case FRAME.reply:
        if (!this.#isOurs(id)) throw violation(`reply to request ${id}, which is not ours`)
        return this.#outbound.onReply(id, decodeReply(payload, this.#limits))
      case FRAME.note:
        return this.#onNote(decodeRequest(payload, this.#limits))
      case FRAME.end:
        return this.#exchanges(id).onEnd(id)
      case FRAME.error:
        return this.#exchanges(id).onError(id, decodeError(payload))
      case FRAME.credit:
        return this.#exchanges(id).onCredit(id, decodeCredit(payload))
      case FRAME.cancel:
        return this.#exchanges(id).onCancel(id)
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
    const { notesMax } = this.#limits
    if (this.#notesHandled < notesMax) this.#handleNote(message)
    // Many come in one read, before the first of them can be done with.
    else if (this.#notesHeld.length < notesMax) this.#notesHeld.push(message)
  }

  #handleNote({ type, head }: FrameMessage): void {
    this.#notesHandled += 1
    this.#options
      .onNote(type, head)
      .catch(() => undefined)
      .finally(() => {
        this.#notesHandled -= 1
        const next = this.#closed === undefined ? this.#notesHeld.shift() : undefined
        if (next !== undefined) this.#handleNote(next)
      })
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
    this.#outbound.failAll(error)
    this.#inbound.failAll(error)
    this.#writer.close()
    this.#options.onClose(reason, this)
  }
}
