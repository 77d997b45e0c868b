import { invariant, type BlockId, type FileId, type PeerId } from '../base/index.ts'
import { BlockIndex } from './block-index.ts'
import { parseBlockId } from './block-id.ts'
import { FileTable } from './file-table.ts'
import { Interner } from './interner.ts'
import {
  addSums,
  newDirectory,
  sumsOf,
  upwards,
  type Attributes,
  type BlockRecord,
  type DirectoryNode,
  type FileNode,
  type FileShape,
  type Sums,
  type TreeNode,
} from './namespace-nodes.ts'
import { NamespaceTree } from './namespace-tree.ts'
import type { BlockReport } from './namespace-types.ts'
import { ownText, packHex } from './packed-text.ts'
import { Snapshots } from './snapshots.ts'
import { Trash } from './trash.ts'

/** A lease and the blocks gathered under it; invisible until it is committed. */
export interface OpenWrite {
  fileId: FileId
  /** Of an append: as it was when it began; the file may be renamed since. */
  path: string
  token: string | undefined
  append: boolean
  expiresAtMs: number
  /** Log index of the command that opened it. */
  lease: number
  overwrite: boolean
  parents: boolean
  shape: FileShape
  /** Of the blocks. */
  sizeBytes: number
  blocks: Map<number, BlockRecord>
}

export interface Removed {
  files: number
  directories: number
  sizeBytes: number
}

/** What can be changed of a file that is there. */
export type FileChange = Partial<
  Pick<FileNode, 'blocks' | 'sizeBytes' | 'modifiedMs' | 'shape' | 'attributes'>
>

/**
 * The collections of the namespace, kept in step with each other. A block belongs to versions of one file, visible or in
 * snapshots, or to one open write, and lies in the index from when it was added until the last of them goes.
 */
export class NamespaceState {
  readonly snapshots = new Snapshots()
  readonly trash = new Trash()
  readonly writes = new Map<FileId, OpenWrite>()
  readonly blocks: BlockIndex
  readonly files: FileTable
  readonly #shapes = new Interner<FileShape>()
  readonly #attributes = new Interner<Attributes>()
  tree = new NamespaceTree(this.snapshots)

  constructor(slotCount: number) {
    this.blocks = new BlockIndex(slotCount)
    this.files = new FileTable(this.blocks)
  }

  shapeOf(shape: FileShape): FileShape {
    return this.#shapes.of(shape)
  }

  attributesOf(attributes: Attributes): Attributes | undefined {
    return Object.keys(attributes).length === 0 ? undefined : this.#attributes.of(attributes)
  }

  addBlock(write: OpenWrite, writeId: string, report: BlockReport): void {
    const old = write.blocks.get(report.index)
    if (old !== undefined) this.blocks.delete(old)
    const record: BlockRecord = {
      fileId: write.fileId,
      index: report.index,
      writeId: ownText(writeId),
      sizeBytes: report.sizeBytes,
      hash: packHex(report.sha256),
      holders: this.blocks.groupOf(report.holders),
      lines: report.lines,
      midLine: report.midLine === true,
    }
    write.sizeBytes += record.sizeBytes - (old?.sizeBytes ?? 0)
    write.blocks.set(report.index, record)
    this.blocks.add(record)
  }

  dropWrite(write: OpenWrite): void {
    for (const block of write.blocks.values()) this.blocks.delete(block)
    this.writes.delete(write.fileId)
  }

  /** The write becomes a visible file; its blocks must be 0 … n − 1. */
  show(write: OpenWrite, parent: DirectoryNode, name: string, timeMs: number): FileNode {
    const { fileId, shape } = write
    const blocks = Array.from({ length: write.blocks.size }, (_, index) => write.blocks.get(index)!)
    this.writes.delete(fileId)
    return this.addFile(parent, { name, fileId, blocks, shape, timeMs })
  }

