import { FILE_ID_PATTERN } from './block-id.ts'
import { REPLICATION } from './config.ts'
import type {
  Mkdir,
  NamespaceAnswers,
  NamespaceCommand,
  ReportHolders,
  SetAttributes,
  SetQuota,
  SetReplication,
  Touch,
} from './namespace-commands.ts'
import {
  badCommand,
  changeable,
  HOLDERS_MAX,
  makeable,
  needReplication,
  needRoom,
  type CommandContext,
} from './namespace-context.ts'
import {
  upwards,
  type Attributes,
  type DirectoryNode,
  type FileNode,
  type TreeNode,
} from './namespace-nodes.ts'
import { needQuota } from './namespace-quotas.ts'
import { alreadyExists, isADirectory, notADirectory, notFound } from './namespace-tree.ts'
import { joinNames } from './paths.ts'

const MODE_MAX = 0o7777
const OWNER_PATTERN = /^[^\0-\x20:]{0,64}$/u

type Answer<Type extends NamespaceCommand['type']> = NamespaceAnswers[Type]

export function mkdir(context: CommandContext, { path, parents = false }: Mkdir): Answer<'mkdir'> {
  const { tree } = context.state
  const names = makeable(path)
  const there = tree.find(names)
  if (there !== undefined) {
    if (there.kind === 'directory' && parents) return { ok: true, created: false }
    throw alreadyExists(joinNames(names))
  }
  const { lowest, missing } = tree.reached(names)
  if (missing > 1 && !parents) throw notFound(joinNames(names.slice(0, -1)))
  needRoom(context, missing)
  needQuota(tree, lowest, { names: missing })
  tree.makeDirectories(names, context.timeMs)
  return { ok: true, created: true }
}

export function setQuota({ state }: CommandContext, command: SetQuota): Answer<'set-quota'> {
  const node = state.tree.get(joinNames(changeable(command.path)))
  if (node.kind === 'file') throw notADirectory(state.tree.pathOf(node))
  const limitOf = (wanted: number | null | undefined, before: number | undefined): number | undefined => {
    if (wanted === undefined) return before
    if (wanted === null) return undefined
    if (Number.isSafeInteger(wanted) && wanted >= 1) return wanted
    throw badCommand(command, 'a quota is a whole number of at least 1')
  }
  const names = limitOf(command.names, node.quota?.names)
  const bytes = limitOf(command.bytes, node.quota?.bytes)
  node.quota = names === undefined && bytes === undefined ? undefined : { names, bytes }
  return { ok: true }
}

export function setReplication(context: CommandContext, command: SetReplication): Answer<'set-replication'> {
  const { state } = context
  const { replication, recursive = false } = command
  needReplication(command, replication)
  const node = state.tree.get(joinNames(changeable(command.path)))
  if (node.kind === 'directory' && !recursive) throw isADirectory(state.tree.pathOf(node))
  const changed: FileNode[] = []
  for (const each of state.tree.walk(node)) {
    if (each.kind === 'file' && each.shape.replication !== replication) changed.push(each)
  }
  // First all the room, then the changes: a command is carried out whole or not at all.
  const from = node.kind === 'file' ? node.parent : node
  const bytes = changed.reduce(
    (sum, { sizeBytes, shape }) => sum + sizeBytes * (replication - shape.replication),
    0,
  )
  if (from !== undefined) needQuota(state.tree, from, { bytes })
  needInnerQuotas(context, changed, node, replication)
  for (const file of changed) {
    state.changeFile(file, { shape: state.shapeOf({ ...file.shape, replication }) })
  }
  return { ok: true, files: changed.length }
}

/** Room in directories with a quota of their own below the one that the command names. */
function needInnerQuotas(
  { state: { tree } }: CommandContext,
  changed: readonly FileNode[],
  top: TreeNode,
  replication: number,
): void {
  const growth = new Map<DirectoryNode, number>()
  for (const { parent, sizeBytes, shape } of changed) {
    for (const above of upwards(parent)) {
      if (above === top || top.kind === 'file') break
      if (above.quota === undefined) continue
      growth.set(above, (growth.get(above) ?? 0) + sizeBytes * (replication - shape.replication))
    }
  }
  for (const [directory, bytes] of growth)
    needQuota(tree, directory, { bytes }, new Set(upwards(directory.parent)))
}

