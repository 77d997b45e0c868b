import { z } from 'zod'
import { asBlockId, asFileId, asPeerId, message } from '../base/index.ts'
import { BLOCK_ID_PATTERN, FILE_ID_PATTERN } from './block-id.ts'
import { PATH_BYTES_MAX } from './paths.ts'

/** Entries of one directory answer, partitions of one locate answer, blocks of one inventory answer: the rest is asked for next. */
export const PAGE_MAX = 1_000
/** Damaged copies that one peer names; the rest is counted. */
export const DAMAGED_MAX = 1_000
/** Partitions verified by one request: each may be read whole by all its holders. */
export const VERIFY_MAX = 16
/** Peers named as sources of one copy. */
const SOURCES_MAX = 16
/** Largest partition a client may ask for; the store takes blocks up to twice this (lines longer than a partition). */
const PARTITION_BYTES_MAX = 2 ** 30

// Longer than any valid path, so that the path rules can say what is wrong with a slightly too long one.
const path = z.string().max(2 * PATH_BYTES_MAX)
const peerId = z.string().min(1).max(128).transform(asPeerId)
const fileId = z.string().regex(FILE_ID_PATTERN).transform(asFileId)
const blockId = z.string().regex(BLOCK_ID_PATTERN).transform(asBlockId)
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const count = z.int().nonnegative()
const offset = z.int().nonnegative()
const format = z.enum(['lines', 'csv', 'binary'])
/** Makes sending the mutation again harmless: the first answer is given again. */
const session = z.object({ clientId: z.string().min(1).max(128), seq: z.int().positive() }).optional()
/** `stale` answers from what this peer has applied so far, even without a leader. */
const consistency = z.enum(['linearizable', 'stale']).optional()

/** How old a stale answer may be. Never in one that is not stale. */
export const asOfSchema = z.object({
  /** The last log entry that it knows of. */
  index: count,
  /** Since the answering peer last heard of a leader that a majority followed; absent when it has not since it began. */
  ageMs: z.number().min(0).optional(),
})
export type AsOf = z.infer<typeof asOfSchema>
const asOf = asOfSchema.optional()

const fileStatus = z.object({
  path: z.string(),
  name: z.string(),
  type: z.enum(['file', 'directory']),
  sizeBytes: count,
  modifiedMs: z.number(),
  fileId: fileId.optional(),
  partitions: count.optional(),
  replication: count.optional(),
  format: format.optional(),
  partitionBytes: count.optional(),
  children: count.optional(),
  /** Stored, not enforced. */
  mode: count.optional(),
  owner: z.string().optional(),
  group: z.string().optional(),
})
/** One entry of `ls`, or the answer of `stat`. */
export type FileEntry = z.infer<typeof fileStatus>

const partitionPlace = z.object({
  index: count,
  blockId,
  /** Offset of its first byte in the file. */
  offset,
  bytes: count,
  lines: count.optional(),
  /** True when it ends inside a line that was too long for one partition. */
  midLine: z.boolean().optional(),
  sha256,
  slot: count,
  /** Who should have it, in order. */
  owners: z.array(peerId),
  /** Who has it, living ones first. */
  holders: z.array(peerId),
  /** Living holders. */
  live: count,
  wanted: count,
  /** True when at least `min(wanted, living peers)` holders live. */
  healthy: z.boolean(),
})
export type PartitionPlace = z.infer<typeof partitionPlace>

const putRequest = z.object({
  path,
  overwrite: z.boolean().optional(),
  /** Make missing directories. */
  parents: z.boolean().optional(),
  partitionBytes: z.int().positive().max(PARTITION_BYTES_MAX).optional(),
  format: format.optional(),
  replication: z.int().min(1).max(16).optional(),
  /** Names the upload, so that it can be taken up again. */
  token: z
    .string()
    .regex(/^[\w-]{1,64}$/)
    .optional(),
  /** The body begins behind this many partitions, which an earlier request of this token brought. */
  from: count.optional(),
  /** Keep what is recorded for a day, not only while bytes come. */
  keep: z.boolean().optional(),
})
const putReply = z.object({
  fileId,
  /** Of the whole file. */
  bytes: count,
  partitions: count,
  /** Partitions that were committed with fewer copies than wanted; repair tops them up. */
  degraded: count.optional(),
  /** The log index at which the file became visible. */
  index: count,
})
export type PutReply = z.infer<typeof putReply>

