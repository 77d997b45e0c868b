import { z } from 'zod'
import { message } from '../base/index.ts'
import type { MeshId, PeerId } from '../base/index.ts'
import type { RaftMessage } from './raft-types.ts'

/** Wire types and limits of this folder. Every limit bounds what a remote may make a peer keep or compute. */

// ---- Membership: what peers tell each other, on a direct channel and on the topic `members`.

const NAME_MAX = 64
export const ADDRESS_MAX = 160
const PEER_ID_MAX = 128
/** Addresses told per member; a host with more interfaces tells its first ones. */
export const ADDRESSES_MAX = 8
/** Above any wall clock in milliseconds for the next 140,000 years, and still a safe integer when raised. */
export const INCARNATION_MAX = 2 ** 52
/** A year: nobody is remembered for that long. */
export const GONE_MS_MAX = 365 * 86_400_000
/** Updates in one message; the sender also keeps to a size, see `UPDATES_BYTES`. */
export const UPDATES_MAX = 256
/** What a sender puts into one message of updates, well below the limit of a message head. */
export const UPDATES_BYTES = 32 * 1024
/** Members whose versions one `sync` compares; a larger table is compared slice by slice. */
export const DIGEST_MAX = 400

export const peerId = z.custom<PeerId>(
  value => typeof value === 'string' && value.length > 0 && value.length <= PEER_ID_MAX,
  'a peer id of 1 to 128 characters',
)
const incarnation = z.int().min(0).max(INCARNATION_MAX)
const sequence = z.int().min(0)

/** In the order in which news about one incarnation wins: the later one is kept. */
export const MEMBER_STATES = ['alive', 'suspect', 'dead', 'left'] as const
export type MemberState = (typeof MEMBER_STATES)[number]

/** Hints for choosing a peer; nothing depends on their being right or fresh. */
const memberMeta = z.object({
  /** Busy share of its workers, 0 to 1. */
  load: z.number().min(0).max(1).optional(),
  /** Free bytes on the disk that holds its blocks. */
  diskFreeBytes: z.number().min(0).optional(),
})
export type MemberMeta = z.infer<typeof memberMeta>

export const memberInfo = z.object({
  name: z.string().max(NAME_MAX),
  /** Multiaddrs at which it may be dialled. */
  addresses: z.array(z.string().max(ADDRESS_MAX)).max(ADDRESSES_MAX),
  /** Where it stands, for spreading replicas and voters; an empty zone means none. */
  labels: z.object({ host: z.string().max(NAME_MAX), zone: z.string().max(NAME_MAX) }),
  meta: memberMeta,
})
export type MemberInfo = z.infer<typeof memberInfo>

const memberUpdate = z
  .object({
    peerId,
    incarnation,
    state: z.enum(MEMBER_STATES),
    /** Peers whose own probe failed, for suspect and dead. */
    accusers: z.array(peerId).max(16),
    /** Always with alive; with the others only where the receiver may never have heard of the peer. */
    info: memberInfo.optional(),
    /** With info of dead and left ones: for how long, so that all forget it at the same time. */
    goneMs: z.number().min(0).max(GONE_MS_MAX).optional(),
  })
  .refine(update => update.state !== 'alive' || update.info !== undefined, 'alive needs info')
export type MemberUpdate = z.infer<typeof memberUpdate>

const updates = z.array(memberUpdate).max(UPDATES_MAX)

/** The version of one member as the sender knows it: peer, incarnation, place of its state in MEMBER_STATES. */
const digestEntry = z.tuple([peerId, incarnation, z.int().min(0).max(3)])
export type DigestEntry = z.infer<typeof digestEntry>

const ping = z.object({ type: z.literal('ping'), sequence, updates })
const ack = z.object({ type: z.literal('ack'), sequence, updates })
const pingRequest = z.object({ type: z.literal('ping-req'), sequence, target: peerId })
/** A helper's answer to a ping-req when the target has not answered it: the helper at least is there. */
const nack = z.object({ type: z.literal('nack'), sequence })
const compare = z.object({
  type: z.literal('compare'),
  /** Of the versions of all whom the sender takes for alive or suspect; who has another one starts a sync. */
  hash: z.int().min(0),
})
const sync = z.object({
  type: z.literal('sync'),
  /** The slice of the id space compared: `after` < peer id ≤ `upTo`; empty strings mean no bound. */
  after: z.string().max(PEER_ID_MAX),
  upTo: z.string().max(PEER_ID_MAX),
  digest: z.array(digestEntry).max(DIGEST_MAX),
})
const news = z.object({
  type: z.literal('news'),
  updates,
  /** Peers of which the sender wants the receiver's newer record. */
  wanted: z.array(peerId).max(DIGEST_MAX),
  /** There was more to tell than fits: ask again, after the last of these ids. */
  more: z.boolean(),
})
const membershipMessage = z.discriminatedUnion('type', [ping, ack, nack, pingRequest, compare, sync, news])
export type MembershipMessage = z.infer<typeof membershipMessage>

