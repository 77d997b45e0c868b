import { invariant, type FileId, type PeerId } from '../base/index.ts'
import type { BlockReport, FileFormat, Usage } from './namespace-types.ts'
import {
  NamespaceTree,
  newDirectory,
  type BlockRecord,
  type DirectoryNode,
  type FileNode,
  type FileShape,
  type TreeNode,
} from './namespace-tree.ts'
import { parseBlockId } from './block-id.ts'
import { slotOf } from './ring.ts'

/** A lease and the blocks gathered under it; invisible until it is committed. */
export interface OpenWrite extends FileShape {
  fileId: FileId
  path: string
  expiresAtMs: number
  overwrite: boolean
  parents: boolean
  blocks: Map<number, BlockRecord>
}

type BlockRow = [
  index: number,
  writeId: string,
  sizeBytes: number,
  sha256: string,
  holders: number[],
  lines: number,
  midLine: boolean,
]
type ShapeRow = [format: FileFormat, replication: number, partitionBytes: number]
type FileRow = [
  'f',
  parent: number,
  name: string,
  modifiedMs: number,
  fileId: FileId,
  shape: ShapeRow,
  blocks: BlockRow[],
]
type DirectoryRow = ['d', parent: number, name: string, modifiedMs: number, winner: string]
type WriteRow = [
  fileId: FileId,
  path: string,
  expiresAtMs: number,
  overwrite: boolean,
  parents: boolean,
  shape: ShapeRow,
  blocks: BlockRow[],
]

interface StateSnapshot {
  peers: PeerId[]
  nodes: (FileRow | DirectoryRow)[]
  writes: WriteRow[]
}

/** -1 and '' stand for "none" in snapshots: msgpack has no undefined. */
const NONE = -1

/**
 * The collections of the namespace, kept in step with each other. A block belongs to exactly one visible file
 * or open write, and lies in the index of its slot from when it was added until that file or write goes.
 */
export class NamespaceState {
  tree = new NamespaceTree()
  /** Visible files. */
  readonly files = new Map<FileId, FileNode>()
  readonly writes = new Map<FileId, OpenWrite>()
  readonly #slots = new Map<number, Set<BlockRecord>>()
  /** Of visible files; the root is not counted. */
  readonly totals: Usage = { files: 0, directories: 0, blocks: 0, sizeBytes: 0, storedBytes: 0 }
  readonly #slotCount: number
  /** One string per peer instead of one per block: ids come from decoded messages, each a new string. */
  readonly #peers = new Map<PeerId, PeerId>()

  constructor(slotCount: number) {
    this.#slotCount = slotCount
  }

  addBlock(write: OpenWrite, writeId: string, report: BlockReport): void {
    const old = write.blocks.get(report.index)
    if (old !== undefined) this.#unindex(old)
    const record: BlockRecord = {
      fileId: write.fileId,
      index: report.index,
      writeId,
      sizeBytes: report.sizeBytes,
      sha256: report.sha256,
      holders: this.#interned(report.holders),
      lines: report.lines,
      midLine: report.midLine === true,
    }
    write.blocks.set(report.index, record)
    this.#index(record)
  }

  dropWrite(write: OpenWrite): void {
    for (const block of write.blocks.values()) this.#unindex(block)
    this.writes.delete(write.fileId)
  }

  /** The write becomes a visible file; its blocks must be 0 … n − 1. */
  show(write: OpenWrite, parent: DirectoryNode, name: string, timeMs: number): FileNode {
    const { fileId, format, replication, partitionBytes } = write
    const blocks = Array.from({ length: write.blocks.size }, (_, index) => write.blocks.get(index)!)
    const sizeBytes = blocks.reduce((sum, block) => sum + block.sizeBytes, 0)
    const node: FileNode = {
      kind: 'file',
      name,
      parent: undefined,
      fileId,
      blocks,
      sizeBytes,
      modifiedMs: timeMs,
      format,
      replication,
      partitionBytes,
    }
    this.writes.delete(fileId)
    this.tree.link(parent, node, timeMs)
    this.#enter(node, 1)
    return node
  }

  /** Takes a node and all below it out; their blocks become garbage. */
  remove(node: TreeNode, timeMs: number): { files: number; directories: number; sizeBytes: number } {
    const removed = { files: 0, directories: 0, sizeBytes: 0 }
    for (const each of this.tree.walk(node)) {
      this.#enter(each, -1)
      if (each.kind === 'directory') removed.directories++
      else {
        removed.files++
        removed.sizeBytes += each.sizeBytes
        for (const block of each.blocks) this.#unindex(block)
      }
    }
    this.tree.unlink(node, timeMs)
    return removed
  }

