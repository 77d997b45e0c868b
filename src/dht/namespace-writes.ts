import { asFileId, invariant, ShoalError, type FileId } from '../base/index.ts'
import { FILE_ID_PATTERN, parseBlockId } from './block-id.ts'
import { REPLICATION } from './config.ts'
import type {
  AbandonFile,
  AddBlocks,
  BeginAppend,
  BeginFile,
  CommitFile,
  CommitOutput,
  ExtendLease,
  ExtendLeases,
  NamespaceAnswers,
  NamespaceCommand,
} from './namespace-commands.ts'
import {
  badCommand,
  HOLDERS_MAX,
  makeable,
  needReplication,
  needRoom,
  type CommandContext,
} from './namespace-context.ts'
import { upwards, type DirectoryNode, type FileNode } from './namespace-nodes.ts'
import { needMoveRoom, needQuota } from './namespace-quotas.ts'
import { rm } from './namespace-removals.ts'
import { needNoSnapshots } from './namespace-snapshot-changes.ts'
import type { OpenWrite } from './namespace-state.ts'
import { alreadyExists, isADirectory, notADirectory, notFound } from './namespace-tree.ts'
import type { BlockReport } from './namespace-types.ts'
import { ownText } from './packed-text.ts'
import { joinNames, pathNames } from './paths.ts'
import { TRASH_NAME } from './snapshots.ts'

const SHA256_PATTERN = /^[0-9a-f]{64}$/
export const TOKEN_PATTERN = /^[0-9A-Za-z_-]{1,64}$/

/** As Hadoop names it. */
const SUCCESS_NAME = '_SUCCESS'

type Answer<Type extends NamespaceCommand['type']> = NamespaceAnswers[Type]

export function beginFile(context: CommandContext, command: BeginFile): Answer<'begin-file'> {
  const { state, timeMs } = context
  const overwrite = command.overwrite === true
  const parents = command.parents === true
  const replication = command.replication ?? REPLICATION
  if (!FILE_ID_PATTERN.test(command.fileId)) throw badCommand(command, 'a file id has 32 hexadecimal digits')
  needReplication(command, replication)
  needToken(command, command.token)
  const path = joinNames(makeable(command.path))
  const resumed = withToken(context, command.token, write => !write.append && write.path === path)
  const fileId = resumed?.fileId ?? command.fileId
  const open = state.writes.get(fileId)
  if (state.files.has(fileId) || (open !== undefined && open.path !== path)) {
    throw badCommand(command, `file id ${fileId} is in use`)
  }
  placeFor(context, { path, overwrite, parents }, { bytes: 0 })
  if (open === undefined) needLease(context)
  const expiresAtMs = timeMs + leaseMsOf(context, command)
  const { format = 'lines', partitionBytes } = command
  // Only who comes with a token takes over; a command that came twice is the same opening.
  const lease = open !== undefined && command.token === undefined ? open.lease : context.index
  state.writes.set(fileId, {
    fileId: asFileId(ownText(fileId)),
    path: ownText(path),
    token: command.token,
    append: false,
    expiresAtMs,
    lease,
    overwrite,
    parents,
    // What is written already was cut as it was asked for then.
    shape: resumed?.shape ?? state.shapeOf({ format, replication, partitionBytes }),
    sizeBytes: open?.sizeBytes ?? 0,
    blocks: open?.blocks ?? new Map(),
  })
  return { ok: true, expiresAtMs, fileId, lease, blocks: open?.blocks.size ?? 0 }
}

