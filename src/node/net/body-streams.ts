import { bodyOf, WholeBody } from '../../base/index.ts'
import type { BodyClass } from '../../base/index.ts'
import type { BodyBudget } from './body-budget.ts'
import type { ChannelLimits } from './config.ts'
import { encodeCredit, encodeFrame, FRAME } from './frame-codec.ts'
import type { FrameWriter } from './frame-writer.ts'
import { InboundBody } from './inbound-body.ts'
import { OutboundBody } from './outbound-body.ts'
import { violation } from './refusals.ts'
import { encodeError } from './wire-error.ts'

export type BodyBudgets = Record<BodyClass, BodyBudget>

export interface BodyStreamsOptions {
  writer: FrameWriter
  budgets: BodyBudgets
  limits: ChannelLimits
}

/** A body that the remote sends, with the credit that it still has. */
export interface IncomingBody {
  readonly body: InboundBody
  /** @throws BAD_MESSAGE when the remote sends more than it may. */
  push(bytes: Uint8Array): void
}

const NO_BODY = bodyOf()

/** Makes the two ends of bodies on a channel. */
export class BodyStreams {
  readonly #options: BodyStreamsOptions

  constructor(options: BodyStreamsOptions) {
    this.#options = options
  }

  /** The chunks of a body that is at hand and small enough to ride with its head. */
  inlineOf(body: AsyncIterable<Uint8Array> | undefined): readonly Uint8Array[] | undefined {
    if (!(body instanceof WholeBody)) return undefined
    return body.sizeBytes <= this.#options.limits.inlineBodyBytesMax ? body.chunks : undefined
  }

  /** @param onDone when no more of it will be sent, whatever the reason. */
  send(id: number, what: string, source: AsyncIterable<Uint8Array>, onDone: () => void): OutboundBody {
    const { writer, limits } = this.#options
    const body = new OutboundBody({
      what,
      source,
      dataBytesMax: limits.dataBytesMax,
      idleTimeoutMs: limits.bodyIdleTimeoutMs,
      carrier: {
        whenWritable: write => writer.whenWritable(write),
        data: bytes => writer.data(id, bytes),
        end: () => writer.control(encodeFrame(FRAME.end, id)),
        fail: error => writer.control(encodeFrame(FRAME.error, id, encodeError(error))),
        onDone,
      },
    })
    body.start()
    return body
  }

  /**
   * The remote has no credit until the class's budget admits the body.
   * @param onCancel tells the remote that its bytes are not wanted any further.
   */
  receive(id: number, what: string, bodyClass: BodyClass, onCancel: () => void): IncomingBody {
    const { writer, limits, budgets } = this.#options
    let windowBytes = 0
    let creditBytes = 0
    let takenBytes = 0
    const grant = (bytes: number): void => {
      creditBytes += bytes
      writer.control(encodeCredit(id, bytes))
    }
    let release = (): void => {}
    const body = new InboundBody({
      what,
      idleTimeoutMs: limits.bodyIdleTimeoutMs,
      onTake: bytes => {
        takenBytes += bytes
        // A quarter at a time: few frames, and the sender never runs dry.
        if (takenBytes < windowBytes / 4 || !body.open) return
        grant(takenBytes)
        takenBytes = 0
      },
      onCancel,
      onSettled: () => release(),
    })
    release = budgets[bodyClass].admit(bytes => {
      windowBytes = bytes
      grant(bytes)
    })
    return {
      body,
      push: bytes => {
        if (bytes.byteLength > creditBytes) throw violation('more bytes of a body than it has credit')
        creditBytes -= bytes.byteLength
        body.push(bytes)
      },
    }
  }
}

/** The body that came with its head. */
export function inlineBody(bytes: Uint8Array): WholeBody {
  return bytes.byteLength === 0 ? NO_BODY : bodyOf(bytes)
}

/** A body that nobody will read: lets its source clean up. */
export function discard(body: AsyncIterable<Uint8Array> | undefined): void {
  if (body === undefined || body instanceof WholeBody) return
  Promise.resolve(body[Symbol.asyncIterator]().return?.()).catch(() => undefined)
}
