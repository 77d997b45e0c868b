import type { BlockId, FileId, PeerId } from '../base/index.ts'
import { blockIdOf, parseBlockId } from './block-id.ts'
import type { NamespaceState } from './namespace-state.ts'
import { isADirectory, type BlockRecord, type FileNode, type TreeNode } from './namespace-tree.ts'
import type {
  BlockStatus,
  FileStatus,
  LeaseStatus,
  NamespaceView,
  SlotBlock,
  UnderReplicatedBlock,
  Usage,
} from './namespace-types.ts'
import { slotOf } from './ring.ts'

/** Reading the namespace; changes nothing. */
export class NamespaceQueries implements NamespaceView {
  readonly #state: NamespaceState
  readonly #slotCount: number

  constructor(state: NamespaceState, slotCount: number) {
    this.#state = state
    this.#slotCount = slotCount
  }

  stat(path: string): FileStatus {
    const node = this.#state.tree.get(path)
    return statusOf(node, this.#state.tree.pathOf(node))
  }

  exists(path: string): boolean {
    try {
      this.#state.tree.get(path)
      return true
    } catch {
      return false
    }
  }

  list(
    path: string,
    { startAfter, limit = Infinity }: { startAfter?: string; limit?: number } = {},
  ): FileStatus[] {
    const node = this.#state.tree.get(path)
    const nodePath = this.#state.tree.pathOf(node)
    if (node.kind === 'file') return [statusOf(node, nodePath)]
    const names = [...node.entries.keys()]
      .filter(name => startAfter === undefined || name > startAfter)
      .sort()
    const prefix = nodePath === '/' ? '/' : `${nodePath}/`
    return names.slice(0, limit).map(name => statusOf(node.entries.get(name)!, prefix + name))
  }

  blocksOf(path: string): BlockStatus[] {
    const node = this.#state.tree.get(path)
    if (node.kind === 'directory') throw isADirectory(this.#state.tree.pathOf(node))
    let offset = 0
    return node.blocks.map(block => {
      const status = this.#blockStatus(block, node, offset)
      offset += block.sizeBytes
      return status
    })
  }

  blockOf(blockId: BlockId): BlockStatus | undefined {
    const block = this.#state.block(blockId)
    const file = block === undefined ? undefined : this.#state.files.get(block.fileId)
    if (block === undefined || file === undefined) return undefined
    const offset = file.blocks.slice(0, block.index).reduce((sum, before) => sum + before.sizeBytes, 0)
    return this.#blockStatus(block, file, offset)
  }

  pathOf(fileId: FileId): string | undefined {
    const file = this.#state.files.get(fileId)
    return file === undefined ? undefined : this.#state.tree.pathOf(file)
  }

  leaseOf(fileId: FileId): LeaseStatus | undefined {
    const write = this.#state.writes.get(fileId)
    if (write === undefined) return undefined
    return { fileId, path: write.path, expiresAtMs: write.expiresAtMs, blocks: write.blocks.size }
  }

  openWrites(): number {
    return this.#state.writes.size
  }

  isReferenced(blockId: BlockId): boolean {
    const name = parseBlockId(blockId)
    if (name === undefined) return false
    // A lease also covers blocks that were written but not reported yet.
    return this.#state.writes.has(name.fileId) || this.#state.block(blockId) !== undefined
  }

  blocksInSlot(slot: number): SlotBlock[] {
    return [...this.#state.blocksInSlot(slot)].map(block => ({
      blockId: idOf(block),
      sizeBytes: block.sizeBytes,
      sha256: block.sha256,
      holders: block.holders,
      replication: this.#state.replicationOf(block),
    }))
  }

  slotsWithData(): number[] {
    return this.#state.slotsWithData()
  }

  underReplicated(live: ReadonlySet<PeerId>, limit = Infinity): UnderReplicatedBlock[] {
    const found: { block: BlockRecord; file: FileNode; live: number; wanted: number }[] = []
    for (const file of this.#state.files.values()) {
      const wanted = Math.min(file.replication, live.size)
      for (const block of file.blocks) {
        const holders = block.holders.reduce((count, peer) => count + (live.has(peer) ? 1 : 0), 0)
        if (holders < wanted) found.push({ block, file, live: holders, wanted })
      }
    }
    return found
      .sort((a, b) => a.live - b.live)
      .slice(0, limit)
      .map(({ block, file, live, wanted }) => ({
        path: this.#state.tree.pathOf(file),
        blockId: idOf(block),
        index: block.index,
        live,
        wanted,
      }))
  }

  usage(path = '/'): Usage {
    const from = this.#state.tree.get(path)
    if (from === this.#state.tree.root) return { ...this.#state.totals }
    const usage: Usage = { files: 0, directories: 0, blocks: 0, sizeBytes: 0, storedBytes: 0 }
    for (const node of this.#state.tree.walk(from)) {
      if (node.kind === 'directory') {
        if (node !== from) usage.directories++
        continue
      }
      usage.files++
      usage.blocks += node.blocks.length
      usage.sizeBytes += node.sizeBytes
      for (const block of node.blocks) usage.storedBytes += block.sizeBytes * block.holders.length
    }
    return usage
  }

  #blockStatus(block: BlockRecord, file: FileNode, offset: number): BlockStatus {
    const status: BlockStatus = {
      blockId: idOf(block),
      index: block.index,
      slot: slotOf(block.fileId, block.index, this.#slotCount),
      sizeBytes: block.sizeBytes,
      offset,
      sha256: block.sha256,
      holders: block.holders,
      replication: file.replication,
    }
    if (block.lines !== undefined) status.lines = block.lines
    if (block.midLine) status.midLine = true
    return status
  }
}

function idOf(block: BlockRecord): BlockId {
  return blockIdOf(block.fileId, block.index, block.writeId)
}

function statusOf(node: TreeNode, path: string): FileStatus {
  const { name, modifiedMs } = node
  if (node.kind === 'directory') {
    return { path, name, type: 'directory', sizeBytes: 0, modifiedMs, children: node.entries.size }
  }
  const status: FileStatus = {
    path,
    name,
    type: 'file',
    sizeBytes: node.sizeBytes,
    modifiedMs,
    fileId: node.fileId,
    partitions: node.blocks.length,
    replication: node.replication,
    format: node.format,
  }
  if (node.partitionBytes !== undefined) status.partitionBytes = node.partitionBytes
  return status
}
