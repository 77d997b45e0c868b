import { asFileId, invariant, type FileId, type PeerId } from '../base/index.ts'
import {
  newDirectory,
  type Attributes,
  type BlockRecord,
  type DirectoryNode,
  type FileNode,
  type FileShape,
  type TreeNode,
} from './namespace-nodes.ts'
import type { NamespaceState, OpenWrite } from './namespace-state.ts'
import type { FileFormat } from './namespace-types.ts'
import type { HolderGroup } from './holder-groups.ts'
import { ownText } from './packed-text.ts'

/** Stands for "none" in rows: msgpack has no undefined. */
const NONE = -1
const FILE_ID_BYTES = 16
const HASH_BYTES = 32
/** In a file's row before its blocks. */
const FILE_VALUES = 4
const BLOCK_VALUES = 4

/** Four values for each block, flat, so that a file of one block costs no more than it must. */
type BlockRow = [writeId: string, sizeBytes: number, group: number, linesAndEnd: number]
type ShapeRow = [format: FileFormat, replication: number, partitionBytes: number]
type FileRow = [
  name: string,
  modifiedMs: number,
  shape: number,
  attributes: number,
  ...blocks: (string | number)[],
]
/** A directory by its number, a file, or what a name did not mean (null, in versions). */
type EntryRow = number | FileRow
type DirectoryRow = [
  name: string,
  modifiedMs: number,
  entries: EntryRow[],
  attributes: number,
  savedSeq: number,
  rest: DirectoryRest | null,
]
interface DirectoryRest {
  winner: string | null
  quota: [names: number, bytes: number] | null
  snapshots: [seq: number, name: string, createdMs: number][]
  pins: number[]
  versions: {
    needed: number[]
    modifiedMs: number
    attributes: number
    entries: [string, EntryRow | null][]
  }[]
}
type WriteRow = [
  fileId: FileId,
  path: string,
  token: string,
  append: boolean,
  expiresAtMs: number,
  lease: number,
  overwrite: boolean,
  parents: boolean,
  shape: number,
  indices: number[],
  hashes: Uint8Array,
  blocks: (string | number)[],
]

interface StateSnapshot {
  peers: PeerId[]
  /** Sets of holders, as positions in `peers`. */
  groups: number[][]
  shapes: ShapeRow[]
  /** As JSON. */
  attributes: string[]
  /** The root first; those that only snapshots show last. */
  directories: DirectoryRow[]
  /** 16 bytes for each file, in the order of the rows. */
  fileIds: Uint8Array
  /** 32 bytes for each block of the files, in the order of the rows. */
  hashes: Uint8Array
  writes: WriteRow[]
  lastSeq: number
  trash: ReturnType<NamespaceState['trash']['snapshot']>
}

/** Everything that `restoreState` needs, as plain data, in an order that only the log decides. */
export function stateSnapshot(state: NamespaceState): StateSnapshot {
  return new Writer(state).write()
}

