import { asFileId, hasCode, ShoalError, withDeadline, type BlockId } from '../base/index.ts'
import { parseBlockId } from './block-id.ts'
import type { BlockVerifyOptions } from './block-store.ts'
import type { CopyRequest } from './block-service.ts'
import { NAMESPACE_DEFAULTS, type FileOptions } from './config.ts'
import { accepted, type FileServicePorts } from './file-ports.ts'
import type { SlotBlock } from './namespace-types.ts'
import { slotOf } from './ring.ts'

/** What was found of a replica, and what became of it. */
export interface ReplicaVerdict {
  found: 'good' | 'corrupt' | 'missing'
  /**
   * `good`: whole on this disk now. `reported`: the log no longer names this peer as a holder, so that repair makes a copy
   * elsewhere. `bad`: nobody else has it, or nobody could be told; it is tried again. `unneeded`: no file counts on it here.
   */
  now: 'good' | 'reported' | 'bad' | 'unneeded'
}

/** Since this peer started. */
export interface MendCounts {
  /** Replicas of this peer that differed from their checksums or could not be read. */
  corruptFound: number
  /** Replicas that the log gives this peer and its disk does not have. */
  missingFound: number
  /** Of both: fetched again from another holder. */
  repaired: number
  /** Of both: left to the leader's repair. */
  reported: number
}

export interface DamagedReplica {
  blockId: BlockId
  state: 'corrupt' | 'missing'
}

/** Fetches a block from the first of its sources that gives it, and writes it. */
export type PullReplica = (request: CopyRequest, signal: AbortSignal) => Promise<unknown>

/**
 * What becomes of this peer's own replicas that are not what the log says: put aside, fetched again from another holder, or
 * reported, so that repair copies them elsewhere. The only copy that can be had is left where it is, for most of it may be good.
 */
export class ReplicaMender {
  readonly #ports: FileServicePorts
  readonly #options: FileOptions
  readonly #pull: PullReplica
  readonly #running = new Map<BlockId, Promise<ReplicaVerdict>>()
  /** Bad ones that are not mended yet. */
  readonly #damaged = new Map<BlockId, DamagedReplica['state']>()
  readonly counts: MendCounts = { corruptFound: 0, missingFound: 0, repaired: 0, reported: 0 }

  constructor(ports: FileServicePorts, options: FileOptions, pull: PullReplica) {
    this.#ports = ports
    this.#options = options
    this.#pull = pull
  }