  makeDirectories(names: readonly string[], timeMs: number): DirectoryNode {
    this.totals.directories += this.tree.missingDirectories(names)
    return this.tree.makeDirectories(names, timeMs)
  }

  linkDirectory(parent: DirectoryNode, node: DirectoryNode, timeMs: number): void {
    this.tree.link(parent, node, timeMs)
    this.totals.directories++
  }

  block(blockId: string): BlockRecord | undefined {
    const name = parseBlockId(blockId)
    if (name === undefined) return undefined
    const file = this.files.get(name.fileId)
    const record = file?.blocks[name.index] ?? this.writes.get(name.fileId)?.blocks.get(name.index)
    return record?.writeId === name.writeId ? record : undefined
  }

  setHolders(block: BlockRecord, holders: readonly PeerId[]): void {
    if (this.files.has(block.fileId)) {
      this.totals.storedBytes += (holders.length - block.holders.length) * block.sizeBytes
    }
    block.holders = this.#interned(holders)
  }

  blocksInSlot(slot: number): Iterable<BlockRecord> {
    return this.#slots.get(slot) ?? []
  }

  slotsWithData(): number[] {
    return [...this.#slots.keys()].sort((a, b) => a - b)
  }

  replicationOf(block: BlockRecord): number {
    const owner = this.files.get(block.fileId) ?? this.writes.get(block.fileId)
    invariant(owner !== undefined, 'a block in the index belongs to a file or a write')
    return owner.replication
  }

  snapshot(): StateSnapshot {
    const peers = new Map<PeerId, number>()
    const nodes: (FileRow | DirectoryRow)[] = []
    const positions = new Map<TreeNode, number>()
    for (const node of this.tree.walk()) {
      const parent = node.parent === undefined ? NONE : positions.get(node.parent)!
      if (node.kind === 'directory') {
        positions.set(node, nodes.length)
        nodes.push(['d', parent, node.name, node.modifiedMs, node.winner ?? ''])
      } else {
        const rows = node.blocks.map(block => blockRow(block, peers))
        nodes.push(['f', parent, node.name, node.modifiedMs, node.fileId, shapeRow(node), rows])
      }
    }
    const writes = [...this.writes.values()].map((write): WriteRow => [
      write.fileId,
      write.path,
      write.expiresAtMs,
      write.overwrite,
      write.parents,
      shapeRow(write),
      [...write.blocks.values()].map(block => blockRow(block, peers)),
    ])
    return { peers: [...peers.keys()], nodes, writes }
  }

  restore(snapshot: unknown): void {
    const { peers, nodes, writes } = snapshot as StateSnapshot
    this.tree = new NamespaceTree()
    this.files.clear()
    this.writes.clear()
    this.#slots.clear()
    this.#peers.clear()
    Object.assign(this.totals, { files: 0, directories: 0, blocks: 0, sizeBytes: 0, storedBytes: 0 })
    for (const peer of peers) this.#peers.set(peer, peer)
    const decode = (fileId: FileId, row: BlockRow): BlockRecord => this.#blockOf(fileId, row, peers)
    const placed: (DirectoryNode | undefined)[] = []
    for (const row of nodes) {
      const node = row[0] === 'd' ? directoryOf(row) : fileOf(row, decode)
      placed.push(node.kind === 'directory' ? node : undefined)
      if (row[1] === NONE) {
        this.tree.root.modifiedMs = node.modifiedMs
        placed[0] = this.tree.root
        continue
      }
      const parent = placed[row[1]]
      invariant(parent !== undefined, 'a snapshot names directories before their entries')
      // Linking stamps the directory with the time of the entry's arrival; put the remembered one back.
      this.tree.link(parent, node, parent.modifiedMs)
      this.#enter(node, 1)
      if (node.kind === 'file') for (const block of node.blocks) this.#index(block)
    }
    for (const [fileId, path, expiresAtMs, overwrite, parents, shape, rows] of writes) {
      const blocks = new Map(rows.map(row => [row[0], decode(fileId, row)] as const))
      for (const block of blocks.values()) this.#index(block)
      this.writes.set(fileId, { fileId, path, expiresAtMs, overwrite, parents, ...shapeOf(shape), blocks })
    }
  }

  assertInvariants(): void {
    const totals: Usage = { files: 0, directories: NONE, blocks: 0, sizeBytes: 0, storedBytes: 0 }
    const owned = new Set<BlockRecord>()
    for (const node of this.tree.walk()) {
      if (node.kind === 'directory') {
        totals.directories++
        for (const [name, entry] of node.entries) {
          invariant(entry.parent === node && entry.name === name, `${name} knows its directory`)
        }
        continue
      }
      totals.files++
      invariant(this.files.get(node.fileId) === node, `${node.name} is found by its id`)
      invariant(!this.writes.has(node.fileId), `${node.name} is visible and so no open write`)
      let sizeBytes = 0
      for (const [index, block] of node.blocks.entries()) {
        invariant(block.index === index && block.fileId === node.fileId, `block ${index} lies in its place`)
        owned.add(block)
        sizeBytes += block.sizeBytes
        totals.blocks++
        totals.storedBytes += block.sizeBytes * block.holders.length
      }
      invariant(sizeBytes === node.sizeBytes, `${node.name} is as long as its blocks`)
      totals.sizeBytes += sizeBytes
    }
    invariant(totals.files === this.files.size, 'every file by id is in the tree')
    for (const write of this.writes.values()) {
      for (const [index, block] of write.blocks) {
        invariant(block.index === index && block.fileId === write.fileId, `block ${index} lies in its place`)
        owned.add(block)
      }
    }
    let indexed = 0
    for (const [slot, blocks] of this.#slots) {
      invariant(blocks.size > 0, `slot ${slot} is listed for a block`)
      for (const block of blocks) {
        invariant(owned.has(block), 'an indexed block is owned')
        invariant(slotOf(block.fileId, block.index, this.#slotCount) === slot, 'a block is in its slot')
        invariant(block.holders.length > 0, 'a block has a holder')
        invariant(new Set(block.holders).size === block.holders.length, 'a holder holds a block once')
        indexed++
      }
    }
    invariant(indexed === owned.size, 'every block is indexed once')
    for (const key of Object.keys(totals) as (keyof Usage)[]) {
      invariant(totals[key] === this.totals[key], `the count of ${key} is right`)
    }
  }

  #enter(node: TreeNode, sign: 1 | -1): void {
    const totals = this.totals
    if (node.kind === 'directory') {
      totals.directories += sign
      return
    }
    if (sign === 1) this.files.set(node.fileId, node)
    else this.files.delete(node.fileId)
    totals.files += sign
    totals.blocks += sign * node.blocks.length
    totals.sizeBytes += sign * node.sizeBytes
    for (const block of node.blocks) totals.storedBytes += sign * block.sizeBytes * block.holders.length
  }

  #index(block: BlockRecord): void {
    const slot = slotOf(block.fileId, block.index, this.#slotCount)
    const blocks = this.#slots.get(slot)
    if (blocks === undefined) this.#slots.set(slot, new Set([block]))
    else blocks.add(block)
  }

  #unindex(block: BlockRecord): void {
    const slot = slotOf(block.fileId, block.index, this.#slotCount)
    const blocks = this.#slots.get(slot)
    blocks?.delete(block)
    if (blocks?.size === 0) this.#slots.delete(slot)
  }

  #interned(peers: readonly PeerId[]): PeerId[] {
    return peers.map(peer => {
      const known = this.#peers.get(peer)
      if (known !== undefined) return known
      this.#peers.set(peer, peer)
      return peer
    })
  }

  #blockOf(fileId: FileId, row: BlockRow, peers: readonly PeerId[]): BlockRecord {
    const [index, writeId, sizeBytes, sha256, holders, lines, midLine] = row
    return {
      fileId,
      index,
      writeId,
      sizeBytes,
      sha256,
      holders: holders.map(position => peers[position]!),
      lines: lines === NONE ? undefined : lines,
      midLine,
    }
  }
}

