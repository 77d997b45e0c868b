import { bodyOf, fromWire, ShoalError, toWire, withDeadline } from '../../base/index.ts'
import type { CallOptions, PeerId } from '../../base/index.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { ChannelReply } from './outbound-requests.ts'
import type { InboundBody } from './inbound-body.ts'
import { pipedBody } from './piped-body.ts'
import { abortReason, connectionLost } from './refusals.ts'

export interface LocalCall {
  /** Who answers; undefined when it is gone by the time that the call arrives. */
  target: () => Dispatcher | undefined
  from: PeerId
  fromClient: boolean
  to: PeerId
  type: string
  head: Uint8Array
  windowBytes: number
  bodyIdleTimeoutMs: number
  options: CallOptions
  /** Lets the connection end the call, with an error for each end; returns how to take that back. */
  onLost?(lose: (callers: ShoalError, handlers: ShoalError) => void): () => void
}

/** A call that does not leave the process, with the same checks, deadlines and errors as one over the wire. */
export async function localCall(call: LocalCall): Promise<ChannelReply> {
  const { options, windowBytes, bodyIdleTimeoutMs } = call
  const what = `${call.type} to ${call.to}`
  using deadline = withDeadline(what, options.timeoutMs ?? 10_000, options.signal)
  const refused = abortReason(deadline, what)
  if (refused !== undefined) throw refused
  // Only when it is wanted: an error with its stack costs more than all the rest of a local call.
  const cancelled = (): ShoalError => new ShoalError('CANCELLED', { what: `${call.type} from ${call.from}` })
  const handler = new AbortController()
  const answer = Promise.withResolvers<ChannelReply>()
  const request =
    options.body &&
    pipedBody({
      what: `the body of ${what}`,
      source: options.body,
      windowBytes,
      idleTimeoutMs: bodyIdleTimeoutMs,
    })
  let replyBody: InboundBody | undefined
  let settled = false
  const settle = (): void => {
    settled = true
    unlose?.()
    options.signal?.removeEventListener('abort', onCancel)
    request?.cancel()
  }
  const stop = (callers: ShoalError, handlers: ShoalError): void => {
    if (settled) return
    settle()
    answer.reject(callers)
    replyBody?.fail(callers)
    request?.fail(handlers)
    handler.abort(handlers)
  }
  const onCancel = (): void => stop(abortReason(options.signal, what)!, cancelled())
  const onDeadline = (): void => stop(abortReason(deadline, what)!, cancelled())
  const unlose = call.onLost?.(stop)
  options.signal?.addEventListener('abort', onCancel, { once: true })
  deadline.addEventListener('abort', onDeadline, { once: true })

  const arrive = async (): Promise<void> => {
    if (settled) return
    const target = call.target()
    if (target === undefined) return stop(connectionLost(call.to), connectionLost(call.from))
    const raw = await target.dispatch({
      type: call.type,
      head: call.head,
      from: call.from,
      fromClient: call.fromClient,
      body: request ?? bodyOf(),
      signal: handler.signal,
    })
    const source = raw.body
    if (source === undefined) return answer.resolve({ head: raw.head, body: bodyOf() })
    replyBody = pipedBody({
      what: `the body of the reply to ${what}`,
      source,
      windowBytes,
      idleTimeoutMs: bodyIdleTimeoutMs,
      onCancel: () => handler.abort(cancelled()),
      onSettled: settle,
    })
    // The caller has gone meanwhile: nobody will read it.
    if (settled) replyBody.cancel()
    answer.resolve({ head: raw.head, body: replyBody })
  }
  setImmediate(() => {
    arrive().catch((error: unknown) => answer.reject(fromWire(toWire(error))))
  })

  try {
    const reply = await answer.promise
    if (replyBody === undefined) settle()
    return reply
  } catch (error) {
    settle()
    throw error
  } finally {
    deadline.removeEventListener('abort', onDeadline)
  }
}
