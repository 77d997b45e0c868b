import { z } from 'zod'
import { asFileId, message } from '../base/index.ts'
import { FILE_ID_PATTERN } from './block-id.ts'
import { asOfSchema } from './messages.ts'
import { PATH_BYTES_MAX } from './paths.ts'

/**
 * What people who run a mesh ask and order beyond everyday files: trash, quotas, snapshots, copies, metadata, open writes.
 * Mutations carry a session, which makes sending them again harmless: the first answer is given again.
 */

/** Entries of one answer; the rest is asked for next. */
export const OPERATOR_PAGE_MAX = 1_000

const path = z.string().max(2 * PATH_BYTES_MAX)
const name = z.string().min(1).max(255)
const fileId = z.string().regex(FILE_ID_PATTERN).transform(asFileId)
const count = z.int().nonnegative()
const session = z.object({ clientId: z.string().min(1).max(128), seq: z.int().positive() }).optional()
const consistency = z.enum(['linearizable', 'stale']).optional()
const asOf = asOfSchema.optional()
const limit = z.int().min(1).max(OPERATOR_PAGE_MAX).optional()
/** The log index at which the change was made. */
const index = count

export const namespaceUndelete = message({
  name: 'dht.namespace.undelete',
  from: 'everyone',
  request: z.object({ path, deletedMs: count.optional(), to: path.optional(), session }),
  reply: z.object({ path: z.string(), index }),
})

export const namespaceExpunge = message({
  name: 'dht.namespace.expunge',
  from: 'everyone',
  request: z.object({ ageMs: count, session }),
  /** `more`: some is left for the next request. */
  reply: z.object({ entries: count, files: count, more: z.boolean(), index }),
})

const trashEntry = z.object({
  path: z.string(),
  trashPath: z.string(),
  deletedMs: count,
  type: z.enum(['file', 'directory']),
  files: count,
  sizeBytes: count,
})
export const namespaceTrash = message({
  name: 'dht.namespace.trash',
  from: 'everyone',
  request: z.object({ startAfterMs: z.int().optional(), limit, consistency }),
  reply: z.object({ entries: z.array(trashEntry), more: z.boolean(), asOf }),
})

const used = z.object({ limit: count.exactOptional(), used: count })
export const namespaceQuota = message({
  name: 'dht.namespace.quota',
  from: 'everyone',
  request: z.object({ path, consistency }),
  reply: z.object({ path: z.string(), names: used, bytes: used, asOf }),
})

const quotaLimit = z.int().positive().nullable().optional()
export const namespaceSetQuota = message({
  name: 'dht.namespace.quota.set',
  from: 'everyone',
  request: z.object({ path, names: quotaLimit, bytes: quotaLimit, session }),
  reply: z.object({ index }),
})

export const namespaceSnapshots = message({
  name: 'dht.namespace.snapshots',
  from: 'everyone',
  request: z.object({ path, consistency }),
  reply: z.object({
    snapshots: z.array(z.object({ name: z.string(), createdMs: z.number(), path: z.string() })),
    asOf,
  }),
})

/** `path` of the reply: where the snapshot can be read. */
export const namespaceSnapshot = message({
  name: 'dht.namespace.snapshot',
  from: 'everyone',
  request: z.object({
    path,
    name,
    action: z.enum(['create', 'rename', 'delete']),
    /** The new name. */
    to: name.optional(),
    session,
  }),
  reply: z.object({ path: z.string().optional(), index }),
})

export const namespaceSetReplication = message({
  name: 'dht.namespace.replication',
  from: 'everyone',
  request: z.object({
    path,
    replication: z.int().min(1).max(16),
    recursive: z.boolean().optional(),
    session,
  }),
  reply: z.object({ files: count, index }),
})

export const namespaceSetAttributes = message({
  name: 'dht.namespace.attributes',
  from: 'everyone',
  request: z.object({
    path,
    mode: count.optional(),
    owner: z.string().max(64).optional(),
    group: z.string().max(64).optional(),
    modifiedMs: count.optional(),
    recursive: z.boolean().optional(),
    session,
  }),
  reply: z.object({ entries: count, index }),
})

export const namespaceTouch = message({
  name: 'dht.namespace.touch',
  from: 'everyone',
  request: z.object({ path, modifiedMs: count.optional(), create: z.boolean().optional(), session }),
  reply: z.object({ created: z.boolean(), index }),
})

const openWrite = z.object({
  path: z.string(),
  fileId,
  token: z.string().optional(),
  append: z.boolean(),
  expiresAtMs: z.number(),
  /** Recorded so far, all writes of the answer taken together at most OPERATOR_PAGE_MAX: go on with `startAt`. */
  blocks: z.array(z.object({ index: count, sizeBytes: count, sha256: z.string() })),
  blockCount: count,
})
export type OpenWriteEntry = z.infer<typeof openWrite>

/** Who has what open at a path or below it. Blocks are named only when one write is meant (by its token). */
export const namespaceOpenWrites = message({
  name: 'dht.namespace.writes',
  from: 'everyone',
  request: z.object({ path, token: z.string().max(64).optional(), startAt: count.optional(), consistency }),
  reply: z.object({ writes: z.array(openWrite), more: z.boolean(), asOf }),
})