export function beginAppend(context: CommandContext, command: BeginAppend): Answer<'begin-append'> {
  const { state, timeMs } = context
  needToken(command, command.token)
  const names = makeable(command.path)
  const node = state.tree.find(names)
  if (node === undefined) throw notFound(joinNames(names))
  if (node.kind === 'directory') throw isADirectory(joinNames(names))
  const { fileId, shape, sizeBytes } = node
  const open = state.writes.get(fileId)
  const mine = open?.token !== undefined && open.token === command.token
  if (open !== undefined && open.expiresAtMs > timeMs && !mine) {
    const { expiresAtMs } = open
    throw new ShoalError(
      'WRITE_CONFLICT',
      { path: joinNames(names), expiresAtMs },
      `${joinNames(names)} is being appended to by another; wait until that is done, or until its lease ends`,
    )
  }
  // Nobody came back for it.
  if (open !== undefined && !mine) state.dropWrite(open)
  if (open === undefined) needLease(context)
  const expiresAtMs = timeMs + leaseMsOf(context, command)
  const blocks: OpenWrite['blocks'] = mine ? open.blocks : new Map()
  state.writes.set(fileId, {
    fileId,
    path: ownText(joinNames(names)),
    token: command.token,
    append: true,
    expiresAtMs,
    lease: context.index,
    overwrite: false,
    parents: false,
    shape,
    sizeBytes: mine ? open.sizeBytes : 0,
    blocks,
  })
  const { format, replication, partitionBytes } = shape
  const partitions = node.blocks.length
  const answer = {
    ok: true,
    expiresAtMs,
    fileId,
    lease: context.index,
    blocks: blocks.size,
    partitions,
  } as const
  return {
    ...answer,
    sizeBytes,
    format,
    replication,
    ...(partitionBytes !== undefined && { partitionBytes }),
  }
}

export function addBlocks(context: CommandContext, command: AddBlocks): Answer<'add-blocks'> {
  const { state, limits } = context
  const limit = limits.blocksPerCommandMax
  if (command.blocks.length > limit) throw badCommand(command, `at most ${limit} blocks an entry`)
  const write = leased(context, command.fileId, command.lease)
  const first = write.append ? firstOfAppend(context, write) : 0
  let bytes = 0
  const names = command.blocks.map(report => {
    const name = parseBlockId(report.blockId)
    if (name === undefined || name.fileId !== command.fileId || name.index !== report.index) {
      throw badCommand(command, `${report.blockId} is not block ${report.index} of ${command.fileId}`)
    }
    const reason = faultOf(report, limits.blocksPerFileMax)
    if (reason !== undefined) throw badCommand(command, `${report.blockId}: ${reason}`)
    if (report.index < first) throw badCommand(command, `an append writes from block ${first} on`)
    bytes += report.sizeBytes - (write.blocks.get(report.index)?.sizeBytes ?? 0)
    return name
  })
  // Said now rather than at the commit, when all the bytes have come in vain.
  bytes += write.sizeBytes
  if (write.append) {
    const coming = new Set(command.blocks.map(report => report.index))
    needAppendQuota(context, write, bytes, index => coming.has(index) || write.blocks.has(index))
  } else needWriteQuota(context, write, bytes)
  for (const [position, report] of command.blocks.entries()) {
    state.addBlock(write, names[position]!.writeId, report)
  }
  return { ok: true }
}

export function commitFile(context: CommandContext, command: CommitFile): Answer<'commit-file'> {
  const { state, timeMs } = context
  const { fileId, blockCount } = command
  const visible = state.files.visible(fileId)
  const open = state.writes.get(fileId)
  // Said twice: the first one did it.
  if (visible !== undefined && open === undefined) {
    return { ok: true, sizeBytes: visible.sizeBytes, partitions: visible.blocks.length }
  }
  if (open?.append === true) return commitAppend(context, command)
  const write = complete(context, command, { fileId, blockCount, lease: command.lease })
  const { names, replaced } = placeFor(context, write, { bytes: write.sizeBytes * write.shape.replication })
  if (replaced !== undefined) state.remove(replaced, timeMs)
  const parent = state.tree.makeDirectories(names.slice(0, -1), timeMs)
  const node = state.show(write, parent, names.at(-1)!, timeMs)
  const answer: Answer<'commit-file'> = {
    ok: true,
    sizeBytes: node.sizeBytes,
    partitions: node.blocks.length,
  }
  if (replaced !== undefined) answer.replaced = replaced.fileId
  return answer
}

function commitAppend(context: CommandContext, command: CommitFile): Answer<'commit-file'> {
  const { state, timeMs } = context
  const { fileId, blockCount, from } = command
  const write = leased(context, fileId, command.lease)
  const node = appendedTo(context, write)
  const partitions = node.blocks.length
  if (from === undefined || from > partitions || from < Math.max(partitions - 1, 0)) {
    throw badCommand(command, `an append to ${partitions} partitions goes on from the last one or behind it`)
  }
  const inRange = write.blocks.keys().every(index => index >= from && index < blockCount)
  if (!inRange || write.blocks.size !== blockCount - from) {
    throw badCommand(command, `${fileId} has ${write.blocks.size} of ${blockCount - from} blocks`)
  }
  const lastBytes = node.blocks.at(-1)?.sizeBytes ?? 0
  if (from < partitions && (write.blocks.get(from)?.sizeBytes ?? 0) < lastBytes) {
    throw badCommand(command, 'an append does not shorten the last partition')
  }
  needAppendQuota(context, write, write.sizeBytes, index => index >= from)
  const { sizeBytes, blocks } = state.append(write, node, from, timeMs)
  return { ok: true, sizeBytes, partitions: blocks.length }
}