function directoryOf([, , name, modifiedMs, winner]: DirectoryRow): DirectoryNode {
  return { ...newDirectory(name, modifiedMs), winner: winner === '' ? undefined : winner }
}

function fileOf(row: FileRow, decode: (fileId: FileId, row: BlockRow) => BlockRecord): FileNode {
  const [, , name, modifiedMs, fileId, shape, rows] = row
  const blocks = rows.map(block => decode(fileId, block))
  const sizeBytes = blocks.reduce((sum, block) => sum + block.sizeBytes, 0)
  return { kind: 'file', name, parent: undefined, fileId, blocks, sizeBytes, modifiedMs, ...shapeOf(shape) }
}

function shapeRow({ format, replication, partitionBytes }: FileShape): ShapeRow {
  return [format, replication, partitionBytes ?? NONE]
}

function shapeOf([format, replication, partitionBytes]: ShapeRow): FileShape {
  return { format, replication, partitionBytes: partitionBytes === NONE ? undefined : partitionBytes }
}

function blockRow(block: BlockRecord, peers: Map<PeerId, number>): BlockRow {
  const holders = block.holders.map(peer => {
    let position = peers.get(peer)
    if (position === undefined) peers.set(peer, (position = peers.size))
    return position
  })
  const { index, writeId, sizeBytes, sha256, lines, midLine } = block
  return [index, writeId, sizeBytes, sha256, holders, lines ?? NONE, midLine]
}