/** Body: the bytes of the file. Refused before any byte is read when the path will not do. */
export const filePut = message({
  name: 'dht.file.put',
  from: 'everyone',
  bodyClass: 'ingress',
  request: putRequest,
  reply: putReply,
})

/** Body: the bytes to add. Refused before any byte is read when the path will not do, or another append is open. */
export const fileAppend = message({
  name: 'dht.file.append',
  from: 'everyone',
  bodyClass: 'ingress',
  request: z.object({ path }),
  reply: putReply.extend({
    /** Bytes that are new. */
    appended: count,
  }),
})
export type AppendReply = z.infer<typeof fileAppend.reply>

const getRequest = z.object({
  path,
  /** First byte; negative counts from the end. @default 0 */
  start: z.int().optional(),
  /** One past the last byte; past the end means the end. @default the end */
  end: offset.optional(),
  /** Only this partition; `start` and `end` then count inside it. */
  partition: count.optional(),
  /** Refuse with NOT_FOUND unless the path still names this version (for reads that go on elsewhere). */
  fileId: fileId.optional(),
  consistency,
})
const getReply = z.object({
  fileId,
  /** Length of the body. */
  bytes: count,
  /** Where the body starts in the file or partition. */
  start: offset,
  /** Of the whole file. */
  sizeBytes: count,
  partitions: count,
  asOf,
})
/** Body of the reply: exactly `bytes` bytes, or an error. */
export const fileGet = message({
  name: 'dht.file.get',
  from: 'everyone',
  bodyClass: 'ingress',
  request: getRequest,
  reply: getReply,
})
export type GetReply = z.infer<typeof getReply>

export const fileLocate = message({
  name: 'dht.file.locate',
  from: 'everyone',
  request: z.object({
    path,
    startAt: count.optional(),
    limit: z.int().min(1).max(PAGE_MAX).optional(),
    consistency,
  }),
  reply: z.object({
    fileId,
    sizeBytes: count,
    partitions: count,
    places: z.array(partitionPlace),
    /** True when there are partitions behind the last of `places`. */
    more: z.boolean(),
    asOf,
  }),
})

export const namespaceMkdir = message({
  name: 'dht.namespace.mkdir',
  from: 'everyone',
  request: z.object({ path, parents: z.boolean().optional(), session }),
  reply: z.object({ created: z.boolean(), index: count }),
})

export const namespaceLs = message({
  name: 'dht.namespace.ls',
  from: 'everyone',
  request: z.object({
    path,
    /** A name; entries behind it. */
    startAfter: z.string().max(PATH_BYTES_MAX).optional(),
    limit: z.int().min(1).max(PAGE_MAX).optional(),
    consistency,
  }),
  reply: z.object({ entries: z.array(fileStatus), more: z.boolean(), asOf }),
})

export const namespaceStat = message({
  name: 'dht.namespace.stat',
  from: 'everyone',
  request: z.object({ path, consistency }),
  reply: fileStatus.extend({ asOf }),
})

export const namespaceMv = message({
  name: 'dht.namespace.mv',
  from: 'everyone',
  request: z.object({ from: path, to: path, session }),
  reply: z.object({ path: z.string(), index: count }),
})

export const namespaceRm = message({
  name: 'dht.namespace.rm',
  from: 'everyone',
  request: z.object({
    path,
    recursive: z.boolean().optional(),
    /** For good, at once. @default false: into the trash */
    skipTrash: z.boolean().optional(),
    session,
  }),
  reply: z.object({
    files: count,
    directories: count,
    sizeBytes: count,
    /** Where it is now. */
    trash: z.string().optional(),
    index: count,
  }),
})