export function abandonFile(
  { state }: CommandContext,
  { fileId, lease }: AbandonFile,
): Answer<'abandon-file'> {
  const write = state.writes.get(fileId)
  if (write === undefined || !isLease(write, lease)) return { ok: true, abandoned: false }
  state.dropWrite(write)
  return { ok: true, abandoned: true }
}

export function extendLease(context: CommandContext, command: ExtendLease): Answer<'extend-lease'> {
  const write = leased(context, command.fileId, command.lease)
  const leaseMs = leaseMsOf(context, { leaseMs: command.leaseMs, token: write.token })
  write.expiresAtMs = Math.max(write.expiresAtMs, context.timeMs + leaseMs)
  return { ok: true, expiresAtMs: write.expiresAtMs }
}

export function extendLeases(
  context: CommandContext,
  { fileIds, leaseMs }: ExtendLeases,
): Answer<'extend-leases'> {
  const { state, timeMs } = context
  let extended = 0
  for (const fileId of fileIds) {
    const write = state.writes.get(fileId)
    if (write === undefined || write.expiresAtMs <= timeMs || !isLease(write, undefined)) continue
    write.expiresAtMs = Math.max(write.expiresAtMs, timeMs + leaseMsOf(context, { leaseMs }))
    extended++
  }
  return { ok: true, extended }
}

export function expireLeases({ state, timeMs }: CommandContext): Answer<'expire-leases'> {
  let expired = 0
  for (const write of state.writes.values()) {
    if (write.expiresAtMs > timeMs) continue
    state.dropWrite(write)
    expired++
  }
  return { ok: true, expired }
}

export function commitOutput(context: CommandContext, command: CommitOutput): Answer<'commit-output'> {
  const { state, limits, timeMs } = context
  const { winner, parts, suffix = '', overwrite = false, marker } = command
  const names = makeable(command.path)
  const path = joinNames(names)
  const there = state.tree.find(names)
  if (there?.kind === 'directory' && there.winner === winner) return { ok: true, ...outputOf(there) }
  if (there?.kind === 'directory' && there.winner !== undefined && !overwrite) {
    const details = { path, winner: there.winner }
    throw new ShoalError('ALREADY_COMMITTED', details, `${path} was committed already by ${there.winner}`)
  }
  if (there !== undefined && !overwrite) throw alreadyExists(path)
  const limit = limits.outputPartsMax
  if (winner === '') throw badCommand(command, 'the winner has a name')
  if (command.gathered !== undefined) return commitGathered(context, command, command.gathered)
  if (parts.length > limit) throw badCommand(command, `an output has at most ${limit} parts`)
  if (pathNames(`/part-00000${suffix}`).length !== 1) throw badCommand(command, 'a suffix has no slash')
  pathNames(`${path}/part-${'0'.repeat(5)}${suffix}`)
  if (new Set(parts.map(part => part.fileId)).size !== parts.length)
    throw badCommand(command, 'a part is named twice')
  const writes = parts.map(part => complete(context, command, part))
  const files = parts.length + (marker === undefined ? 0 : 1)
  if (marker !== undefined && (state.files.has(marker) || state.writes.has(marker)))
    throw badCommand(command, `file id ${marker} is in use`)
  // Old and new are there together for a while, so quotas count both.
  const { lowest, missing } = state.tree.reached(names)
  needRoom(context, missing + files)
  const bytes = writes.reduce((sum, write) => sum + write.sizeBytes * write.shape.replication, 0)
  needQuota(state.tree, lowest, { names: missing + files, bytes })
  if (there !== undefined) rm(context, { type: 'rm', path, recursive: true, trash: true })
  const directory = state.tree.makeDirectories(names, timeMs)
  directory.winner = winner
  for (const [index, write] of writes.entries()) {
    state.show(write, directory, `part-${String(index).padStart(5, '0')}${suffix}`, timeMs)
  }
  if (marker !== undefined) showMarker(context, marker, directory)
  return { ok: true, ...outputOf(directory) }
}

