import { z } from 'zod'
import { asBlockId, asFileId, asPeerId } from '../base/index.ts'
import { BLOCK_ID_PATTERN, FILE_ID_PATTERN } from './block-id.ts'
import { NAMESPACE_DEFAULTS } from './config.ts'
import type { DhtCommand } from './dht-commands.ts'
import { PATH_BYTES_MAX } from './paths.ts'

/**
 * The shape of this folder's commands, for the door through which they reach the leader: what passes here never makes
 * a sub-machine throw. What a command means, and whether it may be, the sub-machines decide.
 */

const { blocksPerCommandMax, outputPartsMax } = NAMESPACE_DEFAULTS
/** Slots in one command: the whole ring of the largest mesh. */
const ROWS_MAX = 16_384
/** Peers named in one slot command. */
const PEERS_MAX = 65_536

// Longer than any valid path, so that the path rules can say what is wrong with a slightly too long one.
const path = z.string().max(2 * PATH_BYTES_MAX)
const peerId = z.string().min(1).max(128).transform(asPeerId)
const peerIds = z.array(peerId).max(64)
const fileId = z.string().regex(FILE_ID_PATTERN).transform(asFileId)
const blockId = z.string().regex(BLOCK_ID_PATTERN).transform(asBlockId)
const count = z.int().nonnegative()
const leaseMs = z.number().nonnegative()
const session = z.object({ clientId: z.string().min(1).max(128), seq: z.int().positive() }).exactOptional()

const block = z.object({
  index: count,
  blockId,
  sizeBytes: count,
  lines: count.exactOptional(),
  sha256: z.string().max(64),
  holders: peerIds,
  midLine: z.boolean().exactOptional(),
})
const lease = count.exactOptional()
const token = z.string().min(1).max(64).exactOptional()
const name = z.string().min(1).max(255)
const limit = z.int().positive().nullable().exactOptional()
const batch = z.object({
  peers: z.array(peerId).max(PEERS_MAX),
  rows: z.array(z.array(count).max(32)).max(ROWS_MAX),
})
const slotCommand = <Type extends string>(type: Type) => z.object({ type: z.literal(type), batch })

const schema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('mkdir'), path, parents: z.boolean().exactOptional(), session }),
  z.object({
    type: z.literal('begin-file'),
    path,
    fileId,
    leaseMs,
    overwrite: z.boolean().exactOptional(),
    parents: z.boolean().exactOptional(),
    format: z.enum(['lines', 'csv', 'binary']).exactOptional(),
    replication: z.int().positive().exactOptional(),
    partitionBytes: z.int().positive().exactOptional(),
    token,
    session,
  }),
  z.object({ type: z.literal('begin-append'), path, leaseMs, token, session }),
  z.object({
    type: z.literal('add-blocks'),
    fileId,
    blocks: z.array(block).max(blocksPerCommandMax),
    lease,
    session,
  }),
  z.object({
    type: z.literal('commit-file'),
    fileId,
    blockCount: count,
    from: count.exactOptional(),
    lease,
    session,
  }),
  z.object({ type: z.literal('abandon-file'), fileId, lease, session }),
  z.object({ type: z.literal('extend-lease'), fileId, leaseMs, lease, session }),
  z.object({ type: z.literal('extend-leases'), fileIds: z.array(fileId).max(1_000), leaseMs, session }),
  z.object({ type: z.literal('mv'), from: path, to: path, session }),
  z.object({
    type: z.literal('rm'),
    path,
    recursive: z.boolean().exactOptional(),
    trash: z.boolean().exactOptional(),
    session,
  }),
  z.object({
    type: z.literal('undelete'),
    path,
    deletedMs: count.exactOptional(),
    to: path.exactOptional(),
    session,
  }),
  z.object({ type: z.literal('expunge'), ageMs: count, session }),
  z.object({ type: z.literal('set-quota'), path, names: limit, bytes: limit, session }),
  z.object({ type: z.literal('create-snapshot'), path, name, session }),
  z.object({ type: z.literal('rename-snapshot'), path, name, to: name, session }),
  z.object({ type: z.literal('delete-snapshot'), path, name, session }),
  z.object({
    type: z.literal('set-replication'),
    path,
    replication: z.int().positive(),
    recursive: z.boolean().exactOptional(),
    session,
  }),
  z.object({
    type: z.literal('set-attributes'),
    path,
    mode: count.exactOptional(),
    owner: z.string().max(64).exactOptional(),
    group: z.string().max(64).exactOptional(),
    modifiedMs: count.exactOptional(),
    recursive: z.boolean().exactOptional(),
    session,
  }),
  z.object({
    type: z.literal('touch'),
    path,
    fileId,
    modifiedMs: count.exactOptional(),
    create: z.boolean().exactOptional(),
    session,
  }),
  z.object({
    type: z.literal('report-holders'),
    term: count.exactOptional(),
    blocks: z
      .array(z.object({ blockId, add: peerIds.exactOptional(), remove: peerIds.exactOptional() }))
      .max(blocksPerCommandMax),
    session,
  }),
  z.object({
    type: z.literal('commit-output'),
    path,
    winner: z.string().min(1).max(256),
    parts: z.array(z.object({ fileId, blockCount: count })).max(outputPartsMax),
    gathered: z.object({ directory: path, files: count }).exactOptional(),
    suffix: z.string().max(64).exactOptional(),
    overwrite: z.boolean().exactOptional(),
    marker: fileId.exactOptional(),
    session,
  }),
  z.object({ type: z.literal('expire-leases'), session }),
  slotCommand('slots-assign'),
  slotCommand('slot-move-begin'),
  slotCommand('slot-move-promote'),
  slotCommand('slot-move-retire'),
  slotCommand('slot-move-cancel'),
])

/** A command that came from elsewhere; what does not fit is to be answered with BAD_MESSAGE. Unknown fields are dropped. */
export const dhtCommandSchema: z.ZodType<DhtCommand> = schema
