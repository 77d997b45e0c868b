import { invariant, type FileId } from '../base/index.ts'
import type { BlockIndex } from './block-index.ts'
import type { BlockRecord, FileNode } from './namespace-nodes.ts'

/**
 * Files by id, visible ones and those that only snapshots show. Versions of one file (before and after an append, say) share
 * blocks; a block stays while any version has it, and is to have as many copies as the version that wants most.
 */
export class FileTable {
  readonly #blocks: BlockIndex
  /** Versions of one id hang together by `other`. */
  readonly #files = new Map<FileId, FileNode>()
  #count = 0

  constructor(blocks: BlockIndex) {
    this.#blocks = blocks
  }

  /** Versions, those in snapshots included. */
  get size(): number {
    return this.#count
  }

  has(fileId: FileId): boolean {
    return this.#files.has(fileId)
  }

  *versions(fileId: FileId): Generator<FileNode> {
    for (let node = this.#files.get(fileId); node !== undefined; node = node.other) yield node
  }

  /** The version that is in the tree. */
  visible(fileId: FileId): FileNode | undefined {
    for (let node = this.#files.get(fileId); node !== undefined; node = node.other) {
      if (node.parent !== undefined) return node
    }
    return undefined
  }

  /** The version to speak of when a block is spoken of: the visible one if it has it. */
  versionWith(block: BlockRecord): FileNode | undefined {
    let found: FileNode | undefined
    for (let node = this.#files.get(block.fileId); node !== undefined; node = node.other) {
      if (node.blocks[block.index] === block && (found === undefined || node.parent !== undefined))
        found = node
    }
    return found
  }

  block(fileId: FileId, index: number, writeId: string): BlockRecord | undefined {
    for (let node = this.#files.get(fileId); node !== undefined; node = node.other) {
      if (node.blocks[index]?.writeId === writeId) return node.blocks[index]
    }
    return undefined
  }

  /** Copies wanted of its blocks; undefined when there is no such file. */
  replicationOf(fileId: FileId): number | undefined {
    const first = this.#files.get(fileId)
    if (first?.other === undefined) return first?.shape.replication
    return Math.max(...[...this.versions(fileId)].map(node => node.shape.replication))
  }

  /** All indexed blocks of a new version must be in the index. */
  enter(node: FileNode): void {
    this.change(node.fileId, () => {
      node.other = this.#files.get(node.fileId)
      this.#files.set(node.fileId, node)
      this.#count++
    })
  }

  leave(node: FileNode): void {
    this.change(node.fileId, () => {
      let before: FileNode | undefined
      for (const each of this.versions(node.fileId)) {
        if (each === node) break
        before = each
      }
      if (before !== undefined) before.other = node.other
      else if (node.other !== undefined) this.#files.set(node.fileId, node.other)
      else this.#files.delete(node.fileId)
      node.other = undefined
      this.#count--
    })
  }

  /** Carries out a change of versions, of their blocks or of the copies they want; blocks that no version has after it go. */
  change(fileId: FileId, change: () => void): void {
    const before = this.#blocksOf(fileId)
    const wantedBefore = this.replicationOf(fileId)
    change()
    const after = this.#blocksOf(fileId)
    const wanted = this.replicationOf(fileId)
    if (wantedBefore !== undefined) for (const block of before) this.#blocks.show(block, wantedBefore, -1)
    if (wanted !== undefined) for (const block of after) this.#blocks.show(block, wanted, 1)
    if (before.length === 0) return
    const kept = new Set(after)
    for (const block of before) if (!kept.has(block)) this.#blocks.delete(block)
  }

  clear(): void {
    this.#files.clear()
    this.#count = 0
  }

  /** @param found every version there is. */
  assertInvariants(found: ReadonlySet<FileNode>): void {
    invariant(found.size === this.#count, 'every version of a file is counted')
    for (const node of found) {
      const listed = [...this.versions(node.fileId)]
      invariant(listed.includes(node), `${node.name} is found by its id`)
      invariant(listed.filter(each => each.parent !== undefined).length <= 1, 'one version is visible')
      let sizeBytes = 0
      for (const [index, block] of node.blocks.entries()) {
        invariant(block.index === index && block.fileId === node.fileId, `block ${index} lies in its place`)
        sizeBytes += block.sizeBytes
      }
      invariant(sizeBytes === node.sizeBytes, `${node.name} is as long as its blocks`)
    }
  }

  #blocksOf(fileId: FileId): readonly BlockRecord[] {
    const first = this.#files.get(fileId)
    if (first === undefined) return []
    if (first.other === undefined) return first.blocks
    return [...new Set([...this.versions(fileId)].flatMap(node => node.blocks))]
  }
}