/** The same for parts that are files already, each committed by itself: what counts is that all of them are there. */
function commitGathered(
  context: CommandContext,
  command: CommitOutput,
  { directory: from, files }: NonNullable<CommitOutput['gathered']>,
): Answer<'commit-output'> {
  const { state, timeMs } = context
  const { winner, parts, marker } = command
  const names = makeable(command.path)
  const name = names.at(-1)
  const node = state.tree.find(makeable(from))
  if (node === undefined) throw notFound(from)
  if (node.kind === 'file') throw notADirectory(from)
  if (name === undefined || node === state.tree.root || parts.length > 0)
    throw badCommand(command, 'gathered parts are a directory, and all there is')
  const are = [...node.entries.values()].filter(entry => entry.kind === 'file').length
  if (are !== files || node.entries.size !== files)
    throw badCommand(command, `${from} has ${are} of ${files} parts, and ${node.entries.size - are} others`)
  if (marker !== undefined && (state.files.has(marker) || state.writes.has(marker)))
    throw badCommand(command, `file id ${marker} is in use`)
  const above = names.slice(0, -1)
  const { lowest, missing } = state.tree.reached(above)
  const there = state.tree.find(names)
  for (const inside of upwards(lowest))
    if (inside === node) throw badCommand(command, `${command.path} lies inside ${from}`)
  for (const inside of upwards(node.parent))
    if (inside === there) throw badCommand(command, `${from} lies inside ${command.path}`)
  needNoSnapshots(context, node)
  needRoom(context, missing + 1)
  needMoveRoom(state.tree, node, lowest, name, above.slice(above.length - missing))
  if (there !== undefined) rm(context, { type: 'rm', path: command.path, recursive: true, trash: true })
  state.move(node, state.tree.makeDirectories(above, timeMs), name, timeMs)
  const directory = state.tree.find(names)
  invariant(directory?.kind === 'directory', 'what was moved is where it was moved to')
  directory.winner = winner
  if (marker !== undefined) showMarker(context, marker, directory)
  return { ok: true, ...outputOf(directory) }
}

/** Says to tools that look for it that all parts are there; datasets do not read it. */
function showMarker({ state, timeMs }: CommandContext, fileId: FileId, parent: DirectoryNode): void {
  const shape = state.shapeOf({ format: 'binary', replication: REPLICATION, partitionBytes: undefined })
  state.addFile(parent, { name: SUCCESS_NAME, fileId: asFileId(ownText(fileId)), blocks: [], shape, timeMs })
}

function outputOf(directory: DirectoryNode): { files: number; sizeBytes: number } {
  let files = 0
  let sizeBytes = 0
  for (const entry of directory.entries.values()) {
    if (entry.kind === 'directory' || entry.name === SUCCESS_NAME) continue
    files++
    sizeBytes += entry.sizeBytes
  }
  return { files, sizeBytes }
}

/** Where a file may become visible, and the file that it would replace; throws when it may not. */
function placeFor(
  context: CommandContext,
  write: Pick<OpenWrite, 'path' | 'overwrite' | 'parents'>,
  { bytes }: { bytes: number },
): { names: string[]; replaced: FileNode | undefined } {
  const { tree } = context.state
  const names = pathNames(write.path)
  if (names.length === 0) throw isADirectory('/')
  const there = tree.find(names)
  if (there?.kind === 'directory') throw isADirectory(write.path)
  if (there !== undefined && !write.overwrite) throw alreadyExists(write.path)
  const above = names.slice(0, -1)
  const { lowest, missing } = tree.reached(above)
  if (missing > 0 && !write.parents) throw notFound(joinNames(above))
  needRoom(context, missing + 1)
  const freed = there === undefined ? 0 : there.sizeBytes * there.shape.replication
  needQuota(tree, lowest, { names: there === undefined ? missing + 1 : 0, bytes: bytes - freed })
  return { names, replaced: there }
}

