import { invariant, ShoalError, type FileId, type PeerId } from '../base/index.ts'
import type { FileFormat } from './namespace-types.ts'
import { invalidPath, joinNames, pathNames } from './paths.ts'

/** One partition. Kept small: there is one for each block of the mesh, on every peer. */
export interface BlockRecord {
  fileId: FileId
  index: number
  writeId: string
  sizeBytes: number
  sha256: string
  holders: readonly PeerId[]
  lines: number | undefined
  midLine: boolean
}

/** What a write asked for, and what its file keeps. */
export interface FileShape {
  format: FileFormat
  replication: number
  partitionBytes: number | undefined
}

export interface FileNode extends FileShape {
  kind: 'file'
  name: string
  parent: DirectoryNode | undefined
  fileId: FileId
  blocks: readonly BlockRecord[]
  sizeBytes: number
  modifiedMs: number
}

export interface DirectoryNode {
  kind: 'directory'
  name: string
  parent: DirectoryNode | undefined
  entries: Map<string, TreeNode>
  modifiedMs: number
  /** Of a job's output: the attempt that committed it. */
  winner: string | undefined
}

export type TreeNode = FileNode | DirectoryNode

export function newDirectory(name: string, modifiedMs: number): DirectoryNode {
  return { kind: 'directory', name, parent: undefined, entries: new Map(), modifiedMs, winner: undefined }
}

/** Directories and files by path. Nodes know their parents, so that moving a directory touches nothing below it. */
export class NamespaceTree {
  readonly root: DirectoryNode = newDirectory('', 0)

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

  /** Number of directories that `makeDirectories` would make. Throws NOT_A_DIRECTORY when a file is in the way. */
  missingDirectories(names: readonly string[]): number {
    let node: DirectoryNode = this.root
    for (const [depth, name] of names.entries()) {
      const next = node.entries.get(name)
      if (next === undefined) return names.length - depth
      if (next.kind === 'file') throw notADirectory(joinNames(names.slice(0, depth + 1)))
      node = next
    }
    return 0
  }

  /** The directory at `names`, made with all that is missing above it; check with `missingDirectories` first. */
  makeDirectories(names: readonly string[], timeMs: number): DirectoryNode {
    let node: DirectoryNode = this.root
    for (const name of names) {
      let next = node.entries.get(name)
      if (next === undefined) {
        next = newDirectory(name, timeMs)
        this.link(node, next, timeMs)
      }
      invariant(next.kind === 'directory', 'missingDirectories was asked first')
      node = next
    }
    return node
  }

  link(parent: DirectoryNode, node: TreeNode, timeMs: number): void {
    invariant(!parent.entries.has(node.name), `${node.name} is free`)
    parent.entries.set(node.name, node)
    parent.modifiedMs = timeMs
    node.parent = parent
  }

  unlink(node: TreeNode, timeMs: number): void {
    invariant(node.parent !== undefined, 'only a node in a directory is unlinked')
    node.parent.entries.delete(node.name)
    node.parent.modifiedMs = timeMs
    node.parent = undefined
  }

  pathOf(node: TreeNode): string {
    const names: string[] = []
    for (let at: TreeNode = node; at.parent !== undefined; at = at.parent) names.push(at.name)
    return joinNames(names.reverse())
  }

  /** The node and all below it, each directory before its entries. Not recursive: moves may nest deeper than the stack. */
  *walk(from: TreeNode = this.root): Generator<TreeNode> {
    const stack: TreeNode[] = [from]
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      yield node
      if (node.kind === 'directory') stack.push(...[...node.entries.values()].reverse())
    }
  }
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
