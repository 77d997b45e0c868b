import { z } from 'zod'
import { message } from '../base/index.ts'
import { REPORT } from './config.ts'
import type { PeerStatus } from './log-messages.ts'

const count = z.int().nonnegative()
/** What is shown to people only is cut to this. */
const REASON_MAX = 1_000

const peerVitals = z.object({
  version: z.string(),
  pid: count,
  upMs: z.number(),
  /** Worker threads, and the tasks that were taken on for them. */
  workers: count,
  runningTasks: count,
  /** Processor time of the process, in cores that were busy, over the last seconds. */
  cpuCores: z.number().nonnegative(),
  rssBytes: count,
  /** The most since the process began. */
  rssPeakBytes: count,
  /** What it was told to live with beside what an idle peer takes, where it was told. */
  memoryBytes: count.optional(),
  /** Written to disk for want of memory since the peer started: by tasks, and outputs that nobody had read yet. */
  spilledBytes: count,
  /** Of map outputs that it fetched from other peers since its start, and how many bytes of them travelled: fewer between hosts. */
  shuffles: z.object({ fetchedBytes: count, wireBytes: count }),
  /** Partitions of cached RDDs, and what they take. */
  kept: z.object({ partitions: count, memoryBytes: count, diskBytes: count }),
  appliedIndex: count,
  /** As in PeerStatus: `reserve` and `full` mean that it takes nothing but metadata, or nothing. */
  space: z.enum(['ok', 'low', 'reserve', 'full']),
  forgot: z.boolean(),
  damagedLogs: count,
  /** The newest of them. */
  damagedLog: z.object({ reason: z.string().max(REASON_MAX), folder: z.string() }).optional(),
  slotsOwned: count,
  store: z.object({
    /** Copies of blocks, and their bytes. */
    blocks: count,
    usedBytes: count,
    /** Before the reserve is taken off; 0 when the disk does not say. */
    freeBytes: count,
    /** Why the whole store is given up. */
    failure: z.string().max(REASON_MAX).optional(),
    /** Bad copies that nobody could mend so far, by what is wrong with them. */
    corrupt: count,
    missing: count,
    /** Since the peer started: bad copies found, and those of them that were mended. */
    found: count,
    repaired: count,
    /** Copies whose last verification is too long ago, and how long ago that of the oldest is. */
    scrubDue: count,
    scrubOldestMs: z.number().optional(),
  }),
})
/** How one peer is: its load, its memory, its log, its disk. */
export type PeerVitals = z.infer<typeof peerVitals>

/** What only the asked peer knows of itself. */
export const vitals = message({
  name: 'node.vitals',
  from: 'everyone',
  request: z.object({}),
  reply: peerVitals,
})

const reportedPeer = z.object({ peerId: z.string(), name: z.string(), vitals: peerVitals.optional() })
/** Without `vitals` it did not say in time. */
export type ReportedPeer = z.infer<typeof reportedPeer>

/** The same of all living members, asked by the one that answers, a page at a time. Works without a leader. */
export const meshVitals = message({
  name: 'node.vitals.all',
  from: 'everyone',
  request: z.object({ startAt: count }),
  reply: z.object({ peers: z.array(reportedPeer).max(REPORT.pagePeers), more: z.boolean() }),
})

/** The mesh as one peer sees it, and every living peer as it sees itself. */
export interface MeshReport {
  status: PeerStatus
  peers: ReportedPeer[]
}
