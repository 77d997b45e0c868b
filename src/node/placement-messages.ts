import { z } from 'zod'
import { message } from '../base/index.ts'

/** Orders and questions about who holds what; any peer answers them, from its own replicated state. */

/** Name or id of a member. */
const peer = z.string().min(1).max(128)
const count = z.int().nonnegative()

/** How far a member's data has moved off. */
const drainProgress = z.object({
  peerId: z.string(),
  name: z.string(),
  state: z.enum(['up', 'down', 'left']),
  draining: z.boolean(),
  /** Slots that still name it. */
  slots: count,
  /** Blocks of which it is still a holder, and their bytes. */
  blocks: count,
  bytes: count,
  /** Of those, the ones that are not yet on as many other living peers as there should be. */
  unsafe: count,
  /** It still votes, and somebody could take its place. */
  votes: z.boolean(),
  /** Nothing keeps it any more. */
  done: z.boolean(),
})
export type DrainProgress = z.infer<typeof drainProgress>

/** Marks a member as draining, or takes that back. It leaves by itself once everything is elsewhere. */
export const drainPeer = message({
  name: 'node.peer.drain',
  from: 'everyone',
  request: z.object({
    peer,
    cancel: z.boolean().optional(),
    /** Go even if fewer copies remain than wanted, for want of peers. */
    degraded: z.boolean().optional(),
  }),
  reply: drainProgress,
})

export const drainStatus = message({
  name: 'node.peer.draining',
  from: 'everyone',
  request: z.object({ peer }),
  reply: drainProgress,
})

/** Changes a member's share of the data while it runs. */
export const weighPeer = message({
  name: 'node.peer.weigh',
  from: 'everyone',
  request: z.object({ peer, weight: z.number().min(0).max(1_000) }),
  reply: z.object({ peerId: z.string(), name: z.string(), weight: z.number() }),
})

const endangeredPath = z.object({ path: z.string(), blocks: count })
const deathPlan = z.object({
  peerId: z.string(),
  name: z.string(),
  /** Blocks that it holds, and their bytes. */
  blocks: count,
  bytes: count,
  /** What would be copied: blocks and bytes from whom to whom, the largest first. */
  copies: z.array(z.object({ from: z.string(), to: z.string(), blocks: count, bytes: count })),
  copyBlocks: count,
  copyBytes: count,
  /** Until the copying begins, and how long it takes at `bytesPerSecond` into each peer. */
  graceMs: z.number(),
  copyMs: z.number(),
  bytesPerSecond: z.number(),
  /** Copies for which no peer is left. */
  unplaced: count,
  /** Files that would have blocks without any living copy, or with one; at most 100 each. */
  lost: z.array(endangeredPath),
  lostBlocks: count,
  single: z.array(endangeredPath),
  singleBlocks: count,
})
export type DeathPlan = z.infer<typeof deathPlan>

/** What would be done if that member died now. Changes nothing. */
export const planIfPeerDies = message({
  name: 'node.plan.death',
  from: 'everyone',
  request: z.object({ peer }),
  reply: deathPlan,
})
