import { ShoalError } from '../base/index.ts'
import { upwards, type DirectoryNode, type TreeNode } from './namespace-nodes.ts'
import type { NamespaceTree } from './namespace-tree.ts'
import { invalidPath, joinNames, PATH_BYTES_MAX, pathBytes } from './paths.ts'

/** What a change adds to a directory. */
export interface Growth {
  /** Files and directories. */
  names?: number
  /** With all copies wanted. */
  bytes?: number
}

/**
 * Throws QUOTA_EXCEEDED when a directory from here upwards, up to `except` (itself not), has no room for this. What does not
 * grow is not refused, even where a limit was set below what is there.
 */
export function needQuota(
  tree: NamespaceTree,
  from: DirectoryNode,
  { names = 0, bytes = 0 }: Growth,
  except?: ReadonlySet<DirectoryNode>,
): void {
  for (const directory of upwards(from)) {
    if (except?.has(directory) === true) return
    const { quota, sums } = directory
    if (quota === undefined) continue
    const usedNames = namesOf(directory)
    if (quota.names !== undefined && names > 0 && usedNames + names > quota.names) {
      throw exceeded(tree.pathOf(directory), 'names', quota.names, usedNames, names)
    }
    if (quota.bytes !== undefined && bytes > 0 && sums.wantedBytes + bytes > quota.bytes) {
      throw exceeded(tree.pathOf(directory), 'bytes', quota.bytes, sums.wantedBytes, bytes)
    }
  }
}

/** Room by quota for a node at another place, and by length for all paths below it. */
export function needMoveRoom(
  tree: NamespaceTree,
  node: TreeNode,
  parent: DirectoryNode,
  name: string,
  missing: readonly string[] = [],
): void {
  const target = joinNames([...tree.namesOf(parent), ...missing, name])
  if (tree.tooLongAt(node, pathBytes(target), PATH_BYTES_MAX)) {
    throw invalidPath(target, `it, or a path below it, would have more than ${PATH_BYTES_MAX} bytes`)
  }
  const directory = node.kind === 'directory'
  const names = missing.length + (directory ? node.sums.files + node.sums.directories + 1 : 1)
  const bytes = directory ? node.sums.wantedBytes : node.sizeBytes * node.shape.replication
  // What is above both gains nothing but the directories that are made.
  const shared = new Set(upwards(node.parent))
  needQuota(tree, parent, { names, bytes }, shared)
  const common = [...upwards(parent)].find(above => shared.has(above))
  if (missing.length > 0 && common !== undefined) needQuota(tree, common, { names: missing.length })
}

/** Files and directories in a directory, itself included. */
export function namesOf({ sums }: DirectoryNode): number {
  return sums.files + sums.directories + 1
}

function exceeded(path: string, what: 'names' | 'bytes', limit: number, used: number, more: number) {
  const unit = what === 'names' ? 'files and directories' : 'bytes with all copies'
  return new ShoalError(
    'QUOTA_EXCEEDED',
    { path, what, limit, used },
    `the quota of ${path} is ${limit} ${unit}: ${used} are used and ${more} more do not fit; remove something or raise the quota`,
  )
}