  addFile(
    parent: DirectoryNode,
    file: { name: string; fileId: FileId; blocks: BlockRecord[]; shape: FileShape; timeMs: number },
  ): FileNode {
    const { name, fileId, blocks, shape, timeMs } = file
    const node: FileNode = {
      kind: 'file',
      name: ownText(name),
      parent: undefined,
      fileId,
      blocks,
      sizeBytes: blocks.reduce((sum, block) => sum + block.sizeBytes, 0),
      modifiedMs: timeMs,
      shape,
      attributes: undefined,
      other: undefined,
    }
    this.tree.link(parent, node, timeMs)
    this.files.enter(node)
    return node
  }

  /** Blocks of the write's that follow on the file's own become part of it. The write must be an append to it. */
  append(write: OpenWrite, node: FileNode, from: number, timeMs: number): FileNode {
    const added = Array.from({ length: write.blocks.size }, (_, at) => write.blocks.get(from + at)!)
    const blocks = [...node.blocks.slice(0, from), ...added]
    const sizeBytes = blocks.reduce((sum, block) => sum + block.sizeBytes, 0)
    this.writes.delete(write.fileId)
    return this.changeFile(node, { blocks, sizeBytes, modifiedMs: timeMs })
  }

  /** Changes a visible file; snapshots go on showing it as it was. */
  changeFile(node: FileNode, change: FileChange): FileNode {
    const { parent } = node
    invariant(parent !== undefined, 'only a visible file is changed')
    const before = sumsOf(node)
    const kept = this.snapshots.record(parent, node.name, node)
    let changed = node
    if (kept) {
      changed = { ...node, ...change, other: undefined }
      this.tree.replace(node, changed)
      this.files.enter(changed)
    } else {
      this.files.change(node.fileId, () => Object.assign(node, change))
    }
    const after = sumsOf(changed)
    for (const above of upwards(parent)) {
      addSums(above.sums, before, -1)
      addSums(above.sums, after)
    }
    return changed
  }

  /** Log time has leapt to `timeMs`: no lease ends, and nothing in the trash is older, because of `leapMs` of that. */
  leapt(timeMs: number, leapMs: number): void {
    for (const write of this.writes.values()) write.expiresAtMs += leapMs
    this.trash.leapt(timeMs, leapMs)
  }

  /** Takes a node and all below it out; blocks that nothing else has become garbage. */
  remove(node: TreeNode, timeMs: number): Removed {
    const { files, directories, sizeBytes } = sumsOf(node)
    // Below first: what a snapshot keeps is found by looking upwards.
    for (const each of [...this.tree.walk(node)].reverse()) {
      const kept = this.tree.unlink(each, timeMs)
      if (each.kind === 'file' && !kept) this.files.leave(each)
    }
    return { files, directories, sizeBytes }
  }

  /** Gives a node another place, which must be free. */
  move(node: TreeNode, parent: DirectoryNode, name: string, timeMs: number): void {
    if (node.kind === 'directory') this.snapshots.pin(node)
    const kept = this.tree.unlink(node, timeMs)
    // What a snapshot shows under the old name stays as it is; the tree goes on with a copy.
    const moved: TreeNode = node.kind === 'file' && kept ? { ...node, other: undefined } : node
    moved.name = ownText(name)
    this.tree.link(parent, moved, timeMs)
    if (moved.kind === 'file' && moved !== node) this.files.enter(moved)
  }

  makeDirectory(parent: DirectoryNode, name: string, timeMs: number): void {
    this.tree.link(parent, newDirectory(ownText(name), timeMs, this.snapshots.lastSeq), timeMs)
  }

  deleteSnapshot(directory: DirectoryNode, record: { seq: number; name: string; createdMs: number }): void {
    for (const file of this.snapshots.delete(directory, record)) this.files.leave(file)
  }

  block(blockId: BlockId): BlockRecord | undefined {
    const name = parseBlockId(blockId)
    if (name === undefined) return undefined
    const written = this.writes.get(name.fileId)?.blocks.get(name.index)
    if (written?.writeId === name.writeId) return written
    return this.files.block(name.fileId, name.index, name.writeId)
  }

