import { z } from 'zod'
import { message } from '../base/transport.ts'
import type { BroadcastRef } from './broadcast.ts'

/** What requesters, leader and executors say to one another about broadcasts and accumulators. */

const count = z.number().int().nonnegative()
const bytes = z.custom<Uint8Array>(value => value instanceof Uint8Array)
const nothing: z.ZodType<object> = z.object({})

export const broadcastRef: z.ZodType<BroadcastRef> = z.object({
  id: z.string(),
  sizeBytes: count,
  chunks: bytes,
})

/** Copies of broadcasts up to a generation; `destroyed`: nobody may have it any more. */
const drop = z.object({ id: z.string(), generation: count, destroyed: z.boolean() })

/** Requester → leader: copies that are to go. A hint: what is not heard goes with the session. */
export const dropBroadcast = message({
  name: 'rdd.broadcast.drop',
  from: 'everyone',
  request: drop,
  reply: nothing,
})

/** Leader → executor: the same. */
export const forgetBroadcast = message({
  name: 'rdd.broadcast.forget',
  from: 'peers',
  request: drop.extend({ term: count }),
  reply: nothing,
})

/**
 * Executor → requester: what a map task added to accumulators, before its output is there for others. Said until it is
 * answered; the requester counts each map partition of a shuffle once.
 */
export const accumulatorUpdates = message({
  name: 'rdd.accumulator.update',
  from: 'peers',
  request: z.object({
    jobId: z.string(),
    shuffle: z.string(),
    map: count,
    /** Of the attempt: pieces of two attempts are not mixed. */
    attempt: z.string(),
    /** Where in the whole this piece begins, and how long the whole is. */
    at: count,
    sizeBytes: count,
    piece: bytes,
  }),
  reply: nothing,
})
