import { z } from 'zod'
import { message } from '../base/transport.ts'
import { JOB_EVENTS } from './config.ts'
import { NAME_MAX } from './messages.ts'

const count = z.number().int().nonnegative()

/**
 * What a peer has in its event log of a job: as JSON lines, in order, in the body. Every peer that led while the job ran has
 * a part. The leader waits a while for something new when there is nothing yet.
 */
export const jobEvents = message({
  name: 'rdd.job.events',
  from: 'everyone',
  bodyClass: 'result',
  request: z.object({
    jobId: z.string().max(NAME_MAX),
    /** Only later ones. */
    after: z.object({ term: count, seq: count }).exactOptional(),
    waitMs: count.max(JOB_EVENTS.waitMaxMs).exactOptional(),
  }),
  reply: z.object({
    /** The term in which this peer leads, if it does. */
    leads: count.exactOptional(),
    /** There is more after these. */
    more: z.boolean(),
  }),
})
