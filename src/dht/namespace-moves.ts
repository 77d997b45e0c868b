import type { Mv, NamespaceAnswers } from './namespace-commands.ts'
import { changeable, makeable, type CommandContext } from './namespace-context.ts'
import { upwards } from './namespace-nodes.ts'
import { needMoveRoom } from './namespace-quotas.ts'
import { pruneTrash } from './namespace-removals.ts'
import { needNoSnapshots } from './namespace-snapshot-changes.ts'
import { alreadyExists, notFound } from './namespace-tree.ts'
import { invalidPath, joinNames } from './paths.ts'
import { TRASH_NAME } from './snapshots.ts'

export function mv(context: CommandContext, command: Mv): NamespaceAnswers['mv'] {
  const { state, timeMs } = context
  const { tree } = state
  const from = changeable(command.from)
  const to = makeable(command.to)
  if (from.length === 0) throw invalidPath('/', 'the root cannot be moved')
  const node = tree.find(from)
  if (node === undefined) throw notFound(joinNames(from))
  const there = tree.find(to)
  const { parent, name } =
    there?.kind === 'directory' ? { parent: there, name: node.name } : tree.parentOf(to)
  for (const above of upwards(parent)) {
    if (above === node)
      throw invalidPath(joinNames(to), `it lies inside ${joinNames(from)}, which is to be moved`)
  }
  const occupant = parent.entries.get(name)
  if (occupant !== undefined && occupant !== node) throw alreadyExists(tree.pathOf(occupant))
  if (occupant === node) return { ok: true, path: tree.pathOf(node) }
  needNoSnapshots(context, node)
  needTrashWhole(from)
  needMoveRoom(tree, node, parent, name)
  state.move(node, parent, name, timeMs)
  if (from[0] === TRASH_NAME) pruneTrash(context, Number(from[1]))
  return { ok: true, path: joinNames([...tree.namesOf(parent), name]) }
}

/** The trash and the folders in it go only with what is in them. */
function needTrashWhole(names: readonly string[]): void {
  if (names[0] !== TRASH_NAME || names.length > 2) return
  throw invalidPath(joinNames(names), `it is the trash; move what is in it, or undelete it`)
}