  setHolders(block: BlockRecord, holders: readonly PeerId[]): void {
    const version = this.files.versionWith(block)
    if (version?.parent !== undefined) {
      const bytes = (holders.length - block.holders.peers.length) * block.sizeBytes
      for (const above of upwards(version.parent)) above.sums.storedBytes += bytes
    }
    const replication = version === undefined ? undefined : this.files.replicationOf(block.fileId)
    this.blocks.setHolders(block, holders, replication)
  }

  replicationOf(block: BlockRecord): number {
    const wanted =
      this.files.versionWith(block) === undefined
        ? this.writes.get(block.fileId)?.shape.replication
        : this.files.replicationOf(block.fileId)
    invariant(wanted !== undefined, 'a block in the index belongs to a file or a write')
    return wanted
  }

  /** All nodes: those of the tree, and those that only snapshots show. */
  allNodes(): { directories: Set<DirectoryNode>; files: Set<FileNode> } {
    const directories = new Set<DirectoryNode>([this.tree.root])
    const files = new Set<FileNode>()
    for (const directory of directories) {
      const past = (directory.versions ?? []).flatMap(version => [...version.entries.values()])
      for (const entry of [...directory.entries.values(), ...past]) {
        if (entry?.kind === 'directory') directories.add(entry)
        else if (entry?.kind === 'file') {
          invariant(!files.has(entry), `${entry.name} lies in one place`)
          files.add(entry)
        }
      }
    }
    return { directories, files }
  }

  clear(): void {
    this.writes.clear()
    this.blocks.clear()
    this.files.clear()
    this.trash.clear()
    this.snapshots.restore(0)
    this.tree = new NamespaceTree(this.snapshots)
  }

  assertInvariants(): void {
    const { directories, files } = this.allNodes()
    const owned = new Map<BlockRecord, number | undefined>()
    for (const node of files) {
      for (const block of node.blocks) owned.set(block, this.files.replicationOf(node.fileId))
    }
    for (const write of this.writes.values()) {
      const visible = this.files.has(write.fileId)
      invariant(!visible || write.append, `${write.path} is visible and so only appended to`)
      for (const [index, block] of write.blocks) {
        invariant(block.index === index && block.fileId === write.fileId, `block ${index} lies in its place`)
        invariant(!owned.has(block), 'a block belongs to a file or to a write')
        owned.set(block, undefined)
      }
      const bytes = write.blocks.values().reduce((sum, block) => sum + block.sizeBytes, 0)
      invariant(bytes === write.sizeBytes, `the bytes written to ${write.path} are counted`)
    }
    this.blocks.assertInvariants(owned)
    this.files.assertInvariants(files)
    this.snapshots.assertInvariants(directories)
    const inTree = new Set(this.tree.walk())
    for (const file of files)
      invariant(inTree.has(file) === (file.parent !== undefined), 'visible is in the tree')
    for (const directory of directories) {
      if (!inTree.has(directory)) invariant(directory.entries.size === 0, 'what is gone is empty')
      const sums: Sums = { files: 0, directories: 0, blocks: 0, sizeBytes: 0, storedBytes: 0, wantedBytes: 0 }
      for (const [name, entry] of directory.entries) {
        invariant(entry.parent === directory && entry.name === name, `${name} knows its directory`)
        addSums(sums, sumsOf(entry))
        const below = entry.kind === 'directory' ? entry.reachBytes : 0
        invariant(
          directory.reachBytes >= below + Buffer.byteLength(name) + 1,
          `the way to ${name} is counted`,
        )
      }
      for (const key of Object.keys(sums) as (keyof Sums)[]) {
        invariant(sums[key] === directory.sums[key], `the count of ${key} in ${directory.name} is right`)
      }
    }
    this.trash.assertInvariants(this.tree)
  }
}