/** One-way: SWIM has its own time-outs, and an answer that comes later than they do is of no use. */
export const membershipMessageType = message<MembershipMessage, void>({
  name: 'gossip.membership.message',
  request: membershipMessage,
  reply: z.void(),
  from: 'peers',
})

/** Gossip topic of member updates; its payload is a packed `membersBatch`. */
export const MEMBERS_TOPIC = 'members'
export const membersBatch = z.object({ updates })

// ---- Members: what the replicated log says of them (commands of `members.machine.ts`).

/** Share of the data of a member that does not say: all peers count the same, whatever their disks. */
export const WEIGHT_DEFAULT = 1
/** A peer of this weight takes a thousand times the data of an ordinary one; more is a slip of the pen. */
export const WEIGHT_MAX = 1_000
const weight = z.number().min(0).max(WEIGHT_MAX)

const peerJoin = z.object({
  type: z.literal('peer-join'),
  peerId,
  name: memberInfo.shape.name,
  addresses: memberInfo.shape.addresses,
  labels: memberInfo.shape.labels,
  /** Drawn at random when the data directory was made: with another one the peer has forgotten what it promised. */
  directoryId: z.string().min(1).max(64),
  /** Share of the data it asks for; without it a known peer keeps the one it has, a new one gets `WEIGHT_DEFAULT`. */
  weight: weight.optional(),
})
export const memberCommand = z.discriminatedUnion('type', [
  peerJoin,
  z.object({ type: z.literal('peer-up'), peerId }),
  z.object({ type: z.literal('peer-down'), peerId }),
  z.object({ type: z.literal('peer-leave'), peerId }),
  z.object({ type: z.literal('peer-remove'), peerId }),
  /** Its data and its vote are to go elsewhere; `cancel` takes that back. */
  z.object({
    type: z.literal('peer-drain'),
    peerId,
    cancel: z.boolean().optional(),
    /** It may go when fewer copies than wanted remain, for want of peers. */
    mayDegrade: z.boolean().optional(),
  }),
  /** Changes its share of the data while it runs; 0 takes none. */
  z.object({ type: z.literal('peer-weigh'), peerId, weight }),
])
export type MemberCommand = z.infer<typeof memberCommand>

const memberRecord = peerJoin.omit({ type: true, weight: true }).extend({
  /** Share of the data it takes, relative to the others; 0 takes none. A draining member takes none, whatever its weight. */
  weight,
  /** Everything it holds is being moved off, and it is no candidate for a vote. Ends with `cancel`, or when it comes back after it left. */
  draining: z.boolean(),
  /** It may go although fewer copies than wanted remain, for want of peers. */
  mayDegrade: z.boolean().optional(),
  /** `left` went on purpose and may come back; `down` was found dead by the leader. */
  state: z.enum(['up', 'down', 'left']),
  /** Log time at which it entered its state. */
  sinceMs: z.number(),
  /** Log index of its first join. */
  joinedIndex: z.int().min(0),
})
/** A member as the replicated state knows it. */
export type MemberRecord = z.infer<typeof memberRecord>

export const membersSnapshot = z.object({ version: z.literal(2), members: z.array(memberRecord) })

// ---- Election and replicated log: direct messages between peers, hints on the topics `leader` and `vote`.

/** Above any term or index that a mesh reaches in its life, and what the log's records can hold. */
const TERM_MAX = 2 ** 48 - 1
/** Entries of one append, whatever the sender's configuration says. */
const APPEND_ENTRIES_MAX = 4_096
/** Twice the largest command that is accepted: a later version may accept more. */
const ENTRY_BYTES_MAX = 512 * 1024
const VOTERS_MAX = 15