const blockUsage = z.object({
  files: count,
  directories: count,
  blocks: count,
  /** Each file once. */
  sizeBytes: count,
  /** With every copy. */
  storedBytes: count,
})
export const namespaceUsage = message({
  name: 'dht.namespace.usage',
  from: 'everyone',
  request: z.object({ path, consistency }),
  reply: blockUsage.extend({ asOf }),
})

const storedBlock = z.object({ blockId, bytes: count, sha256 })

/**
 * Body: one replica. The answer means durable: data, checksums and directory entry were synced.
 * The fence is the file's lease: refused with LEASE_LOST when this peer has applied `leaseIndex` and knows no such lease.
 */
export const blockWrite = message({
  name: 'dht.block.write',
  from: 'peers',
  bodyClass: 'replica',
  request: z.object({ blockId, path, leaseIndex: count }),
  reply: storedBlock.extend({ durable: z.literal(true) }),
})

/** Body of the reply: the bytes [start, end) of the block, each checked against its chunk's checksum by the holder. */
export const blockRead = message({
  name: 'dht.block.read',
  from: 'peers',
  bodyClass: 'fetch',
  request: z.object({ blockId, start: offset.optional(), end: offset.optional() }),
  reply: z.object({ bytes: count }),
})

/**
 * "Have this block, verified": the receiver checks the copy it has, or pulls one from a holder, and answers only when
 * it has it on disk with this length and hash.
 */
export const blockCopy = message({
  name: 'dht.block.copy',
  from: 'peers',
  request: z.object({
    blockId,
    bytes: count,
    sha256,
    from: z.array(peerId).max(SOURCES_MAX),
    /** The slot's epoch as the asking planner sees it; where the slot has moved on it is refused with STALE_EPOCH. */
    fence: z.object({ slot: count, epoch: count }).optional(),
    /** Hardly a copy is left: do not slow it down. */
    urgent: z.boolean().optional(),
  }),
  reply: storedBlock.extend({ copied: z.boolean() }),
})

export const blockInventory = message({
  name: 'dht.block.inventory',
  from: 'peers',
  request: z.object({ startAfter: blockId.optional(), limit: z.int().min(1).max(PAGE_MAX).optional() }),
  reply: z.object({ blocks: z.array(storedBlock), more: z.boolean() }),
})

const replicaVerdict = z.object({
  found: z.enum(['good', 'corrupt', 'missing']),
  now: z.enum(['good', 'reported', 'bad', 'unneeded']),
})

/**
 * "Your replica seems bad", or "is it good?": the holder reads it whole, compares it with the log, and mends it when it is bad.
 * Refused with BUSY when it has enough to check already.
 */
export const blockCheck = message({
  name: 'dht.block.check',
  from: 'peers',
  request: z.object({ blockId }),
  reply: replicaVerdict,
})

const storeHealth = z.object({
  blocks: count,
  usedBytes: count,
  /** Before the reserve is taken off; 0 when the disk does not say. */
  freeBytes: count,
  /** Why the whole store is given up. */
  failure: z.string().max(1_000).optional(),
  /** Since the peer started: bad replicas found, and what became of them. */
  corruptFound: count,
  missingFound: count,
  repaired: count,
  reported: count,
  /** Bad ones that nobody could mend so far; no more than DAMAGED_MAX are named. */
  damagedCount: count,
  damaged: z.array(z.object({ blockId, state: z.enum(['corrupt', 'missing']) })).max(DAMAGED_MAX),
  /** Kept aside until good copies exist. */
  quarantined: count,
  scrub: z.object({
    blocks: count,
    bytes: count,
    bad: count,
    due: count,
    /** Of the block that was longest not verified: how long ago. */
    oldestAgeMs: z.number().optional(),
  }),
  /** The newest comparison of log and disk. */
  audit: z.object({ listed: count, missing: count, misfits: count, surplus: count }).optional(),
  /** Reads of blocks by this peer; how many asked a second holder, and how often that one was faster. */
  reads: z.object({ reads: count, hedged: count, won: count }),
})
export type StoreHealth = z.infer<typeof storeHealth>

/** How a peer's blocks are: its own counters, from memory. */
export const blockHealth = message({
  name: 'dht.block.health',
  from: 'everyone',
  request: z.object({}),
  reply: storeHealth,
})

