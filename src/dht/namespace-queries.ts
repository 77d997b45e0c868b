import type { BlockId, FileId, PeerId } from '../base/index.ts'
import { blockIdOf, parseBlockId } from './block-id.ts'
import { pageOf } from './name-order.ts'
import { entriesOf, lookUp } from './namespace-lookup.ts'
import {
  sumsOf,
  type Attributes,
  type BlockRecord,
  type DirectoryNode,
  type FileNode,
  type TreeNode,
} from './namespace-nodes.ts'
import { namesOf } from './namespace-quotas.ts'
import type { NamespaceState, OpenWrite } from './namespace-state.ts'
import { isADirectory, notADirectory } from './namespace-tree.ts'
import type {
  BlockStatus,
  FileStatus,
  LeaseStatus,
  NamespaceView,
  OpenWriteStatus,
  QuotaStatus,
  ReplicaCounts,
  SlotBlock,
  SnapshotStatus,
  TrashEntry,
  UnderReplicatedBlock,
  Usage,
} from './namespace-types.ts'
import { unpackHex } from './packed-text.ts'
import { joinNames, normalisePath } from './paths.ts'
import { slotOf } from './ring.ts'
import { SNAPSHOT_NAME } from './snapshots.ts'
import { trashNames } from './trash.ts'

/** Reading the namespace; changes nothing. */
export class NamespaceQueries implements NamespaceView {
  readonly #state: NamespaceState
  readonly #slotCount: number

  constructor(state: NamespaceState, slotCount: number) {
    this.#state = state
    this.#slotCount = slotCount
  }