  /** Replicas known to be bad that nobody could mend so far. */
  damaged(): DamagedReplica[] {
    return [...this.#damaged].map(([blockId, state]) => ({ blockId, state }))
  }

  isMending(blockId: BlockId): boolean {
    return this.#running.has(blockId)
  }

  /** Checks run at a time on behalf of others. */
  get busy(): boolean {
    return this.#running.size >= this.#options.mendsMax
  }

  /**
   * Reads the replica whole, compares it with the log, and mends it when it is bad. A second caller shares the check under
   * way. Rejects with DISK_FAILED when the whole store has failed, or with the signal's reason.
   */
  async check(blockId: BlockId, options: BlockVerifyOptions = {}): Promise<ReplicaVerdict> {
    const running = this.#running.get(blockId)
    if (running !== undefined) return running
    const check = this.#check(blockId, options)
    this.#running.set(blockId, check)
    try {
      return await check
    } finally {
      this.#running.delete(blockId)
    }
  }

  /** These replicas are not on this disk although the log says so: repair is to make other copies, by its own priorities. */
  async reportMissing(blocks: readonly SlotBlock[]): Promise<void> {
    for (const { blockId } of blocks) this.#note(blockId, 'missing')
    // The log never forgets the last holder of a block: to say it again and again would only fill it.
    const others = blocks.filter(({ holders }) => holders.length > 1)
    for (let at = 0; at < others.length; at += NAMESPACE_DEFAULTS.blocksPerCommandMax) {
      await this.#report(others.slice(at, at + NAMESPACE_DEFAULTS.blocksPerCommandMax))
    }
  }

  /** Tries what is damaged once more, and deletes what was put aside and is safe elsewhere or needed no more. */
  async settle(signal: AbortSignal): Promise<void> {
    for (const { blockId } of this.damaged().slice(0, this.#options.mendsMax)) {
      if (!this.busy) await this.check(blockId, { signal })
    }
    for (const blockId of this.#ports.store.quarantined()) {
      signal.throwIfAborted()
      if (this.#mayRelease(blockId)) await this.#ports.store.release(blockId)
    }
  }

  /** The block as the log knows it, of a visible file or an open write. */
  recordOf(blockId: BlockId): SlotBlock | undefined {
    const name = parseBlockId(blockId)
    if (name === undefined) return undefined
    const slot = slotOf(asFileId(name.fileId), name.index, this.#ports.slots().slotCount)
    return this.#ports
      .namespace()
      .blocksInSlot(slot)
      .find(block => block.blockId === blockId)
  }

  async #check(blockId: BlockId, options: BlockVerifyOptions): Promise<ReplicaVerdict> {
    const found = await this.#look(blockId, options)
    const block = this.recordOf(blockId)
    const expected = block?.holders.includes(this.#ports.transport.self) === true
    if (block === undefined || !expected) {
      this.#damaged.delete(blockId)
      return { found, now: found === 'good' ? 'good' : 'unneeded' }
    }
    if (found === 'good') {
      this.#damaged.delete(blockId)
      return { found, now: 'good' }
    }
    this.#note(blockId, found)
    return { found, now: await this.#mend(block, found, options.signal) }
  }

  async #look(blockId: BlockId, options: BlockVerifyOptions): Promise<ReplicaVerdict['found']> {
    const { store } = this.#ports
    if (!store.has(blockId)) return 'missing'
    try {
      const stored = await store.verify(blockId, options)
      const block = this.recordOf(blockId)
      const same =
        block === undefined || (stored.sha256 === block.sha256 && stored.sizeBytes === block.sizeBytes)
      return same ? 'good' : 'corrupt'
    } catch (error) {
      options.signal?.throwIfAborted()
      if (hasCode(error, 'CORRUPT_REPLICA')) return 'corrupt'
      if (hasCode(error, 'NOT_FOUND')) return store.has(blockId) ? 'corrupt' : 'missing'
      // One file that cannot be read is a corrupt replica; a disk that does not work is another matter.
      if (hasCode(error, 'DISK_FAILED') && (await store.probe(blockId))) return 'corrupt'
      throw error
    }
  }

  async #mend(
    block: SlotBlock,
    found: DamagedReplica['state'],
    signal: AbortSignal | undefined,
  ): Promise<ReplicaVerdict['now']> {
    const { log, transport } = this.#ports
    const { blockId, sizeBytes, sha256 } = block
    const from = block.holders.filter(peer => peer !== transport.self && this.#ports.isAlive(peer))
    log.warn({ block: blockId, found, others: from.length }, 'a replica on this disk is bad')
    if (!(await this.putAside(blockId, found, from.length))) return 'bad'
    using deadline = withDeadline(`a good copy of block ${blockId}`, this.#options.copyTimeoutMs, signal)
    try {
      await this.#pull({ blockId, bytes: sizeBytes, sha256, from }, deadline)
      this.counts.repaired++
      this.#damaged.delete(blockId)
      log.info({ block: blockId }, 'a bad replica was rewritten from another copy')
      return 'good'
    } catch (error) {
      signal?.throwIfAborted()
      log.warn({ block: blockId, reason: String(error) }, 'a bad replica could not be rewritten')
    }
    return (await this.#report([block])) && !this.#damaged.has(blockId) ? 'reported' : 'bad'
  }

  /** False when there is nobody to have it from: then most of it may still be read. */
  protected async putAside(
    blockId: BlockId,
    found: DamagedReplica['state'],
    others: number,
  ): Promise<boolean> {
    if (others > 0 && found === 'corrupt') await this.#ports.store.quarantine(blockId)
    return others > 0
  }

  /** False when the log could not be told. */
  async #report(blocks: readonly SlotBlock[]): Promise<boolean> {
    const { self } = this.#ports.transport
    using deadline = withDeadline('the report of lost replicas', this.#options.reportTimeoutMs)
    try {
      accepted(
        await this.#ports.propose(
          { type: 'report-holders', blocks: blocks.map(({ blockId }) => ({ blockId, remove: [self] })) },
          { signal: deadline },
        ),
      )
    } catch (error) {
      this.#ports.log.warn({ reason: String(error) }, 'lost replicas could not be reported; trying again')
      return false
    }
    for (const { blockId } of blocks) {
      if (this.recordOf(blockId)?.holders.includes(self) === true) continue
      this.counts.reported++
      this.#damaged.delete(blockId)
    }
    return true
  }

  #note(blockId: BlockId, state: DamagedReplica['state']): void {
    if (!this.#damaged.has(blockId)) {
      if (state === 'corrupt') this.counts.corruptFound++
      else this.counts.missingFound++
    }
    this.#damaged.set(blockId, state)
  }

  #mayRelease(blockId: BlockId): boolean {
    const block = this.recordOf(blockId)
    if (block === undefined) return !this.#ports.namespace().isReferenced(blockId)
    const { self } = this.#ports.transport
    const living = this.#ports.peers().filter(peer => this.#ports.isAlive(peer.peerId)).length
    const good = block.holders.filter(peer => peer !== self && this.#ports.isAlive(peer)).length
    return good >= Math.min(block.replication, Math.max(living - 1, 1))
  }
}

/** True for what says something of a replica, rather than of the way to it. */
export function isBadReplica(error: unknown): error is ShoalError {
  return error instanceof ShoalError && ['CORRUPT_REPLICA', 'NOT_FOUND', 'DISK_FAILED'].includes(error.code)
}