const meshId = z.custom<MeshId>(
  value => typeof value === 'string' && value.length > 0 && value.length <= 64,
  'a mesh id of 1 to 64 characters',
)
const term = z.int().min(0).max(TERM_MAX)
const logIndex = z.int().min(0).max(TERM_MAX)
const readId = z.string().min(1).max(128)
const voters = z.array(peerId).max(VOTERS_MAX)
const lifeNumber = z.int().min(0).max(TERM_MAX)
const life = z.object({ number: lifeNumber, forgot: z.boolean() }).optional()
const entryHead = { term, index: logIndex, timeMs: z.number().min(0) }

const raftEntry = z.discriminatedUnion('kind', [
  z.object({ ...entryHead, kind: z.literal('command'), data: bytes(ENTRY_BYTES_MAX) }),
  z.object({ ...entryHead, kind: z.literal('no-op') }),
  z.object({ ...entryHead, kind: z.literal('config'), voters, settles: lifeNumber.optional() }),
])

const lastEntry = { lastIndex: logIndex, lastTerm: term }
const preVote = z.object({ type: z.literal('pre-vote'), term, ...lastEntry })
const vote = z.object({ type: z.literal('vote'), term, ...lastEntry, transfer: z.boolean().optional() })
const leaderHere = z.object({ type: z.literal('leader-here'), term, commit: logIndex })

const raftMessage = z.discriminatedUnion('type', [
  preVote,
  z.object({ type: z.literal('pre-vote-reply'), term, granted: z.boolean() }),
  vote,
  z.object({ type: z.literal('vote-reply'), term, granted: z.boolean() }),
  z.object({
    type: z.literal('append'),
    term,
    prevIndex: logIndex,
    prevTerm: term,
    entries: z.array(raftEntry).max(APPEND_ENTRIES_MAX),
    commit: logIndex,
  }),
  z.discriminatedUnion('ok', [
    z.object({ type: z.literal('append-reply'), term, ok: z.literal(true), match: logIndex, life }),
    z.object({
      type: z.literal('append-reply'),
      term,
      ok: z.literal(false),
      rejected: logIndex,
      hintIndex: logIndex,
      hintTerm: term,
      life,
    }),
  ]),
  z.object({
    type: z.literal('heartbeat'),
    term,
    commit: logIndex,
    round: sequence,
    life: lifeNumber.optional(),
  }),
  z.object({
    type: z.literal('heartbeat-reply'),
    term,
    round: sequence,
    life,
    unfit: z.boolean().optional(),
  }),
  z.object({ type: z.literal('timeout-now'), term }),
  z.object({ type: z.literal('read-index'), term, id: readId }),
  z.object({ type: z.literal('read-index-reply'), term, id: readId, index: logIndex.optional() }),
  leaderHere,
])

/** Snapshots go as bodies: `gossip.raft.snapshot`. */
export type DirectRaftMessage = Exclude<RaftMessage, { type: 'snapshot' }>

export interface RaftEnvelope {
  meshId: MeshId
  message: DirectRaftMessage
}

const raftEnvelope: z.ZodType<RaftEnvelope> = z.object({
  meshId,
  message: raftMessage,
})

/** One-way: what is lost is sent again, by Raft's own timers. */
export const raftMessageType = message({
  name: 'gossip.raft.message',
  request: raftEnvelope,
  reply: z.void(),
  from: 'peers',
})

const raftSnapshotHead = z.object({
  meshId,
  term,
  snapshot: z.object({ index: logIndex, term, timeMs: z.number().min(0), voters }),
  sizeBytes: z.int().min(0),
})
export type RaftSnapshotHead = z.infer<typeof raftSnapshotHead>

/** The state machine's bytes follow as the body, `sizeBytes` of them. */
export const raftSnapshotType = message({
  name: 'gossip.raft.snapshot',
  request: raftSnapshotHead,
  reply: z.object({}),
  from: 'peers',
})

/** Gossip topics of vote requests and of leaders' announcements; the payload is a packed envelope. */
export const VOTE_TOPIC = 'vote'
export const LEADER_TOPIC = 'leader'

/** What the topics may carry: authority comes from direct messages only. */
export const publishedRaftEnvelope = z.object({
  meshId,
  message: z.discriminatedUnion('type', [preVote, vote, leaderHere]),
})

function bytes(maxBytes: number): z.ZodType<Uint8Array> {
  return z.custom<Uint8Array>(
    value => value instanceof Uint8Array && value.byteLength <= maxBytes,
    `at most ${maxBytes} bytes`,
  )
}
