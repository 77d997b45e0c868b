import { fromWire, toWire } from '../../base/index.ts'
import { InboundBody } from './inbound-body.ts'

export interface PipedBodyOptions {
  /** Names the body in errors. */
  what: string
  source: AsyncIterable<Uint8Array>
  /** Bytes pulled ahead of the reader. */
  windowBytes: number
  idleTimeoutMs: number
  /** The reader gave up, or the idle limit passed. */
  onCancel?(): void
  /** Nothing is held any more, however it ended. */
  onSettled?(): void
}

/** A body that stays in the process, with the manners of one from the wire: window, idle limit, coded errors. */
export function pipedBody(options: PipedBodyOptions): InboundBody {
  const { source, windowBytes } = options
  const iterator = source[Symbol.asyncIterator]()
  let queuedBytes = 0
  let wake: (() => void) | undefined
  let finished = false
  const full = (): boolean => queuedBytes >= windowBytes
  const body = new InboundBody({
    what: options.what,
    idleTimeoutMs: options.idleTimeoutMs,
    onTake: bytes => {
      queuedBytes -= bytes
      wake?.()
    },
    onCancel: () => options.onCancel?.(),
    onSettled: () => {
      wake?.()
      // A source in the middle of something ends when that is over; nobody waits for it.
      if (!finished) Promise.resolve(iterator.return?.()).catch(() => undefined)
      options.onSettled?.()
    },
  })
  const pump = async (): Promise<void> => {
    while (body.open) {
      const step = await iterator.next()
      if (step.done === true) {
        finished = true
        body.end()
        return
      }
      queuedBytes += step.value.byteLength
      body.push(step.value)
      while (full() && body.open) {
        await new Promise<void>(resolve => {
          wake = resolve
        })
      }
    }
  }
  pump().catch((error: unknown) => {
    finished = true
    body.fail(fromWire(toWire(error)))
  })
  return body
}
