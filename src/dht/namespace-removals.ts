import { ShoalError } from '../base/index.ts'
import type { Expunge, NamespaceAnswers, NamespaceCommand, Rm, Undelete } from './namespace-commands.ts'
import { changeable, makeable, type CommandContext } from './namespace-context.ts'
import { needMoveRoom } from './namespace-quotas.ts'
import { needNoSnapshots } from './namespace-snapshot-changes.ts'
import { sumsOf } from './namespace-nodes.ts'
import { alreadyExists, notFound } from './namespace-tree.ts'
import { invalidPath, joinNames, PATH_BYTES_MAX, pathBytes } from './paths.ts'
import { trashNames } from './trash.ts'
import { TRASH_NAME } from './snapshots.ts'

type Answer<Type extends NamespaceCommand['type']> = NamespaceAnswers[Type]

export function rm(context: CommandContext, command: Rm): Answer<'rm'> {
  const { state, timeMs } = context
  const names = changeable(command.path)
  const path = joinNames(names)
  if (names.length === 0) throw invalidPath('/', 'the root cannot be removed; remove what is in it')
  const node = state.tree.find(names)
  if (node === undefined) throw notFound(path)
  if (node.kind === 'directory' && node.entries.size > 0 && command.recursive !== true) {
    const count = node.entries.size
    throw new ShoalError('DIRECTORY_NOT_EMPTY', { path }, `${path} has ${count} entries; remove recursively`)
  }
  needNoSnapshots(context, node)
  const { files, directories, sizeBytes } = sumsOf(node)
  if (command.trash === true && names[0] !== TRASH_NAME) {
    const deletedMs = state.trash.next(timeMs)
    const target = trashNames(deletedMs, names)
    const trash = joinNames(target)
    if (state.tree.tooLongAt(node, pathBytes(trash), PATH_BYTES_MAX)) {
      throw invalidPath(path, 'its path in the trash would be too long; skip the trash')
    }
    const parent = state.tree.makeDirectories(target.slice(0, -1), timeMs)
    state.move(node, parent, names.at(-1)!, timeMs)
    state.trash.add(deletedMs, names)
    return { ok: true, files, directories, sizeBytes, trash }
  }
  state.remove(node, timeMs)
  if (names[0] === TRASH_NAME) pruneTrash(context, Number(names[1]))
  return { ok: true, files, directories, sizeBytes }
}

export function undelete(context: CommandContext, command: Undelete): Answer<'undelete'> {
  const { state, timeMs } = context
  const { tree } = state
  const names = changeable(command.path)
  const found = state.trash.find(tree, names, command.deletedMs)
  if (found === undefined) {
    throw new ShoalError(
      'NOT_FOUND',
      { path: joinNames(names) },
      `${joinNames(names)} is not in the trash${command.deletedMs === undefined ? '' : ` as removed at ${command.deletedMs}`}`,
    )
  }
  const to = makeable(command.to ?? command.path)
  const name = to.at(-1)
  if (name === undefined || tree.find(to) !== undefined) throw alreadyExists(joinNames(to))
  const above = to.slice(0, -1)
  const { lowest, missing } = tree.reached(above)
  needMoveRoom(tree, found.node, lowest, name, above.slice(above.length - missing))
  const parent = tree.makeDirectories(above, timeMs)
  state.move(found.node, parent, name, timeMs)
  pruneTrash(context, found.deletedMs)
  return { ok: true, path: joinNames(to) }
}

export function expunge(context: CommandContext, { ageMs }: Expunge): Answer<'expunge'> {
  const { state, limits, timeMs } = context
  let entries = 0
  let files = 0
  let names = 0
  for (const [deletedMs] of state.trash.entries()) {
    if (ageMs > 0 && state.trash.ageMs(deletedMs, timeMs) < ageMs) break
    const folder = state.tree.tryFind([TRASH_NAME, String(deletedMs)])
    if (folder === undefined) continue
    const sums = sumsOf(folder)
    if (names > 0 && names + sums.files + sums.directories > limits.expungeMax) {
      return { ok: true, entries, files, more: true }
    }
    state.remove(folder, timeMs)
    state.trash.delete(deletedMs)
    names += sums.files + sums.directories
    files += sums.files
    entries++
  }
  return { ok: true, entries, files, more: false }
}

/** Something was taken out of the trash: removals of which nothing is left go. */
export function pruneTrash(context: CommandContext, deletedMs: number): void {
  const { state, timeMs } = context
  const removals = Number.isNaN(deletedMs) ? [...state.trash.entries()].map(([time]) => time) : [deletedMs]
  for (const time of removals) {
    const names = state.trash.namesOf(time)
    if (names === undefined || state.tree.tryFind(trashNames(time, names)) !== undefined) continue
    const folder = state.tree.tryFind([TRASH_NAME, String(time)])
    if (folder !== undefined) state.remove(folder, timeMs)
    state.trash.delete(time)
  }
}
