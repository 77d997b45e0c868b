import { invariant, ShoalError } from '../base/index.ts'
import {
  addSums,
  newDirectory,
  sumsOf,
  upwards,
  type DirectoryNode,
  type TreeNode,
} from './namespace-nodes.ts'
import { NameOrder } from './name-order.ts'
import { invalidPath, joinNames, pathNames, utf8Bytes } from './paths.ts'
import type { Snapshots } from './snapshots.ts'

/** Directories of a snapshot that are summed up in one go. */
const SUMMED_AT_ONCE = 1_000

/** Directories and files by path. Nodes know their parents, so that moving a directory touches nothing below it. */
export class NamespaceTree {
  readonly root: DirectoryNode = newDirectory('', 0)
  readonly #snapshots: Snapshots
  readonly #order = new NameOrder()

  constructor(snapshots: Snapshots) {
    this.#snapshots = snapshots
  }

  /** Undefined when the last name or a directory on the way is missing; throws NOT_A_DIRECTORY when a file is in the way. */
  find(names: readonly string[]): TreeNode | undefined {
    let node: TreeNode = this.root
    for (const [depth, name] of names.entries()) {
      if (node.kind === 'file') throw notADirectory(joinNames(names.slice(0, depth)))
      const next: TreeNode | undefined = node.entries.get(name)
      if (next === undefined) return undefined
      node = next
    }
    return node
  }

  /** Undefined also when a file is in the way. */
  tryFind(names: readonly string[]): TreeNode | undefined {
    let node: TreeNode | undefined = this.root
    for (const name of names) node = node?.kind === 'directory' ? node.entries.get(name) : undefined
    return node
  }

  /** The lowest directory that there is on the way. */
  lowest(names: readonly string[]): DirectoryNode {
    let lowest: DirectoryNode = this.root
    for (const name of names) {
      const next = lowest.entries.get(name)
      if (next?.kind !== 'directory') break
      lowest = next
    }
    return lowest
  }

  /** The first name of a node's path; '' for the root. */
  topOf(node: TreeNode): string {
    let at = node
    while (at.parent !== undefined && at.parent !== this.root) at = at.parent
    return at.name
  }

  /** Throws NOT_FOUND, NOT_A_DIRECTORY or INVALID_PATH. */
  get(path: string): TreeNode {
    const names = pathNames(path)
    const node = this.find(names)
    if (node === undefined) throw notFound(joinNames(names))
    return node
  }

  /** The directory that holds the last name. Throws NOT_FOUND, NOT_A_DIRECTORY, or INVALID_PATH for the root. */
  parentOf(names: readonly string[]): { parent: DirectoryNode; name: string } {
    const name = names.at(-1)
    if (name === undefined) throw invalidPath('/', 'the root is in no directory')
    const above = names.slice(0, -1)
    const parent = this.find(above)
    if (parent === undefined) throw notFound(joinNames(above))
    if (parent.kind === 'file') throw notADirectory(joinNames(above))
    return { parent, name }
  }

  /**
   * The lowest directory there is on the way, and how many are missing below it. Throws NOT_A_DIRECTORY when a file is in
   * the way.
   */
  reached(names: readonly string[]): { lowest: DirectoryNode; missing: number } {
    let lowest: DirectoryNode = this.root
    for (const [depth, name] of names.entries()) {
      const next = lowest.entries.get(name)
      if (next === undefined) return { lowest, missing: names.length - depth }
      if (next.kind === 'file') throw notADirectory(joinNames(names.slice(0, depth + 1)))
      lowest = next
    }
    return { lowest, missing: 0 }
  }

