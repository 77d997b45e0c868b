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
import {
  BLOCK_VALUES,
  FILE_ID_BYTES,
  FILE_VALUES,
  HASH_BYTES,
  NONE,
  type DirectoryRest,
  type DirectoryRow,
  type EntriesPart,
  type FileRow,
  type NamespaceHead,
  type NamespacePart,
  type WriteRow,
} from './namespace-snapshot-parts.ts'
import type { NamespaceState } from './namespace-state.ts'
import { ownText } from './packed-text.ts'

/** Puts a namespace together again, part by part; until `finish` has come to its end it is not whole. */
export class NamespaceSnapshotReader {
  readonly #state: NamespaceState
  readonly #directories: DirectoryNode[] = []
  #shapes: readonly FileShape[] = []
  #attributes: readonly (Attributes | undefined)[] = []
  #holders: readonly (readonly PeerId[])[] = []

  /** @param state of which nothing stays as it was */
  constructor(state: NamespaceState) {
    this.#state = state
    state.clear()
  }

  take(part: NamespacePart): void {
    switch (part.kind) {
      case 'head':
        this.#head(part)
        break
      case 'directories':
        for (const row of part.rows) this.#directory(row)
        break
      case 'entries':
        this.#entries(part)
        break
      case 'writes':
        for (const row of part.rows) this.#openWrite(row)
        break
    }
  }

  /** Sums up what is below each directory; yields where other things may be done. */
  *finish(): Generator<undefined> {
    yield* this.#state.tree.sumUp(this.#directories)
  }

  #head({ peers, groups, shapes, attributes, lastSeq, trash }: NamespaceHead): void {
    const state = this.#state
    this.#shapes = shapes.map(([format, replication, partitionBytes]) =>
      state.shapeOf({
        format,
        replication,
        partitionBytes: partitionBytes === NONE ? undefined : partitionBytes,
      }),
    )
    this.#attributes = attributes.map(text => state.attributesOf(JSON.parse(text) as Attributes))
    this.#holders = groups.map(group => group.map(peer => peers[peer]!))
    state.snapshots.restore(lastSeq)
    state.trash.restore(trash)
  }

  #directory([name, modifiedMs, attributes, savedSeq, rest]: DirectoryRow): void {
    const isRoot = this.#directories.length === 0
    const node = isRoot ? this.#state.tree.root : newDirectory(ownText(name), modifiedMs)
    Object.assign(node, { modifiedMs, savedSeq, attributes: this.#attributes[attributes] })
    this.#directories.push(node)
    if (rest !== null) this.#rest(node, rest)
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
    for (const [needed, modifiedMs, attributes] of versions) {
      this.#state.snapshots.restoreVersion(directory, {
        needed,
        modifiedMs,
        attributes: this.#attributes[attributes],
        entries: new Map(),
      })
    }
  }

  #entries({ directory: position, version, names, rows, fileIds, hashes }: EntriesPart): void {
    const directory = this.#directoryAt(position)
    const ids = bufferOf(fileIds)
    const sums = new Hashes(hashes)
    let files = 0
    for (const [at, row] of rows.entries()) {
      let node: TreeNode | null = null
      if (typeof row === 'number') {
        node = this.#directoryAt(row)
      } else if (row !== null) {
        const idAt = files++ * FILE_ID_BYTES
        node = this.#file(asFileId(ids.toString('hex', idAt, idAt + FILE_ID_BYTES)), row, sums)
      }
      if (version === NONE) {
        invariant(node !== null, 'a directory has no entry that is nothing')
        this.#state.tree.restoreEntry(directory, node)
      } else {
        const then = directory.versions?.[version]
        invariant(then !== undefined, 'a snapshot names the versions it has')
        then.entries.set(ownText(names[at]!), node)
      }
    }
  }

  #directoryAt(position: number): DirectoryNode {
    const directory = this.#directories[position]
    invariant(directory !== undefined, 'a snapshot names the directories it has')
    return directory
  }

  #file(fileId: FileId, row: FileRow, hashes: Hashes): FileNode {
    const [name, modifiedMs, shape, attributes] = row
    // Of its length from the start: an array that grows takes room for more.
    const blocks = Array.from({ length: (row.length - FILE_VALUES) / BLOCK_VALUES }, (_, index) => {
      const at = FILE_VALUES + index * BLOCK_VALUES
      const hash = hashes.next()
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
    const sums = new Hashes(hashes)
    const blocks = indices.map((index, at) => this.#block(id, index, sums.next(), rows, at * BLOCK_VALUES))
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

/** Hashes that lie one after the other. */
class Hashes {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bufferOf(bytes)
  }

  next(): string {
    this.#at += HASH_BYTES
    return this.#bytes.toString('latin1', this.#at - HASH_BYTES, this.#at)
  }
}

/** The same bytes. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
