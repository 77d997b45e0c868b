import { z } from 'zod'
import { pack, raceAbort, ShoalError, unpack } from '../../base/index.ts'
import type { Handler, MessageType, PeerId } from '../../base/index.ts'

/** A request as it came from the wire: nothing of it has been checked but the sender's identity. */
export interface RawRequest {
  type: string
  head: Uint8Array
  from: PeerId
  fromClient: boolean
  body: AsyncIterable<Uint8Array>
  signal: AbortSignal
}

export interface RawAnswer {
  head: Uint8Array
  body?: AsyncIterable<Uint8Array>
}

interface Entry {
  type: MessageType<unknown, unknown>
  run(request: RawRequest): Promise<RawAnswer>
}

/** What a peer that is starting does with requests that it cannot answer yet. */
export interface StartingLimits {
  /** They wait for so long … @default 5_000 */
  waitMs: number
  /** … and no more of them at a time. @default 256 */
  waitingMax: number
}

const STARTING: StartingLimits = { waitMs: 5_000, waitingMax: 256 }

/** Longest explanation of a schema failure that is sent back. */
const REASON_CHARS_MAX = 500

/** The handlers of a transport, and the checks before any of them: known type, allowed sender, head that fits. */
export class Dispatcher {
  readonly #entries = new Map<string, Entry>()
  /** Resolves when all handlers are there. */
  readonly #complete = Promise.withResolvers<void>()
  readonly #starting: StartingLimits
  #isComplete: boolean
  #waiting = 0

  /** @param handlersFollow requests of unknown types wait, within bounds, until `complete` is called */
  constructor(handlersFollow = false, starting: StartingLimits = STARTING) {
    this.#isComplete = !handlersFollow
    this.#starting = starting
  }

  /** From now on a type without a handler is unknown. */
  complete(): void {
    this.#isComplete = true
    this.#complete.resolve()
  }

  /** Sets the one handler of a type; a later one replaces it, but two types of one name are a mistake of ours. */
  handle<Request, ReplyHead>(
    type: MessageType<Request, ReplyHead>,
    handler: Handler<Request, ReplyHead>,
  ): void {
    const present = this.#entries.get(type.name)
    if (present !== undefined && present.type !== type) {
      throw new ShoalError('INTERNAL', { reason: `two message types are named ${type.name}` })
    }
    this.#entries.set(type.name, {
      type,
      run: async request => {
        const head = parseHead(type.name, type.request, request.head)
        const answer = await handler({
          from: request.from,
          fromClient: request.fromClient,
          head,
          body: request.body,
          // Passed on unread: the wire makes a signal only for handlers that look at it.
          get signal() {
            return request.signal
          },
        })
        return hasBody(answer) ? { head: pack(answer.head), body: answer.body } : { head: pack(answer) }
      },
    })
  }

  /** The declared type of that name, if it has a handler here. */
  typeOf(name: string): MessageType<unknown, unknown> | undefined {
    return this.#entries.get(name)?.type
  }

  /**
   * Rejects with UNKNOWN_MESSAGE, NOT_ADMITTED, BAD_MESSAGE or whatever the handler threw; with BUSY when the handlers are not
   * there yet and too many wait for them already, or too long.
   */
  async dispatch(request: RawRequest): Promise<RawAnswer> {
    if (!this.#isComplete && !this.#entries.has(request.type)) await this.#untilComplete(request.signal)
    const entry = this.#entries.get(request.type)
    if (entry === undefined) throw unknownMessage(request.type)
    if (request.fromClient && entry.type.from === 'peers') {
      throw new ShoalError(
        'NOT_ADMITTED',
        { peer: request.from, reason: `${request.type} is for peers only` },
        `client ${request.from} may not send ${request.type}: only peers of the mesh may`,
      )
    }
    return entry.run(request)
  }

  async #untilComplete(signal: AbortSignal): Promise<void> {
    const { waitMs, waitingMax } = this.#starting
    if (this.#waiting >= waitingMax) throw starting(waitingMax)
    this.#waiting++
    const limit = AbortSignal.timeout(waitMs)
    try {
      await raceAbort(this.#complete.promise, AbortSignal.any([signal, limit]))
    } catch (error) {
      throw limit.aborted && !signal.aborted ? starting(waitingMax) : error
    } finally {
      this.#waiting--
    }
  }
}

function starting(limit: number): ShoalError<'BUSY'> {
  const what = 'requests for a peer that is starting'
  return new ShoalError(
    'BUSY',
    { what, limit },
    'this peer is starting and cannot answer that yet: try again',
  )
}

export function parseHead<Head>(name: string, schema: z.ZodType<Head>, bytes: Uint8Array): Head {
  let value: unknown
  try {
    value = unpack(bytes)
  } catch (cause) {
    throw badMessage(name, 'the head is not one msgpack value', cause)
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw badMessage(name, z.prettifyError(parsed.error).slice(0, REASON_CHARS_MAX), undefined)
}

function unknownMessage(type: string): ShoalError {
  const shown = type.slice(0, 100)
  return new ShoalError(
    'UNKNOWN_MESSAGE',
    { type: shown },
    `no handler for message ${shown}: the other peer runs another version, or this part is not started`,
  )
}

function badMessage(type: string, reason: string, cause: unknown): ShoalError {
  return new ShoalError(
    'BAD_MESSAGE',
    { type, reason },
    `message ${type} does not fit its schema: ${reason}`,
    {
      cause,
    },
  )
}

function hasBody<Head>(
  answer: Head | { head: Head; body: AsyncIterable<Uint8Array> },
): answer is { head: Head; body: AsyncIterable<Uint8Array> } {
  if (typeof answer !== 'object' || answer === null || !('head' in answer) || !('body' in answer))
    return false
  const { body } = answer
  return typeof body === 'object' && body !== null && Symbol.asyncIterator in body
}