  /** The directory at `names`, made with all that is missing above it; ask `reached` first. */
  makeDirectories(names: readonly string[], timeMs: number): DirectoryNode {
    let node: DirectoryNode = this.root
    for (const name of names) {
      let next = node.entries.get(name)
      if (next === undefined) {
        next = newDirectory(name, timeMs, this.#snapshots.lastSeq)
        this.link(node, next, timeMs)
      }
      invariant(next.kind === 'directory', 'files in the way were looked for')
      node = next
    }
    return node
  }

  /** Up to `limit` names of a directory as it is now, behind that one, in order. */
  namesAfter(directory: DirectoryNode, startAfter: string | undefined, limit: number): string[] {
    return this.#order.page(directory, startAfter, limit)
  }

  link(parent: DirectoryNode, node: TreeNode, timeMs: number): void {
    invariant(!parent.entries.has(node.name), `${node.name} is free`)
    this.#snapshots.record(parent, node.name, null)
    parent.entries.set(node.name, node)
    this.#order.added(parent, node.name)
    parent.modifiedMs = timeMs
    node.parent = parent
    const sums = sumsOf(node)
    let reachBytes = node.kind === 'directory' ? node.reachBytes : 0
    let { name } = node
    for (let above: DirectoryNode | undefined = parent; above !== undefined; above = above.parent) {
      addSums(above.sums, sums)
      reachBytes += utf8Bytes(name) + 1
      above.reachBytes = Math.max(above.reachBytes, reachBytes)
      name = above.name
    }
  }

  /** True when a snapshot goes on showing the node. */
  unlink(node: TreeNode, timeMs: number): boolean {
    const { parent, name } = node
    invariant(parent !== undefined, 'only a node in a directory is unlinked')
    const kept = this.#snapshots.record(parent, name, node)
    parent.entries.delete(name)
    this.#order.removed(parent, name)
    parent.modifiedMs = timeMs
    node.parent = undefined
    const sums = sumsOf(node)
    for (const above of upwards(parent)) addSums(above.sums, sums, -1)
    return kept
  }

  /** Out of a snapshot: what is below a directory is counted by `sumUp`, when all are in their places. */
  restoreEntry(directory: DirectoryNode, node: TreeNode): void {
    directory.entries.set(node.name, node)
    node.parent = directory
    if (node.kind === 'file') countIn(directory, node)
  }

  /** Counts directories, the lowest first, into those above them. Yields now and then. */
  *sumUp(directories: readonly DirectoryNode[]): Generator<undefined> {
    /** Directories right below that are not counted yet. */
    const waiting = new Map<DirectoryNode, number>()
    for (const { parent } of directories)
      if (parent !== undefined) waiting.set(parent, (waiting.get(parent) ?? 0) + 1)
    const ready = directories.filter(directory => !waiting.has(directory))
    for (let node = ready.pop(), counted = 1; node !== undefined; node = ready.pop(), counted++) {
      if (counted % SUMMED_AT_ONCE === 0) yield
      const { parent } = node
      if (parent === undefined) continue
      countIn(parent, node)
      const left = waiting.get(parent)! - 1
      waiting.set(parent, left)
      if (left === 0) ready.push(parent)
    }
  }

  /** Puts a node in the place of another of the same name. */
  replace(old: TreeNode, node: TreeNode): void {
    const { parent } = old
    invariant(parent !== undefined && old.name === node.name, 'a node takes the place of its namesake')
    parent.entries.set(node.name, node)
    node.parent = parent
    old.parent = undefined
  }

  /** True when a path in or below the directory would be longer than a path may be if its own path had this many bytes. */
  tooLongAt(node: TreeNode, pathBytes: number, limitBytes: number): boolean {
    if (node.kind === 'file') return pathBytes > limitBytes
    if (pathBytes + node.reachBytes <= limitBytes) return false
    // The kept bound does not shrink with removals: look again.
    const stack: [DirectoryNode, number][] = [[node, pathBytes]]
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      const [directory, bytes] = next
      if (bytes > limitBytes) return true
      for (const [name, entry] of directory.entries) {
        const entryBytes = bytes + utf8Bytes(name) + 1
        if (entryBytes > limitBytes) return true
        if (entry.kind === 'directory') stack.push([entry, entryBytes])
      }
    }
    return false
  }

  pathOf(node: TreeNode): string {
    return joinNames(this.namesOf(node))
  }

  namesOf(node: TreeNode): string[] {
    const names: string[] = []
    for (let at: TreeNode = node; at.parent !== undefined; at = at.parent) names.push(at.name)
    return names.reverse()
  }

  /** The node and all below it, each directory before its entries. Not recursive: moves may nest deeper than the stack. */
  *walk(from: TreeNode = this.root): Generator<TreeNode> {
    const stack: TreeNode[] = [from]
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      yield node
      if (node.kind === 'directory')
        for (const entry of [...node.entries.values()].reverse()) stack.push(entry)
    }
  }
}

function countIn(above: DirectoryNode, node: TreeNode): void {
  addSums(above.sums, sumsOf(node))
  const below = node.kind === 'directory' ? node.reachBytes : 0
  above.reachBytes = Math.max(above.reachBytes, below + utf8Bytes(node.name) + 1)
}

export function notFound(path: string): ShoalError<'NOT_FOUND'> {
  return new ShoalError('NOT_FOUND', { path }, `${path} does not exist`)
}

export function alreadyExists(path: string): ShoalError<'ALREADY_EXISTS'> {
  return new ShoalError('ALREADY_EXISTS', { path }, `${path} exists already`)
}

export function notADirectory(path: string): ShoalError<'NOT_A_DIRECTORY'> {
  return new ShoalError('NOT_A_DIRECTORY', { path }, `${path} is a file, not a directory`)
}

export function isADirectory(path: string): ShoalError<'IS_A_DIRECTORY'> {
  return new ShoalError('IS_A_DIRECTORY', { path }, `${path} is a directory, not a file`)
}