/** The open write, while its lease lasts. */
function leased({ state, timeMs }: CommandContext, fileId: FileId, lease: number | undefined): OpenWrite {
  const write = state.writes.get(fileId)
  if (write !== undefined && write.expiresAtMs > timeMs && isLease(write, lease)) return write
  const path = write?.path ?? `file ${fileId}`
  throw new ShoalError(
    'LEASE_LOST',
    { path },
    `the write of ${path} took too long, was given up, or was taken over by another; write it again`,
  )
}

/** A write that only its client knows needs no proof of which opening is meant. */
function isLease(write: OpenWrite, lease: number | undefined): boolean {
  if (lease === undefined) return !write.append && write.token === undefined
  return lease === write.lease
}

/** The file that an append adds to, wherever it is now. */
function appendedTo({ state }: CommandContext, write: OpenWrite): FileNode {
  const node = state.files.visible(write.fileId)
  if (node === undefined || state.tree.topOf(node) === TRASH_NAME) throw notFound(write.path)
  return node
}

/** Room for the bytes so far. Whether the path will do is decided at the commit. */
function needWriteQuota({ state: { tree } }: CommandContext, write: OpenWrite, bytes: number): void {
  const names = pathNames(write.path)
  const there = tree.tryFind(names)
  const freed = there?.kind === 'file' ? there.sizeBytes * there.shape.replication : 0
  needQuota(tree, tree.lowest(names.slice(0, -1)), { bytes: bytes * write.shape.replication - freed })
}

function firstOfAppend(context: CommandContext, write: OpenWrite): number {
  return Math.max(appendedTo(context, write).blocks.length - 1, 0)
}

/** @param writes whether the block with this index is among the bytes: then the last partition is written anew. */
function needAppendQuota(
  context: CommandContext,
  write: OpenWrite,
  bytes: number,
  writes: (index: number) => boolean,
): void {
  const node = appendedTo(context, write)
  const last = node.blocks.at(-1)
  const replaced = last !== undefined && writes(last.index) ? last.sizeBytes : 0
  const added = (bytes - replaced) * node.shape.replication
  if (node.parent !== undefined) needQuota(context.state.tree, node.parent, { bytes: added })
}

function complete(
  context: CommandContext,
  command: NamespaceCommand,
  { fileId, blockCount, lease }: { fileId: FileId; blockCount: number; lease?: number | undefined },
): OpenWrite {
  const write = leased(context, fileId, lease)
  if (write.append) throw badCommand(command, `${fileId} is an append`)
  // Indices are distinct, so the right count with the highest in range means that all are there.
  const all = write.blocks.size === blockCount && write.blocks.keys().every(index => index < blockCount)
  if (!all) throw badCommand(command, `${fileId} has ${write.blocks.size} of ${blockCount} blocks`)
  return write
}

function leaseMsOf(
  { limits }: CommandContext,
  wanted: { leaseMs: number; token?: string | undefined },
): number {
  const max = wanted.token === undefined ? limits.leaseMsMax : limits.tokenLeaseMsMax
  return Math.min(Math.max(wanted.leaseMs, 0), max)
}

function withToken(
  { state }: CommandContext,
  token: string | undefined,
  matches: (write: OpenWrite) => boolean,
): OpenWrite | undefined {
  if (token === undefined) return undefined
  return state.writes.values().find(write => write.token === token && matches(write))
}

function needToken(command: NamespaceCommand, token: string | undefined): void {
  if (token === undefined || TOKEN_PATTERN.test(token)) return
  throw badCommand(command, 'a token has 1 to 64 letters, digits, _ or -')
}

function needLease({ state, limits }: CommandContext): void {
  const limit = limits.leasesMax
  if (state.writes.size < limit) return
  throw new ShoalError('BUSY', { what: 'open writes', limit }, `${limit} writes are open; try again later`)
}

function faultOf({ index, sizeBytes, sha256, holders }: BlockReport, blocksMax: number): string | undefined {
  if (index >= blocksMax) return `a file has at most ${blocksMax} blocks`
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 1) return 'a block has at least one byte'
  if (!SHA256_PATTERN.test(sha256)) return 'its SHA-256 has 64 hexadecimal digits'
  if (holders.length === 0 || holders.length > HOLDERS_MAX) return `it has 1 to ${HOLDERS_MAX} holders`
  if (new Set(holders).size !== holders.length) return 'a holder is named twice'
  return undefined
}
