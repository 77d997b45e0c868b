import { ShoalError } from '../base/index.ts'
import type {
  CreateSnapshot,
  DeleteSnapshot,
  NamespaceAnswers,
  NamespaceCommand,
  RenameSnapshot,
} from './namespace-commands.ts'
import { changeable, type CommandContext } from './namespace-context.ts'
import { upwards, type DirectoryNode, type SnapshotRecord, type TreeNode } from './namespace-nodes.ts'
import { alreadyExists, notADirectory, notFound } from './namespace-tree.ts'
import { ownText } from './packed-text.ts'
import { invalidPath, joinNames, pathNames } from './paths.ts'
import { SNAPSHOT_NAME, TRASH_NAME } from './snapshots.ts'

type Answer<Type extends NamespaceCommand['type']> = NamespaceAnswers[Type]

export function createSnapshot(context: CommandContext, command: CreateSnapshot): Answer<'create-snapshot'> {
  const { state, limits, timeMs } = context
  const directory = directoryAt(context, command.path)
  const name = snapshotName(context, directory, command.name)
  const outer = upwards(directory.parent).find(above => above.snapshots !== undefined)
  const inner = [...state.snapshots.roots()].find(
    root => root !== directory && [...upwards(root)].includes(directory),
  )
  for (const other of [outer, inner]) {
    if (other !== undefined)
      throw hasSnapshots(context, other, 'directories with snapshots do not lie in each other')
  }
  if (state.tree.topOf(directory) === TRASH_NAME)
    throw invalidPath(command.path, 'the trash has no snapshots')
  const limit = limits.snapshotsPerDirectoryMax
  if ((directory.snapshots?.length ?? 0) >= limit || state.snapshots.size >= limits.snapshotsMax) {
    throw new ShoalError('BUSY', { what: 'snapshots', limit }, `there are ${limit} snapshots; delete some`)
  }
  state.snapshots.create(directory, ownText(name), timeMs)
  return { ok: true, path: snapshotPath(context, directory, name) }
}

export function renameSnapshot(context: CommandContext, command: RenameSnapshot): Answer<'rename-snapshot'> {
  const directory = directoryAt(context, command.path)
  const record = snapshotNamed(context, directory, command.name)
  const to = command.to === record.name ? record.name : snapshotName(context, directory, command.to)
  record.name = ownText(to)
  return { ok: true, path: snapshotPath(context, directory, to) }
}

export function deleteSnapshot(context: CommandContext, command: DeleteSnapshot): Answer<'delete-snapshot'> {
  const directory = directoryAt(context, command.path)
  context.state.deleteSnapshot(directory, snapshotNamed(context, directory, command.name))
  return { ok: true }
}

/** Throws HAS_SNAPSHOTS when the node, or a directory below it, has snapshots: they would go with it. */
export function needNoSnapshots(context: CommandContext, node: TreeNode): void {
  if (node.kind === 'file') return
  for (const root of context.state.snapshots.roots()) {
    if (![...upwards(root)].includes(node)) continue
    throw hasSnapshots(context, root, 'delete its snapshots before it is moved or removed')
  }
}

function hasSnapshots({ state }: CommandContext, directory: DirectoryNode, reason: string) {
  const path = state.tree.pathOf(directory)
  const snapshots = (directory.snapshots ?? []).map(({ name }) => name)
  return new ShoalError(
    'HAS_SNAPSHOTS',
    { path, snapshots: snapshots.slice(0, 10) },
    `${path} has ${snapshots.length} snapshots (${snapshots.slice(0, 3).join(', ')} …): ${reason}`,
  )
}

function directoryAt({ state }: CommandContext, path: string): DirectoryNode {
  const node = state.tree.get(joinNames(changeable(path)))
  if (node.kind === 'file') throw notADirectory(state.tree.pathOf(node))
  return node
}

function snapshotNamed({ state }: CommandContext, directory: DirectoryNode, name: string): SnapshotRecord {
  const record = directory.snapshots?.find(each => each.name === name)
  if (record === undefined) throw notFound(`${state.tree.pathOf(directory)}/${SNAPSHOT_NAME}/${name}`)
  return record
}

/** A name that is valid and free. */
function snapshotName(context: CommandContext, directory: DirectoryNode, name: string): string {
  if (
    pathNames(`/${name}`).join('/') !== name ||
    name.includes('/') ||
    name === '' ||
    name === SNAPSHOT_NAME
  ) {
    throw invalidPath(name, 'a snapshot has a name as a file has, without slashes')
  }
  const taken = directory.snapshots?.some(each => each.name === name) === true
  if (taken) throw alreadyExists(snapshotPath(context, directory, name))
  return name
}

function snapshotPath({ state }: CommandContext, directory: DirectoryNode, name: string): string {
  return joinNames([...state.tree.namesOf(directory), SNAPSHOT_NAME, name])
}