const meshHealth = z.object({
  peers: z.array(z.object({ peer: peerId, name: z.string(), health: storeHealth.optional() })),
})
export type MeshHealth = z.infer<typeof meshHealth>

/** The same of all living peers, asked by the one that answers; without `health` a peer did not say. */
export const meshBlockHealth = message({
  name: 'dht.block.health.all',
  from: 'everyone',
  request: z.object({}),
  reply: meshHealth,
})

const checkedBlock = z.object({
  index: count,
  blockId,
  bytes: count,
  wanted: count,
  holders: z.array(
    z.object({ peer: peerId, name: z.string(), state: z.enum(['good', 'dead', 'corrupt', 'missing']) }),
  ),
})
export type CheckedBlock = z.infer<typeof checkedBlock>

const checkedFile = z.object({
  path: z.string(),
  sizeBytes: count,
  replication: count,
  partitions: count,
  /** Blocks with fewer good copies than wanted, or than there are living peers; those without any are in `missing` instead. */
  underReplicated: count,
  missing: count,
  /** Blocks that every living peer holds, of which there are fewer than copies wanted. */
  short: count,
  /** Copies that their holders know to be bad. */
  corrupt: count,
  blocks: z.array(checkedBlock).optional(),
})
export type CheckedFile = z.infer<typeof checkedFile>

/** How well the files under a path are kept: by the log, by who is alive, and by what the holders say of their damaged copies. */
export const fileCheck = message({
  name: 'dht.file.check',
  from: 'everyone',
  request: z.object({
    path,
    /** A path: files behind it in the order of the walk. */
    startAfter: path.optional(),
    /** Name the blocks and their holders too. */
    blocks: z.boolean().optional(),
    /** Of a file with more blocks than one answer takes: those from here on. */
    startBlock: count.optional(),
    filesMax: z.int().min(1).max(PAGE_MAX).optional(),
    consistency,
  }),
  reply: z.object({
    files: z.array(checkedFile),
    more: z.boolean(),
    /** Then: what to name as `startAfter`; the last file, or an empty directory behind it. */
    next: path.optional(),
    /** Living peers that did not say what is damaged. */
    unheard: z.array(peerId),
    asOf,
  }),
})

const verifiedBlock = z.object({
  index: count,
  blockId,
  bytes: count,
  replicas: z.array(
    z.object({
      peer: peerId,
      name: z.string(),
      found: z.enum(['good', 'corrupt', 'missing', 'unknown']),
      now: z.enum(['good', 'reported', 'bad', 'unneeded', 'unknown']),
      /** Why it is unknown: the peer is dead, busy or does not answer. */
      reason: z.string().optional(),
    }),
  ),
})
export type VerifiedBlock = z.infer<typeof verifiedBlock>

/** Has the holders read their copies of a file's partitions and compare them with the committed hashes; bad ones are mended. */
export const fileVerify = message({
  name: 'dht.file.verify',
  from: 'everyone',
  request: z.object({
    path,
    startAt: count.optional(),
    limit: z.int().min(1).max(VERIFY_MAX).optional(),
    consistency,
  }),
  reply: z.object({ partitions: count, blocks: z.array(verifiedBlock), more: z.boolean(), asOf }),
})

/**
 * Deletes a replica that is one too many. The receiver decides from its own applied state: only when that has reached
 * `appliedIndex`, and only a block of which it is neither holder nor owner.
 */
export const blockDelete = message({
  name: 'dht.block.delete',
  from: 'peers',
  request: z.object({ blockId, appliedIndex: count }),
  reply: z.object({ deleted: z.boolean() }),
})

/** How safe the files are, as this peer sees it. */
export const replicationStatus = message({
  name: 'dht.replication.status',
  from: 'everyone',
  request: z.object({ worstMax: z.int().nonnegative().max(PAGE_MAX).optional() }),
  reply: z.object({
    underReplicated: count,
    missing: count,
    short: count,
    movingSlots: count,
    worst: z.array(z.object({ path: z.string(), blockId, index: count, live: count, wanted: count })),
  }),
})
