import {
  asFileId,
  ShoalError,
  withDeadline,
  type AbortOptions,
  type BlockId,
  type Incoming,
  type PeerId,
  type Transport,
} from '../base/index.ts'
import { parseBlockId } from './block-id.ts'
import { withIdleLimit } from './block-reader.ts'
import type { StoredBlock } from './block-store.ts'
import type { ReplicaSink } from './block-writer.ts'
import { copyDeadlineMs, type FileOptions } from './config.ts'
import { CopyThrottle } from './copy-throttle.ts'
import { forget, replicaTargets, type FileServicePorts } from './file-ports.ts'
import { blockCopy, blockDelete, blockInventory, blockRead, blockWrite, PAGE_MAX } from './messages.ts'

export interface CopyRequest {
  blockId: BlockId
  bytes: number
  sha256: string
  /** Who should have it, the best first. */
  from: readonly PeerId[]
  /** The slot's epoch as the planner sees it: refused with STALE_EPOCH where the slot has moved on. */
  fence?: { slot: number; epoch: number } | undefined
  /** Not slowed down: hardly a copy is left. @default false */
  urgent?: boolean | undefined
}

export interface CopyResult {
  blockId: BlockId
  bytes: number
  sha256: string
  /** False when the copy that was there already proved good. */
  copied: boolean
}

/** What this peer does with single blocks for the others: takes, gives, copies, lists and deletes replicas. */
export class BlockService {
  readonly #ports: FileServicePorts
  readonly #options: FileOptions
  /** Copies under way, so that two requests for one block share one transfer. */
  readonly #copies = new Map<BlockId, Promise<CopyResult>>()
  /** Blocks of which this peer said that it has them, until when that must stay true whatever is applied here; monotonic. */
  readonly #vouched = new Map<BlockId, number>()

  readonly #throttle: CopyThrottle

  constructor(ports: FileServicePorts, options: FileOptions) {
    this.#ports = ports
    this.#options = options
    this.#throttle = new CopyThrottle(options.copyBytesPerSecond, ports.clock)
  }

