import { z } from 'zod'
import { message } from '../../base/index.ts'
import { BROADCAST, broadcastRef } from '../../rdd/index.ts'

/** How a broadcast gets from its requester to one peer, and from there to all others. */

const count = z.number().int().nonnegative()

/** Requester → the peer that it is attached to: the bytes are the body. */
export const putBroadcast = message({
  name: 'node.broadcast.put',
  from: 'everyone',
  bodyClass: 'ingress',
  request: z.object({ session: z.string(), generation: count, ref: broadcastRef }),
  reply: z.object({}),
})

/** Peer → peer: the bytes from piece `chunk` on, or who else may have them. */
export const fetchBroadcast = message({
  name: 'node.broadcast.fetch',
  from: 'peers',
  request: z.object({
    id: z.string(),
    chunk: count,
    /** Wait so long for it when it is not here: it is on its way to this peer. */
    waitMs: count.max(BROADCAST.arrivalWaitMs),
    /** Only whether it is here. */
    isQuestion: z.boolean(),
  }),
  reply: z.object({
    state: z.enum(['here', 'busy', 'unknown', 'destroyed']),
    session: z.string(),
    generation: count,
    /** Peers that have it, as far as this one has heard. */
    sources: z.array(z.string()).max(BROADCAST.sourcesMax),
  }),
})

/** Peer → the peer that it has a broadcast from: it can be had here, too. */
export const haveBroadcast = message({
  name: 'node.broadcast.have',
  from: 'peers',
  request: z.object({ id: z.string() }),
  reply: z.object({}),
})

/** Peer → requester: nobody has it any more; it is to be sent again, to the peer that the requester is attached to. */
export const wantBroadcast = message({
  name: 'node.broadcast.want',
  from: 'peers',
  request: z.object({ id: z.string() }),
  reply: z.object({ state: z.enum(['coming', 'destroyed', 'unknown']) }),
})
