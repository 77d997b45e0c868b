import { z } from 'zod'
import { message } from '../base/index.ts'
import { blockHealth, dhtCommandSchema } from '../dht/index.ts'
import { memberCommand } from '../gossip/index.ts'
import { detachedTerms, jobsCommand } from '../rdd/index.ts'
import type { LogCommand } from './replicated-state.machine.ts'

/** A command for the replicated log. What does not fit its schema never gets there: every peer would have to apply it. */
const logCommand: z.ZodType<LogCommand> = z.discriminatedUnion('part', [
  z.object({ part: z.literal('gossip'), command: memberCommand }),
  z.object({ part: z.literal('dht'), command: dhtCommandSchema }),
  z.object({ part: z.literal('rdd'), command: jobsCommand }),
])

/** Asks the leader to commit a command; answers what applying it answered. Safe to repeat only as the command is. */
export const proposeCommand = message({
  name: 'node.log.propose',
  from: 'peers',
  request: logCommand,
  reply: z.object({ index: z.int().nonnegative(), result: z.unknown() }),
})

/** Makes a saved dataset's part files visible as one directory, whole and at once. */
export const commitOutput = message({
  name: 'node.output.commit',
  from: 'everyone',
  request: z.object({
    path: z.string(),
    /** Names the job, so that a repeated commit gets the first answer. */
    winner: z.string(),
    suffix: z.string().max(64),
    overwrite: z.boolean(),
    parts: z.array(z.object({ fileId: z.string(), blockCount: z.int().nonnegative() })),
  }),
  reply: z.object({ files: z.number() }),
})

/** Finished part files in one request; more are kept by more requests. */
export const HELD_PARTS_MAX = 1_000

/** Keeps finished part files while the rest of their dataset is computed: said by the requester, again and again. */
export const holdOutput = message({
  name: 'node.output.hold',
  from: 'everyone',
  request: z.object({ fileIds: z.array(z.string().max(64)).max(HELD_PARTS_MAX) }),
  reply: z.object({ held: z.int().nonnegative() }),
})

const memberStatus = z.object({
  peerId: z.string(),
  name: z.string(),
  host: z.string(),
  addresses: z.array(z.string()),
  /** As the replicated log has it. */
  state: z.enum(['up', 'down', 'left']),
  /** As gossip sees it right now. */
  liveness: z.enum(['alive', 'suspect', 'dead', 'left', 'unknown']),
  /** The asked peer has seen it die and come back so often lately that it would give it no new replicas, tasks or votes. */
  quarantined: z.boolean(),
  /** Everything it holds is being moved off. */
  draining: z.boolean(),
  /** Share of the data it takes, relative to the others. */
  weight: z.number(),
  zone: z.string().optional(),
  role: z.enum(['leader', 'voter', 'learner']),
})

/** What one peer knows of itself and the mesh. Answered from local state: it works without a leader too. */
export const peerStatus = message({
  name: 'node.status',
  from: 'everyone',
  request: z.object({}),
  reply: z.object({
    peerId: z.string(),
    name: z.string(),
    meshId: z.string(),
    pid: z.number(),
    version: z.string(),
    upMs: z.number(),
    workers: z.number(),
    rssBytes: z.number(),
    leader: z.string().optional(),
    term: z.number(),
    role: z.string(),
    voters: z.array(z.string()),
    votersTarget: z.number(),
    appliedIndex: z.number(),
    /** Room on the disk of the asked peer's log; `reserve` and `full`: nothing but metadata, or nothing, can be written. */
    space: z.enum(['ok', 'low', 'reserve', 'full']),
    /** The asked peer lost its log and has no vote until the log itself settles that. */
    forgot: z.boolean(),
    /** Logs of the asked peer that were found damaged and set aside. */
    damagedLogs: z.array(z.object({ atMs: z.number(), reason: z.string(), folder: z.string() })),
    members: z.array(memberStatus),
    files: z.object({
      files: z.number(),
      directories: z.number(),
      blocks: z.number(),
      sizeBytes: z.number(),
      storedBytes: z.number(),
      /** Blocks with fewer living copies than they should have, and of those, the ones with none. */
      underReplicated: z.number(),
      missing: z.number(),
      /** Beside those: blocks on every living peer, of which there are fewer than copies wanted. */
      short: z.number(),
      slotsMoving: z.number(),
      slotsOwned: z.number(),
    }),
    /** The answering peer's own blocks: space, bad copies found and mended, the scrub. */
    store: blockHealth.reply.optional(),
  }),
})
export type PeerStatus = z.infer<typeof peerStatus.reply>

const jobRecord = z.object({
  jobId: z.string(),
  name: z.string(),
  requester: z.string(),
  relay: z.string(),
  status: z.enum(['running', 'done', 'failed', 'cancelled']),
  startedMs: z.number(),
  endedMs: z.number().optional(),
  reason: z.string().optional(),
  tasks: z.number().optional(),
  retried: z.number().optional(),
  /** It needs no client. */
  detached: detachedTerms.optional(),
  /** Its result waits until then. */
  keptUntilMs: z.number().optional(),
})

const electionView = z.object({
  peerId: z.string(),
  name: z.string(),
  role: z.string(),
  term: z.number(),
  leader: z.string().optional(),
  /** It leads, and an entry of its own term is committed. */
  ready: z.boolean(),
  /** Of this term. */
  votedFor: z.string().optional(),
  heardLeaderAgoMs: z.number().optional(),
  voters: z.array(z.string()),
  votersCommitted: z.boolean(),
  commitIndex: z.number(),
  appliedIndex: z.number(),
  lastIndex: z.number(),
  snapshotIndex: z.number(),
  /** Its last candidacy, and what was answered. */
  candidacy: z
    .object({
      term: z.number(),
      agoMs: z.number(),
      granted: z.array(z.string()),
      refused: z.array(z.string()),
    })
    .optional(),
  /** Whom it feeds, when it leads. */
  followers: z.array(
    z.object({
      peerId: z.string(),
      voter: z.boolean(),
      match: z.number(),
      state: z.enum(['probe', 'replicate', 'snapshot']),
      silentMs: z.number(),
      forgot: z.boolean(),
    }),
  ),
  /** The last changes of leader or of its own role, oldest first; `atMs` since the epoch, by its clock. */
  changes: z.array(
    z.object({
      atMs: z.number(),
      term: z.number(),
      leader: z.string().optional(),
      role: z.string(),
      reason: z.string(),
    }),
  ),
})
export type ElectionView = z.infer<typeof electionView>

/** Why who leads leads: as the asked peer saw it, and as the leader did, when that one answers. */
export const leaderWhy = message({
  name: 'node.leader.why',
  from: 'everyone',
  request: z.object({}),
  reply: z.object({ here: electionView, leader: electionView.optional() }),
})
export type LeaderWhy = z.infer<typeof leaderWhy.reply>

/** The jobs that the mesh remembers, oldest first. */
export const listJobs = message({
  name: 'node.jobs',
  from: 'everyone',
  request: z.object({}),
  reply: z.object({ jobs: z.array(jobRecord) }),
})
export type JobListing = z.infer<typeof jobRecord>

/** Tells an attached client that another leader serves. */
export const leaderChanged = message({
  name: 'node.leader.changed',
  from: 'peers',
  request: z.object({ term: z.number() }),
  reply: z.void(),
})
