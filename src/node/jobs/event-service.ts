import { bodyOf, type Transport } from '../../base/index.ts'
import { JOB_EVENTS, jobEvents } from '../../rdd/index.ts'
import type { EventLog } from './event-log.ts'

/** Answers for the events of jobs that this peer has led, whether or not it still does. */
export function answerEvents(parts: {
  transport: Transport
  events: EventLog
  /** The term in which this peer leads, if it does. */
  leads: () => number | undefined
}): void {
  const { transport, events, leads } = parts
  transport.handle(jobEvents, async ({ head, signal }) => {
    const { jobId, after, waitMs = 0 } = head
    const read = (): Promise<{ text: string; more: boolean }> =>
      events.read(jobId, after, JOB_EVENTS.replyBytesMax)
    let found = await read()
    if (found.text === '' && waitMs > 0 && leads() !== undefined) {
      await events.changed(jobId, after, { waitMs, signal })
      found = await read()
    }
    const term = leads()
    const reply = { more: found.more, ...(term === undefined ? {} : { leads: term }) }
    return { head: reply, body: bodyOf(Buffer.from(found.text)) }
  })
}
