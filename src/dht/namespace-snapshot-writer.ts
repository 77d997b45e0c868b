import type { PeerId } from '../base/index.ts'
import type { HolderGroup } from './holder-groups.ts'
import type {
  Attributes,
  BlockRecord,
  DirectoryNode,
  FileNode,
  FileShape,
  TreeNode,
} from './namespace-nodes.ts'
import {
  NONE,
  type BlockRow,
  type DirectoryRest,
  type DirectoryRow,
  type EntriesPart,
  type EntryRow,
  type FileRow,
  type NamespacePart,
  type WriteRow,
} from './namespace-snapshot-parts.ts'
import type { NamespaceState, OpenWrite } from './namespace-state.ts'

/** Rows and blocks of one part: a few milliseconds to read, on a busy machine too. */
const PART_ITEMS = 512

/** Everything that `NamespaceSnapshotReader` needs, in an order that only the log decides. */
export function namespaceParts(state: NamespaceState): NamespacePart[] {
  return new Writer(state).write()
}

/** Positions of values in the order in which they first came. */
class Positions<Value> {
  readonly #positions = new Map<Value, number>()

  of(value: Value): number {
    const known = this.#positions.get(value)
    if (known !== undefined) return known
    this.#positions.set(value, this.#positions.size)
    return this.#positions.size - 1
  }

  /** Those met while one goes through them come, too. */
  values(): IterableIterator<Value> {
    return this.#positions.keys()
  }
}

class Writer {
  readonly #state: NamespaceState
  readonly #peers = new Positions<PeerId>()
  readonly #groups = new Positions<HolderGroup>()
  readonly #shapes = new Positions<FileShape>()
  /** As JSON: what snapshots show may have equal attributes that are not the same object. */
  readonly #attributes = new Positions<string>()
  readonly #directories = new Positions<DirectoryNode>()
  readonly #entries: EntriesPart[] = []

  constructor(state: NamespaceState) {
    this.#state = state
  }

  write(): NamespacePart[] {
    const { tree, writes, snapshots, trash } = this.#state
    this.#directories.of(tree.root)
    const rows: DirectoryRow[] = []
    for (const directory of this.#directories.values()) {
      rows.push(this.#directory(directory))
      this.#entriesOf(directory)
    }
    const openWrites = [...writes.values()].map(write => this.#openWrite(write))
    const groups = [...this.#groups.values()].map(({ peers }) => peers.map(peer => this.#peers.of(peer)))
    return [
      {
        kind: 'head',
        peers: [...this.#peers.values()],
        groups,
        shapes: [...this.#shapes.values()].map(({ format, replication, partitionBytes }) => [
          format,
          replication,
          partitionBytes ?? NONE,
        ]),
        attributes: [...this.#attributes.values()],
        lastSeq: snapshots.lastSeq,
        trash: trash.snapshot(),
      },
      ...inParts(rows, () => 1).map(part => ({ kind: 'directories' as const, rows: part })),
      ...this.#entries,
      ...inParts(openWrites, row => 1 + row[9].length).map(part => ({ kind: 'writes' as const, rows: part })),
    ]
  }

  #directory(directory: DirectoryNode): DirectoryRow {
    const { name, modifiedMs, attributes, savedSeq } = directory
    return [name, modifiedMs, this.#attributesOf(attributes), savedSeq, this.#rest(directory)]
  }

  #rest({ winner, quota, snapshots, pins, versions }: DirectoryNode): DirectoryRest | null {
    if (winner === undefined && quota === undefined && (snapshots ?? pins ?? versions) === undefined)
      return null
    return {
      winner: winner ?? null,
      quota: quota === undefined ? null : [quota.names ?? NONE, quota.bytes ?? NONE],
      snapshots: (snapshots ?? []).map(record => [record.seq, record.name, record.createdMs]),
      pins: pins ?? [],
      versions: (versions ?? []).map(({ needed, modifiedMs, attributes }) => [
        needed,
        modifiedMs,
        this.#attributesOf(attributes),
      ]),
    }
  }

  #entriesOf(directory: DirectoryNode): void {
    const position = this.#directories.of(directory)
    this.#addEntries(position, NONE, directory.entries)
    for (const [version, { entries }] of (directory.versions ?? []).entries())
      this.#addEntries(position, version, entries)
  }

  #addEntries(directory: number, version: number, all: ReadonlyMap<string, TreeNode | null>): void {
    const weigh = ([, node]: [string, TreeNode | null]): number =>
      node?.kind === 'file' ? 1 + node.blocks.length : 1
    for (const entries of inParts([...all], weigh)) {
      const fileIds: string[] = []
      const hashes: string[] = []
      const rows = entries.map(([, node]) => (node === null ? null : this.#entry(node, fileIds, hashes)))
      this.#entries.push({
        kind: 'entries',
        directory,
        version,
        names: version === NONE ? [] : entries.map(([name]) => name),
        rows,
        fileIds: Buffer.from(fileIds.join(''), 'hex'),
        hashes: Buffer.from(hashes.join(''), 'latin1'),
      })
    }
  }

  #entry(node: TreeNode, fileIds: string[], hashes: string[]): EntryRow {
    if (node.kind === 'directory') return this.#directories.of(node)
    fileIds.push(node.fileId)
    return this.#file(node, hashes)
  }

  #file({ name, modifiedMs, shape, attributes, blocks }: FileNode, hashes: string[]): FileRow {
    const row: FileRow = [name, modifiedMs, this.#shapes.of(shape), this.#attributesOf(attributes)]
    for (const block of blocks) {
      hashes.push(block.hash)
      row.push(...this.#block(block))
    }
    return row
  }

  #block({ writeId, sizeBytes, holders, lines, midLine }: BlockRecord): BlockRow {
    const end = midLine ? 1 : 0
    return [writeId, sizeBytes, this.#groups.of(holders), lines === undefined ? NONE - end : lines * 2 + end]
  }

  #openWrite(write: OpenWrite): WriteRow {
    const blocks = [...write.blocks.values()]
    return [
      write.fileId,
      write.path,
      write.token ?? '',
      write.append,
      write.expiresAtMs,
      write.lease,
      write.overwrite,
      write.parents,
      this.#shapes.of(write.shape),
      blocks.map(block => block.index),
      Buffer.from(blocks.map(block => block.hash).join(''), 'latin1'),
      blocks.flatMap(block => this.#block(block)),
    ]
  }

  #attributesOf(attributes: Attributes | undefined): number {
    return attributes === undefined ? NONE : this.#attributes.of(JSON.stringify(attributes))
  }
}

/** In order, in pieces that weigh no more than a part should, or are of one item. */
function inParts<Item>(items: readonly Item[], weigh: (item: Item) => number): Item[][] {
  const parts: Item[][] = []
  let part: Item[] = []
  let weight = 0
  for (const item of items) {
    const more = weigh(item)
    if (part.length > 0 && weight + more > PART_ITEMS) {
      parts.push(part)
      part = []
      weight = 0
    }
    part.push(item)
    weight += more
  }
  if (part.length > 0) parts.push(part)
  return parts
}