  register(transport: Transport): void {
    transport.handle(blockWrite, async ({ head, body, signal }) => {
      this.#checkLease(head.blockId, head.path, head.leaseIndex)
      const stored = await this.#ports.store.write(head.blockId, body, { signal })
      return { ...replyOf(stored), durable: true as const }
    })
    transport.handle(blockRead, async incoming => this.#read(incoming))
    transport.handle(blockCopy, async ({ head, signal }) => this.copy(head, { signal }))
    transport.handle(blockInventory, async ({ head }) => this.#inventory(head.startAfter, head.limit))
    transport.handle(blockDelete, async ({ head: { blockId, appliedIndex } }) => {
      if (this.#ports.appliedIndex() < appliedIndex) return { deleted: false }
      // What no file needs any more waits for the collector: readers of a removed file may still be at it.
      const dispensable = this.#ports.namespace().isReferenced(blockId) && this.isSurplus(blockId)
      return { deleted: dispensable && (await this.#ports.store.delete(blockId)) }
    })
  }

  /** Brings a replica to a peer, which may be this one. */
  readonly sink: ReplicaSink = async (peer, plan, body, signal) => {
    const { blockId, path, leaseIndex } = plan
    const { transport, store } = this.#ports
    if (peer === transport.self) return replyOf(await store.write(blockId, body, { signal }))
    const timeoutMs = this.#options.blockWriteTimeoutMs
    const { head } = await transport.call(
      peer,
      blockWrite,
      { blockId, path, leaseIndex },
      { body, signal, timeoutMs },
    )
    return head
  }

  /** Makes sure that this peer has a good copy on disk; rejects with BLOCK_UNAVAILABLE when no source could give one. */
  async copy(request: CopyRequest, options: AbortOptions = {}): Promise<CopyResult> {
    this.#checkEpoch(request.fence)
    const running = this.#copies.get(request.blockId)
    if (running !== undefined) return running
    const copy = this.#copy(request, options.signal)
    this.#copies.set(request.blockId, copy)
    try {
      const copied = await copy
      this.#vouch(request.blockId)
      return copied
    } finally {
      this.#copies.delete(request.blockId)
    }
  }

  /** Has a peer, which may be this one, check or fetch a block. */
  async askToCopy(peer: PeerId, request: CopyRequest, options: AbortOptions = {}): Promise<CopyResult> {
    const { transport } = this.#ports
    if (peer === transport.self) return this.copy(request, options)
    const { head } = await transport.call(
      peer,
      blockCopy,
      { ...request, from: [...request.from] },
      { timeoutMs: this.#copyTimeoutMs(request), signal: options.signal },
    )
    return head
  }

  /** True when, by the state applied here, nobody needs this peer's copy of the block. */
  isSurplus(blockId: BlockId): boolean {
    // The leader asked for it, and the move that it is for may not be applied here yet.
    if (this.#copies.has(blockId) || (this.#vouched.get(blockId) ?? 0) > this.#ports.clock.nowMs())
      return false
    const namespace = this.#ports.namespace()
    if (!namespace.isReferenced(blockId)) return true
    const block = namespace.blockOf(blockId)
    // Of an open write: its lease decides later.
    if (block === undefined) return false
    const { self } = this.#ports.transport
    if (block.holders.includes(self)) return false
    const row = this.#ports.slots().row(block.slot)
    return (
      !row.retiring.includes(self) &&
      !replicaTargets(this.#ports, block.slot, block.replication).includes(self)
    )
  }

  #vouch(blockId: BlockId): void {
    const nowMs = this.#ports.clock.nowMs()
    this.#vouched.delete(blockId)
    this.#vouched.set(blockId, nowMs + this.#options.orphanGraceMs)
    // In the order of their ends.
    for (const [old, untilMs] of this.#vouched) {
      if (untilMs > nowMs) break
      this.#vouched.delete(old)
    }
  }

  /** A planner whose view of the slot is older than this peer's leads no more, or is about to see it. */
  #checkEpoch(fence: CopyRequest['fence']): void {
    if (fence === undefined) return
    const { slot, epoch } = fence
    const slots = this.#ports.slots()
    const seen = slot < slots.slotCount ? slots.row(slot).epoch : 0
    if (seen <= epoch) return
    throw new ShoalError(
      'STALE_EPOCH',
      { slot, epoch, seen },
      `slot ${slot} is at epoch ${seen} here; a copy asked for at epoch ${epoch} is refused`,
    )
  }

  /** The slower peers are told to be, the longer it may take; what waits for its turn in the throttle is included. */
  #copyTimeoutMs({ bytes }: CopyRequest): number {
    const { copyTimeoutMs, copyBytesPerSecond } = this.#options
    return copyTimeoutMs + copyDeadlineMs(bytes) + Math.ceil((bytes * 8_000) / copyBytesPerSecond)
  }

  #checkLease(blockId: BlockId, path: string, leaseIndex: number): void {
    // A peer that lags behind cannot know the lease yet; what it takes in vain the orphan collector removes.
    if (this.#ports.appliedIndex() < leaseIndex) return
    const fileId = asFileId(parseBlockId(blockId)?.fileId ?? '')
    if (this.#ports.namespace().leaseOf(fileId) !== undefined) return
    throw new ShoalError(
      'LEASE_LOST',
      { path },
      `the write of ${path} was given up or committed; write it again`,
    )
  }

  async #read({
    head,
    signal,
  }: Incoming<{ blockId: BlockId; start?: number | undefined; end?: number | undefined }>) {
    const { blockId } = head
    const stored = await this.#ports.store.stat(blockId)
    if (stored === undefined) {
      const { self } = this.#ports.transport
      throw new ShoalError('NOT_FOUND', { path: blockId }, `block ${blockId} is not on ${self}`)
    }
    const end = Math.min(head.end ?? stored.sizeBytes, stored.sizeBytes)
    const start = Math.min(head.start ?? 0, end)
    return { head: { bytes: end - start }, body: this.#ports.store.read(blockId, { start, end, signal }) }
  }

  async #copy(request: CopyRequest, signal: AbortSignal | undefined): Promise<CopyResult> {
    const { blockId } = request
    using deadline = withDeadline(`the copy of block ${blockId}`, this.#copyTimeoutMs(request), signal)
    const present = await this.#goodCopy(request, deadline)
    if (present !== undefined) return { ...replyOf(present), copied: false }
    const failures: string[] = []
    for (const source of request.from) {
      if (source === this.#ports.transport.self) continue
      try {
        return { ...replyOf(await this.#pull(source, request, deadline)), copied: true }
      } catch (error) {
        deadline.throwIfAborted()
        failures.push(
          `${this.#ports.nameOf(source)}: ${error instanceof Error ? error.message : String(error)}`,
        )
      }
    }
    const tried = request.from.map(peer => this.#ports.nameOf(peer))
    throw new ShoalError(
      'BLOCK_UNAVAILABLE',
      { path: blockId, block: parseBlockId(blockId)?.index ?? 0, tried },
      `no peer could give block ${blockId} (${failures.join('; ') || 'none was named'})`,
    )
  }

  async #goodCopy(request: CopyRequest, signal: AbortSignal): Promise<StoredBlock | undefined> {
    if (!this.#ports.store.has(request.blockId)) return undefined
    try {
      const stored = await this.#ports.store.verify(request.blockId, { signal })
      return stored.sha256 === request.sha256 && stored.sizeBytes === request.bytes ? stored : undefined
    } catch {
      signal.throwIfAborted()
      return undefined
    }
  }

  async #pull(source: PeerId, request: CopyRequest, signal: AbortSignal): Promise<StoredBlock> {
    const { blockId, bytes, sha256 } = request
    const { readHeadTimeoutMs, readIdleMs } = this.#options
    const reply = await this.#ports.transport.call(
      source,
      blockRead,
      { blockId },
      { timeoutMs: readHeadTimeoutMs, signal },
    )
    const body = withIdleLimit(reply.body, `block ${blockId} from ${source}`, readIdleMs, signal)
    const paced = request.urgent === true ? body : this.#throttle.paced(body, signal)
    try {
      return await this.#ports.store.write(blockId, paced, { signal, expect: { sizeBytes: bytes, sha256 } })
    } finally {
      // A full disk refuses before it reads a byte: an untouched body would keep its share of what may be under way to this peer.
      forget(reply.body[Symbol.asyncIterator]().return?.())
    }
  }

  async #inventory(startAfter: BlockId | undefined, limit = PAGE_MAX) {
    const all = this.#ports.store.list().sort()
    const behind = startAfter === undefined ? all : all.filter(blockId => blockId > startAfter)
    const page = behind.slice(0, limit)
    const stored = await Promise.all(page.map(async blockId => this.#ports.store.stat(blockId)))
    // A block may go while it is being looked up.
    const blocks = stored.filter(block => block !== undefined).map(replyOf)
    return { blocks, more: behind.length > page.length }
  }
}

function replyOf({ blockId, sizeBytes, sha256 }: StoredBlock): {
  blockId: BlockId
  bytes: number
  sha256: string
} {
  return { blockId, bytes: sizeBytes, sha256 }
}