export function restoreState(state: NamespaceState, snapshot: unknown): void {
  state.clear()
  new Reader(state, snapshot as StateSnapshot).read()
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
  readonly #fileIds: string[] = []
  readonly #hashes: string[] = []

  constructor(state: NamespaceState) {
    this.#state = state
  }

  write(): StateSnapshot {
    const { tree, writes, snapshots, trash } = this.#state
    this.#directories.of(tree.root)
    const directories: DirectoryRow[] = []
    for (const directory of this.#directories.values()) directories.push(this.#directory(directory))
    const openWrites = [...writes.values()].map(write => this.#openWrite(write))
    const groups = [...this.#groups.values()].map(({ peers }) => peers.map(peer => this.#peers.of(peer)))
    return {
      peers: [...this.#peers.values()],
      groups,
      shapes: [...this.#shapes.values()].map(({ format, replication, partitionBytes }) => [
        format,
        replication,
        partitionBytes ?? NONE,
      ]),
      attributes: [...this.#attributes.values()],
      directories,
      fileIds: Buffer.from(this.#fileIds.join(''), 'hex'),
      hashes: Buffer.from(this.#hashes.join(''), 'latin1'),
      writes: openWrites,
      lastSeq: snapshots.lastSeq,
      trash: trash.snapshot(),
    }
  }

  #directory(directory: DirectoryNode): DirectoryRow {
    const { name, modifiedMs, entries, attributes, savedSeq } = directory
    const rows = [...entries.values()].map(entry => this.#entry(entry))
    return [name, modifiedMs, rows, this.#attributesOf(attributes), savedSeq, this.#rest(directory)]
  }

  #rest({ winner, quota, snapshots, pins, versions }: DirectoryNode): DirectoryRest | null {
    if (winner === undefined && quota === undefined && (snapshots ?? pins ?? versions) === undefined)
      return null
    return {
      winner: winner ?? null,
      quota: quota === undefined ? null : [quota.names ?? NONE, quota.bytes ?? NONE],
      snapshots: (snapshots ?? []).map(record => [record.seq, record.name, record.createdMs]),
      pins: pins ?? [],
      versions: (versions ?? []).map(version => ({
        needed: version.needed,
        modifiedMs: version.modifiedMs,
        attributes: this.#attributesOf(version.attributes),
        entries: [...version.entries].map(([name, then]) => [name, then === null ? null : this.#entry(then)]),
      })),
    }
  }

  #entry(node: TreeNode): EntryRow {
    if (node.kind === 'directory') return this.#directories.of(node)
    this.#fileIds.push(node.fileId)
    const row: FileRow = [
      node.name,
      node.modifiedMs,
      this.#shapes.of(node.shape),
      this.#attributesOf(node.attributes),
    ]
    for (const block of node.blocks) {
      this.#hashes.push(block.hash)
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

class Reader {
  readonly #state: NamespaceState
  readonly #snapshot: StateSnapshot
  readonly #fileIds: Buffer
  readonly #hashes: Buffer
  readonly #directories: readonly DirectoryNode[]
  readonly #shapes: readonly FileShape[]
  readonly #attributes: readonly (Attributes | undefined)[]
  readonly #holders: readonly (readonly PeerId[])[]
  #files = 0
  #blocks = 0

  constructor(state: NamespaceState, snapshot: StateSnapshot) {
    const { tree } = state
    this.#state = state
    this.#snapshot = snapshot
    this.#fileIds = bufferOf(snapshot.fileIds)
    this.#hashes = bufferOf(snapshot.hashes)
    this.#shapes = snapshot.shapes.map(([format, replication, partitionBytes]) =>
      state.shapeOf({
        format,
        replication,
        partitionBytes: partitionBytes === NONE ? undefined : partitionBytes,
      }),
    )
    this.#attributes = snapshot.attributes.map(text => state.attributesOf(JSON.parse(text) as Attributes))
    this.#holders = snapshot.groups.map(group => group.map(peer => snapshot.peers[peer]!))
    this.#directories = snapshot.directories.map(([name, modifiedMs, , attributes, savedSeq], at) => {
      const node = at === 0 ? tree.root : newDirectory(ownText(name), modifiedMs)
      return Object.assign(node, { modifiedMs, savedSeq, attributes: this.#attributes[attributes] })
    })
  }

  read(): void {
    const { lastSeq, trash, directories, writes } = this.#snapshot
    this.#state.snapshots.restore(lastSeq)
    this.#state.trash.restore(trash)
    // In the order of writing, for that is the order of ids and hashes.
    for (const [at, [, , entries, , , rest]] of directories.entries()) {
      const directory = this.#directories[at]!
      for (const row of entries) {
        const node = this.#entry(row)
        directory.entries.set(node.name, node)
        node.parent = directory
      }
      if (rest !== null) this.#rest(directory, rest)
    }
    this.#state.tree.recount()
    for (const row of writes) this.#openWrite(row)
  }

  #rest(directory: DirectoryNode, { winner, quota, snapshots, pins, versions }: DirectoryRest): void {
    directory.winner = winner ?? undefined
    if (quota !== null) {
      const [names, bytes] = quota
      directory.quota = {
        names: names === NONE ? undefined : names,
        bytes: bytes === NONE ? undefined : bytes,
      }
    }
    if (pins.length > 0) directory.pins = pins
    if (snapshots.length > 0) {
      const records = snapshots.map(([seq, name, createdMs]) => ({ seq, name, createdMs }))
      this.#state.snapshots.restoreRoot(directory, records)
    }
    for (const { needed, modifiedMs, attributes, entries } of versions) {
      const then = entries.map(
        ([name, row]) => [ownText(name), row === null ? null : this.#entry(row)] as const,
      )
      this.#state.snapshots.restoreVersion(directory, {
        needed,
        modifiedMs,
        attributes: this.#attributes[attributes],
        entries: new Map(then),
      })
    }
  }

  #entry(row: EntryRow): TreeNode {
    if (typeof row === 'number') {
      const directory = this.#directories[row]
      invariant(directory !== undefined, 'a snapshot names the directories it has')
      return directory
    }
    const [name, modifiedMs, shape, attributes] = row
    const idAt = this.#files++ * FILE_ID_BYTES
    const fileId = asFileId(this.#fileIds.toString('hex', idAt, idAt + FILE_ID_BYTES))
    // Of its length from the start: an array that grows takes room for more.
    const blocks = Array.from({ length: (row.length - FILE_VALUES) / BLOCK_VALUES }, (_, index) => {
      const at = FILE_VALUES + index * BLOCK_VALUES
      const hash = this.#hash(this.#blocks++)
      // Versions of one file have their blocks in common.
      const known = this.#state.files.block(fileId, index, String(row[at]))
      return known ?? this.#block(fileId, index, hash, row, at)
    })
    const node: FileNode = {
      kind: 'file',
      name: ownText(name),
      parent: undefined,
      fileId,
      blocks,
      sizeBytes: blocks.reduce((sum, block) => sum + block.sizeBytes, 0),
      modifiedMs,
      shape: this.#shapes[shape]!,
      attributes: this.#attributes[attributes],
      other: undefined,
    }
    this.#state.files.enter(node)
    return node
  }

  #block(
    fileId: FileId,
    index: number,
    hash: string,
    rows: readonly (string | number)[],
    at: number,
  ): BlockRecord {
    const [sizeBytes, group, lines] = [Number(rows[at + 1]), Number(rows[at + 2]), Number(rows[at + 3])]
    const block: BlockRecord = {
      fileId,
      index,
      writeId: ownText(String(rows[at])),
      sizeBytes,
      hash,
      holders: this.#state.blocks.groupOf(this.#holders[group]!),
      lines: lines < 0 ? undefined : Math.floor(lines / 2),
      midLine: lines < 0 ? lines < NONE : lines % 2 === 1,
    }
    this.#state.blocks.add(block)
    return block
  }

  #hash(position: number): string {
    return this.#hashes.toString('latin1', position * HASH_BYTES, (position + 1) * HASH_BYTES)
  }

  #openWrite(row: WriteRow): void {
    const [
      fileId,
      path,
      token,
      append,
      expiresAtMs,
      lease,
      overwrite,
      parents,
      shape,
      indices,
      hashes,
      rows,
    ] = row
    const id = asFileId(ownText(fileId))
    const bytes = bufferOf(hashes)
    const blocks = indices.map((index, at) =>
      this.#block(
        id,
        index,
        bytes.toString('latin1', at * HASH_BYTES, (at + 1) * HASH_BYTES),
        rows,
        at * BLOCK_VALUES,
      ),
    )
    this.#state.writes.set(id, {
      fileId: id,
      path: ownText(path),
      token: token === '' ? undefined : token,
      append,
      expiresAtMs,
      lease,
      overwrite,
      parents,
      shape: this.#shapes[shape]!,
      sizeBytes: blocks.reduce((sum, block) => sum + block.sizeBytes, 0),
      blocks: new Map(blocks.map(block => [block.index, block])),
    })
  }
}

/** The same bytes. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
