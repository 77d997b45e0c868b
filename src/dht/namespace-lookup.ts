import { type DirectoryNode, type TreeNode } from './namespace-nodes.ts'
import type { NamespaceState } from './namespace-state.ts'
import { notADirectory, notFound } from './namespace-tree.ts'
import { joinNames, pathNames } from './paths.ts'
import { SNAPSHOT_NAME } from './snapshots.ts'

/** What a path means: something of the tree, something as a snapshot shows it, or the folder of a directory's snapshots. */
export type Found =
  | { kind: 'node'; names: string[]; node: TreeNode; seq: number | undefined }
  | { kind: 'snapshots'; names: string[]; directory: DirectoryNode }

/** Throws NOT_FOUND, NOT_A_DIRECTORY or INVALID_PATH. */
export function lookUp({ tree, snapshots }: NamespaceState, path: string): Found {
  const names = pathNames(path)
  const at = names.indexOf(SNAPSHOT_NAME)
  if (at === -1) {
    const node = tree.find(names)
    if (node === undefined) throw notFound(joinNames(names))
    return { kind: 'node', names, node, seq: undefined }
  }
  const directory = tree.find(names.slice(0, at))
  if (directory === undefined) throw notFound(joinNames(names))
  if (directory.kind === 'file') throw notADirectory(joinNames(names.slice(0, at)))
  const name = names[at + 1]
  if (name === undefined) return { kind: 'snapshots', names, directory }
  const seq = directory.snapshots?.find(record => record.name === name)?.seq
  if (seq === undefined) throw notFound(joinNames(names))
  let node: TreeNode = directory
  for (const [depth, child] of names.slice(at + 2).entries()) {
    if (node.kind === 'file') throw notADirectory(joinNames(names.slice(0, at + 2 + depth)))
    const next = snapshots.childAt(node, child, seq)
    if (next === undefined) throw notFound(joinNames(names))
    node = next
  }
  return { kind: 'node', names, node, seq }
}

/** What is in a directory, as it is or as a snapshot shows it. */
export function entriesOf(
  { snapshots }: NamespaceState,
  directory: DirectoryNode,
  seq: number | undefined,
): ReadonlyMap<string, TreeNode> {
  return seq === undefined ? directory.entries : snapshots.entriesAt(directory, seq)
}
