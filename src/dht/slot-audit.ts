import { setImmediate as nextTurn } from 'node:timers/promises'
import { withDeadline, type AbortOptions } from '../base/index.ts'
import type { FileOptions } from './config.ts'
import { BARRIER_TIMEOUT_MS, type FileServicePorts } from './file-ports.ts'
import type { SlotBlock } from './namespace-types.ts'
import type { ReplicaMender } from './replica-mender.ts'
import { digestOf, sameDigest, StoreDigest } from './store-digest.ts'

export interface AuditResult {
  /** Slots whose digests differed, so that they were listed. */
  listed: number
  /** Blocks that the log gives this peer and its disk does not have; reported. */
  missing: number
  /** Blocks whose file has another length than the log says; checked and mended. */
  misfits: number
  /** Blocks that the log does not give this peer: the orphan collector judges them. */
  surplus: number
}

/** Slots compared in one go; 4,096 are done in 64 goes, each of a fraction of a millisecond for a usual mesh. */
const SLICE_SLOTS = 64

/**
 * Compares, slot by slot, what the log says this peer holds with what its disk has, by digests: one of a slot's blocks in
 * the log, one of the store that is kept with every block that comes or goes. Only where they differ the slot is listed.
 */
export class SlotAudit implements AsyncDisposable {
  readonly #ports: FileServicePorts
  readonly #options: FileOptions
  readonly #mender: ReplicaMender
  readonly #held: StoreDigest
  readonly #stop = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #running: Promise<AuditResult> | undefined
  #last: AuditResult | undefined

  constructor(ports: FileServicePorts, options: FileOptions, mender: ReplicaMender) {
    this.#ports = ports
    this.#options = options
    this.#mender = mender
    this.#held = new StoreDigest(ports.slots().slotCount)
    ports.store.onChange((blockId, sizeBytes) => this.#held.set(blockId, sizeBytes))
  }

  /** Begins with what is on the disk now; then each `auditMs`, and at once when the disk fails. */
  start(): void {
    if (this.#timer !== undefined) return
    this.#timer = setInterval(() => this.#runQuietly(), this.#options.auditMs)
    this.#timer.unref()
    this.#ports.store.onFailure(() => this.#runQuietly())
  }

  /** The newest result. */
  get last(): AuditResult | undefined {
    return this.#last
  }

  /** One pass at a time; a second caller shares the one under way. Rejects with NO_QUORUM when a difference cannot be judged. */
  async run(options: AbortOptions = {}): Promise<AuditResult> {
    this.#running ??= this.#run(options.signal ?? this.#stop.signal).finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    this.#stop.abort()
    await this.#running?.catch(() => undefined)
  }

  #runQuietly(): void {
    this.run().catch((error: unknown) => {
      if (!this.#stop.signal.aborted)
        this.#ports.log.debug({ reason: String(error) }, 'the audit of the blocks must wait')
    })
  }

  async #run(signal: AbortSignal): Promise<AuditResult> {
    const result: AuditResult = { listed: 0, missing: 0, misfits: 0, surplus: 0 }
    const { slotCount } = this.#ports.slots()
    const suspects: number[] = []
    for (let slot = 0; slot < slotCount; slot++) {
      if (slot % SLICE_SLOTS === 0) {
        await nextTurn()
        signal.throwIfAborted()
      }
      if (this.differs(slot)) suspects.push(slot)
    }
    result.listed = suspects.length
    let missing: SlotBlock[] = []
    for (const slot of suspects) {
      await nextTurn()
      signal.throwIfAborted()
      missing.push(...this.#list(slot, result))
    }
    if (missing.length > 0) {
      // What is applied here may be old: the log may have taken the blocks from this peer long ago.
      using deadline = withDeadline('a fresh view of the files', BARRIER_TIMEOUT_MS, signal)
      await this.#ports.readBarrier({ signal: deadline })
      missing = missing.filter(({ blockId }) => this.#isMissing(this.#mender.recordOf(blockId)))
      result.missing = missing.length
      if (missing.length > 0) {
        this.#ports.log.warn({ missing: missing.length }, 'blocks are not on this disk that should be')
        await this.#mender.reportMissing(missing)
      }
    }
    if (this.#ports.store.failure === undefined) await this.#mender.settle(signal)
    this.#last = result
    return result
  }

  /** True when the slot's blocks in the log and on the disk are not the same set. */
  protected differs(slot: number): boolean {
    return !sameDigest(this.#held.of(slot), digestOf(this.#expected(slot)))
  }

  #expected(slot: number): SlotBlock[] {
    const { self } = this.#ports.transport
    return this.#ports
      .namespace()
      .blocksInSlot(slot)
      .filter(block => block.holders.includes(self))
  }

  /** Missing ones; the others are counted, and those of a wrong length are checked. */
  #list(slot: number, result: AuditResult): SlotBlock[] {
    const held = this.#held.blocksIn(slot)
    const expected = this.#expected(slot)
    result.surplus += held.size
    const missing: SlotBlock[] = []
    for (const block of expected) {
      const sizeBytes = held.get(block.blockId)
      if (sizeBytes === undefined) {
        if (this.#isMissing(block)) missing.push(block)
        continue
      }
      result.surplus--
      if (sizeBytes === block.sizeBytes) continue
      result.misfits++
      if (!this.#mender.busy) this.#mender.check(block.blockId).catch(() => undefined)
    }
    return missing
  }

  #isMissing(block: SlotBlock | undefined): block is SlotBlock {
    if (block === undefined || !block.holders.includes(this.#ports.transport.self)) return false
    return !this.#ports.store.has(block.blockId) && !this.#mender.isMending(block.blockId)
  }
}