export function setAttributes(context: CommandContext, command: SetAttributes): Answer<'set-attributes'> {
  const { state } = context
  const { mode, owner, group, modifiedMs, recursive = false } = command
  if (mode !== undefined && !(Number.isInteger(mode) && mode >= 0 && mode <= MODE_MAX)) {
    throw badCommand(command, 'a mode is a whole number from 0 to 0o7777')
  }
  for (const name of [owner, group]) {
    if (name !== undefined && !OWNER_PATTERN.test(name)) {
      throw badCommand(command, 'an owner or group has up to 64 characters without spaces and colons')
    }
  }
  needTime(command, modifiedMs)
  const node = state.tree.get(joinNames(changeable(command.path)))
  const nodes = recursive ? [...state.tree.walk(node)] : [node]
  for (const each of nodes) {
    const attributes = state.attributesOf(merged(each.attributes, { mode, owner, group }))
    changeNode(context, each, { attributes, modifiedMs: modifiedMs ?? each.modifiedMs })
  }
  return { ok: true, entries: nodes.length }
}

export function touch(context: CommandContext, command: Touch): Answer<'touch'> {
  const { state, timeMs } = context
  const { fileId, modifiedMs = timeMs, create = true } = command
  needTime(command, command.modifiedMs)
  const names = changeable(command.path)
  const node = state.tree.find(names)
  if (node !== undefined) {
    changeNode(context, node, { attributes: node.attributes, modifiedMs })
    return { ok: true, created: false }
  }
  if (!create) throw notFound(joinNames(names))
  makeable(command.path)
  if (!FILE_ID_PATTERN.test(fileId)) throw badCommand(command, 'a file id has 32 hexadecimal digits')
  if (state.files.has(fileId) || state.writes.has(fileId))
    throw badCommand(command, `file id ${fileId} is in use`)
  const { parent, name } = state.tree.parentOf(names)
  needRoom(context, 1)
  needQuota(state.tree, parent, { names: 1 })
  const shape = state.shapeOf({ format: 'lines', replication: REPLICATION, partitionBytes: undefined })
  const file = state.addFile(parent, { name, fileId, blocks: [], shape, timeMs })
  file.modifiedMs = modifiedMs
  return { ok: true, created: true }
}

export function reportHolders(
  { state, limits }: CommandContext,
  command: ReportHolders,
): Answer<'report-holders'> {
  const limit = limits.blocksPerCommandMax
  if (command.blocks.length > limit) throw badCommand(command, `at most ${limit} blocks an entry`)
  let changed = 0
  for (const { blockId, add = [], remove = [] } of command.blocks) {
    const block = state.block(blockId)
    if (block === undefined) continue
    const { peers } = block.holders
    const all = [...new Set([...peers, ...add])]
    const kept = all.filter(peer => !remove.includes(peer)).slice(0, HOLDERS_MAX)
    // Whoever was last may still have good bytes; forgetting it would lose them for sure.
    if (kept.length === 0) continue
    if (kept.length === peers.length && kept.every((peer, at) => peer === peers[at])) continue
    state.setHolders(block, kept)
    changed++
  }
  return { ok: true, changed }
}

function changeNode(
  { state }: CommandContext,
  node: TreeNode,
  change: { attributes: Attributes | undefined; modifiedMs: number },
): void {
  if (node.kind === 'file') state.changeFile(node, change)
  else {
    state.snapshots.preserve(node)
    Object.assign(node, change)
  }
}

/** Empty names take an attribute away. */
function merged(
  before: Attributes | undefined,
  change: { mode: number | undefined; owner: string | undefined; group: string | undefined },
): Attributes {
  const mode = change.mode ?? before?.mode
  const owner = change.owner ?? before?.owner
  const group = change.group ?? before?.group
  return {
    ...(mode !== undefined && { mode }),
    ...(owner !== undefined && owner !== '' && { owner }),
    ...(group !== undefined && group !== '' && { group }),
  }
}

function needTime(command: NamespaceCommand, modifiedMs: number | undefined): void {
  if (modifiedMs === undefined || (Number.isSafeInteger(modifiedMs) && modifiedMs >= 0)) return
  throw badCommand(command, 'a time is a whole number of milliseconds since 1970')
}