  stat(path: string): FileStatus {
    const found = lookUp(this.#state, path)
    const name = found.names.at(-1) ?? ''
    if (found.kind === 'node') return this.#status(found.node, joinNames(found.names), name, found.seq)
    return folderOfSnapshots(found.directory, joinNames(found.names))
  }

  exists(path: string): boolean {
    try {
      lookUp(this.#state, path)
      return true
    } catch {
      return false
    }
  }

  list(
    path: string,
    { startAfter, limit = Infinity }: { startAfter?: string; limit?: number } = {},
  ): FileStatus[] {
    const found = lookUp(this.#state, path)
    const shown = joinNames(found.names)
    if (found.kind === 'snapshots') {
      const { directory } = found
      const records = directory.snapshots ?? []
      return pageOf(
        records.map(record => record.name),
        startAfter,
        limit,
      ).map(name => {
        const { seq, createdMs } = records.find(record => record.name === name)!
        const status = this.#status(directory, `${shown}/${name}`, name, seq)
        return { ...status, modifiedMs: createdMs }
      })
    }
    const { node, seq } = found
    if (node.kind === 'file') return [this.#status(node, shown, found.names.at(-1) ?? '', seq)]
    const entries = entriesOf(this.#state, node, seq)
    const prefix = shown === '/' ? '/' : `${shown}/`
    const names =
      seq === undefined
        ? this.#state.tree.namesAfter(node, startAfter, limit)
        : pageOf(entries.keys(), startAfter, limit)
    return names.map(name => this.#status(entries.get(name)!, prefix + name, name, seq))
  }

  blocksOf(path: string): BlockStatus[] {
    const found = lookUp(this.#state, path)
    if (found.kind === 'snapshots' || found.node.kind === 'directory')
      throw isADirectory(joinNames(found.names))
    const { node } = found
    let offset = 0
    return node.blocks.map(block => {
      const status = this.#blockStatus(block, offset)
      offset += block.sizeBytes
      return status
    })
  }

  blockOf(blockId: BlockId): BlockStatus | undefined {
    const block = this.#state.block(blockId)
    const file = block === undefined ? undefined : this.#state.files.versionWith(block)
    if (block === undefined || file === undefined) return undefined
    let offset = 0
    for (let index = 0; index < block.index; index++) offset += file.blocks[index]!.sizeBytes
    return this.#blockStatus(block, offset)
  }

  pathOf(fileId: FileId): string | undefined {
    const file = this.#state.files.visible(fileId)
    return file === undefined ? undefined : this.#state.tree.pathOf(file)
  }

  leaseOf(fileId: FileId): LeaseStatus | undefined {
    const write = this.#state.writes.get(fileId)
    if (write === undefined) return undefined
    return { fileId, path: write.path, expiresAtMs: write.expiresAtMs, blocks: write.blocks.size }
  }

  openWrite(fileId: FileId): OpenWriteStatus | undefined {
    const write = this.#state.writes.get(fileId)
    return write === undefined ? undefined : this.#writeStatus(write)
  }

  openWritesAt(path: string, token?: string): OpenWriteStatus[] {
    const wanted = normalisePath(path)
    const within = wanted === '/' ? '/' : `${wanted}/`
    return [...this.#state.writes.values()]
      .filter(write => token === undefined || write.token === token)
      .filter(write => {
        const at = this.#pathOfWrite(write)
        return at === wanted || at.startsWith(within)
      })
      .map(write => this.#writeStatus(write))
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
    return [...this.#state.blocks.inSlot(slot)].map(block => ({
      blockId: idOf(block),
      sizeBytes: block.sizeBytes,
      sha256: unpackHex(block.hash),
      holders: block.holders.peers,
      replication: this.#state.replicationOf(block),
    }))
  }

  slotsWithData(): number[] {
    return this.#state.blocks.slots()
  }

  replicaCounts(live: ReadonlySet<PeerId>): ReplicaCounts {
    return this.#state.blocks.counts(live)
  }

  underReplicated(live: ReadonlySet<PeerId>, limit = Infinity): UnderReplicatedBlock[] {
    const found: UnderReplicatedBlock[] = []
    if (limit <= 0) return found
    for (const { block, holders } of this.#state.blocks.lacking(live)) {
      const file = this.#state.files.versionWith(block)
      if (file === undefined) continue
      const wanted = Math.min(this.#state.replicationOf(block), live.size)
      if (holders >= wanted) continue
      const path =
        file.parent === undefined ? `${file.name} (only in snapshots)` : this.#state.tree.pathOf(file)
      found.push({ path, blockId: idOf(block), index: block.index, live: holders, wanted })
      if (found.length >= limit) break
    }
    return found
  }

  usage(path = '/'): Usage {
    const found = lookUp(this.#state, path)
    const from = found.kind === 'node' ? found.node : undefined
    if (from === undefined) return { files: 0, directories: 0, blocks: 0, sizeBytes: 0, storedBytes: 0 }
    const seq = found.kind === 'node' ? found.seq : undefined
    if (seq !== undefined && from.kind === 'directory') return this.#usageAt(from, seq)
    const { files, directories, blocks, sizeBytes, storedBytes } =
      from.kind === 'directory' ? from.sums : sumsOf(from)
    return { files, directories, blocks, sizeBytes, storedBytes }
  }

  quota(path: string): QuotaStatus {
    const node = this.#state.tree.get(path)
    if (node.kind === 'file') throw notADirectory(this.#state.tree.pathOf(node))
    const { names, bytes } = node.quota ?? {}
    return {
      path: this.#state.tree.pathOf(node),
      names: { ...(names !== undefined && { limit: names }), used: namesOf(node) },
      bytes: { ...(bytes !== undefined && { limit: bytes }), used: node.sums.wantedBytes },
    }
  }

  snapshots(path: string): SnapshotStatus[] {
    const node = this.#state.tree.get(path)
    if (node.kind === 'file') throw notADirectory(this.#state.tree.pathOf(node))
    const names = this.#state.tree.namesOf(node)
    return (node.snapshots ?? []).map(({ name, createdMs }) => ({
      name,
      createdMs,
      path: joinNames([...names, SNAPSHOT_NAME, name]),
    }))
  }

  trash({
    startAfterMs = -1,
    limit = Infinity,
  }: { startAfterMs?: number; limit?: number } = {}): TrashEntry[] {
    const found: TrashEntry[] = []
    for (const [deletedMs, names] of this.#state.trash.entries()) {
      if (deletedMs <= startAfterMs) continue
      if (found.length >= limit) break
      const at = trashNames(deletedMs, names)
      const node = this.#state.tree.tryFind(at)
      if (node === undefined) continue
      const { files, sizeBytes } = sumsOf(node)
      const entry = { path: joinNames(names), trashPath: joinNames(at), deletedMs }
      found.push({ ...entry, type: node.kind, files, sizeBytes })
    }
    return found
  }

  oldestTrashMs(): number | undefined {
    return this.#state.trash.oldestMs()
  }

  /** Snapshots keep no sums: counted by going through it. */
  #usageAt(from: DirectoryNode, seq: number): Usage {
    const usage: Usage = { files: 0, directories: 0, blocks: 0, sizeBytes: 0, storedBytes: 0 }
    const stack = [from]
    for (let directory = stack.pop(); directory !== undefined; directory = stack.pop()) {
      for (const entry of entriesOf(this.#state, directory, seq).values()) {
        if (entry.kind === 'directory') {
          usage.directories++
          stack.push(entry)
          continue
        }
        const { blocks, sizeBytes, storedBytes } = sumsOf(entry)
        usage.files++
        usage.blocks += blocks
        usage.sizeBytes += sizeBytes
        usage.storedBytes += storedBytes
      }
    }
    return usage
  }

  #status(node: TreeNode, path: string, name: string, seq: number | undefined): FileStatus {
    if (node.kind === 'file') return fileStatus(node, path, name)
    const { modifiedMs, attributes } =
      seq === undefined ? node : this.#state.snapshots.attributesAt(node, seq)
    return {
      path,
      name,
      type: 'directory',
      sizeBytes: 0,
      modifiedMs,
      children: entriesOf(this.#state, node, seq).size,
      ...attributes,
    }
  }

  #blockStatus(block: BlockRecord, offset: number): BlockStatus {
    const status: BlockStatus = {
      blockId: idOf(block),
      index: block.index,
      slot: slotOf(block.fileId, block.index, this.#slotCount),
      sizeBytes: block.sizeBytes,
      offset,
      sha256: unpackHex(block.hash),
      holders: block.holders.peers,
      replication: this.#state.replicationOf(block),
    }
    if (block.lines !== undefined) status.lines = block.lines
    if (block.midLine) status.midLine = true
    return status
  }

  #pathOfWrite(write: OpenWrite): string {
    return (write.append ? this.pathOf(write.fileId) : undefined) ?? write.path
  }

  #writeStatus(write: OpenWrite): OpenWriteStatus {
    const { fileId, token, append, expiresAtMs, lease, shape } = write
    const { format, replication, partitionBytes } = shape
    const blocks = [...write.blocks.values()]
      .sort((a, b) => a.index - b.index)
      .map(block => ({
        index: block.index,
        blockId: idOf(block),
        sizeBytes: block.sizeBytes,
        sha256: unpackHex(block.hash),
        holders: [...block.holders.peers],
        ...(block.lines !== undefined && { lines: block.lines }),
        ...(block.midLine && { midLine: true }),
      }))
    const status = {
      fileId,
      path: this.#pathOfWrite(write),
      append,
      expiresAtMs,
      lease,
      format,
      replication,
      blocks,
    }
    return {
      ...status,
      ...(token !== undefined && { token }),
      ...(partitionBytes !== undefined && { partitionBytes }),
    }
  }
}

/** The first names behind `startAfter`, in order. Does not sort more than it must when a page of many is wanted. */
function idOf(block: BlockRecord): BlockId {
  return blockIdOf(block.fileId, block.index, block.writeId)
}

function folderOfSnapshots({ snapshots = [], modifiedMs }: DirectoryNode, path: string): FileStatus {
  const status = { path, name: SNAPSHOT_NAME, type: 'directory' as const, sizeBytes: 0 }
  return { ...status, modifiedMs: snapshots.at(-1)?.createdMs ?? modifiedMs, children: snapshots.length }
}

function fileStatus(node: FileNode, path: string, name: string): FileStatus {
  const { fileId, sizeBytes, modifiedMs, blocks, shape } = node
  const attributes: Attributes = node.attributes ?? {}
  const status: FileStatus = {
    path,
    name,
    type: 'file',
    sizeBytes,
    modifiedMs,
    fileId,
    partitions: blocks.length,
    replication: shape.replication,
    format: shape.format,
    ...attributes,
  }
  if (shape.partitionBytes !== undefined) status.partitionBytes = shape.partitionBytes
  return status
}
