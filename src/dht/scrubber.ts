import { setImmediate as nextTurn } from 'node:timers/promises'
import { sleep, type AbortOptions, type BlockId } from '../base/index.ts'
import type { FileOptions } from './config.ts'
import type { FileServicePorts } from './file-ports.ts'
import type { ReplicaMender } from './replica-mender.ts'

export interface ScrubStatus {
  /** Since this peer started. */
  blocks: number
  bytes: number
  bad: number
  /** Blocks that were due when they were last counted and are not done yet. */
  due: number
  /** When the block that was longest not verified was; milliseconds of the wall clock. Undefined without blocks. */
  oldestMs: number | undefined
}

/** Between two looks for blocks that are due. */
const PASS_MS = 60_000
/** A block verified longer than this after now was so by a clock that was wrong. */
const CLOCK_SLACK_MS = 3_600_000
/** Between two looks whether others still read and write. */
const BUSY_POLL_MS = 25
/** Blocks that are put in order at a time; the rest follows when they are done. */
const QUEUE_MAX = 10_000
/** Entries looked at in one go. */
const SLICE = 2_000

/**
 * Reads every block of this peer now and then, the one that was longest not verified first, and has bad ones mended. When a
 * block was last verified lies with it on the disk, so a restart goes on where it was. Slow on purpose: no more than
 * `scrubBytesPerSecond`, and whoever else reads or writes goes first.
 */
export class Scrubber implements AsyncDisposable {
  readonly #ports: FileServicePorts
  readonly #options: FileOptions
  readonly #mender: ReplicaMender
  readonly #wallMs: () => number
  readonly #stop = new AbortController()
  #loop: Promise<void> | undefined
  #queue: BlockId[] = []
  /** Monotonic: when the bytes read so far are paid for. */
  #paidMs = 0
  readonly #status: ScrubStatus = { blocks: 0, bytes: 0, bad: 0, due: 0, oldestMs: undefined }

  /** @param wallMs the wall clock, by which it is known over restarts when a block was verified. */
  constructor(
    ports: FileServicePorts,
    options: FileOptions,
    mender: ReplicaMender,
    wallMs: () => number = Date.now,
  ) {
    this.#ports = ports
    this.#options = options
    this.#mender = mender
    this.#wallMs = wallMs
  }

  start(): void {
    this.#loop ??= this.#run().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#ports.log.error({ reason: String(error) }, 'the scrub has ended')
    })
  }

  status(): ScrubStatus {
    return { ...this.#status, due: this.#queue.length }
  }

  /** Verifies all that is due now, in order; how many blocks that were. */
  async pass(options: AbortOptions = {}): Promise<number> {
    const signal = options.signal ?? this.#stop.signal
    this.#queue = await this.#due(signal)
    let done = 0
    for (let blockId = this.#queue.shift(); blockId !== undefined; blockId = this.#queue.shift()) {
      signal.throwIfAborted()
      if (await this.#verify(blockId, signal)) done++
    }
    return done
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#loop
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      await this.pass({ signal })
      // Also after work was done: a block that nobody can mend stays due.
      await sleep(Math.min(PASS_MS, this.#options.scrubPeriodMs), { signal }).catch(() => undefined)
    }
  }

  /** False when the block could not be looked at: gone, or the disk has failed. */
  async #verify(blockId: BlockId, signal: AbortSignal): Promise<boolean> {
    if (!this.#ports.store.has(blockId)) return false
    try {
      const pace = (bytes: number): Promise<void> => this.#pace(bytes, signal)
      const { found } = await this.#mender.check(blockId, { signal, pace })
      this.#status.blocks++
      if (found !== 'good') this.#status.bad++
      return true
    } catch (error) {
      signal.throwIfAborted()
      this.#ports.log.warn({ block: blockId, reason: String(error) }, 'the scrub could not look at a block')
      return false
    }
  }

  /** Waits for others to be done, for a while, and for as long as these bytes may take. */
  async #pace(bytes: number, signal: AbortSignal): Promise<void> {
    this.#status.bytes += bytes
    const { scrubBytesPerSecond, scrubYieldMs } = this.#options
    const beganMs = this.#ports.clock.nowMs()
    this.#paidMs = Math.max(this.#paidMs, beganMs) + (bytes / scrubBytesPerSecond) * 1_000
    const waitMs = this.#paidMs - beganMs
    if (waitMs >= 1) await sleep(waitMs, { signal })
    const yieldUntilMs = this.#ports.clock.nowMs() + scrubYieldMs
    while (this.#ports.store.busy() > 0 && this.#ports.clock.nowMs() < yieldUntilMs) {
      await sleep(BUSY_POLL_MS, { signal })
    }
  }

  /** Blocks that are due, the oldest first. */
  async #due(signal: AbortSignal): Promise<BlockId[]> {
    const nowMs = this.#wallMs()
    const due: { blockId: BlockId; ageMs: number }[] = []
    let oldestMs: number | undefined
    let looked = 0
    for (const blockId of this.#ports.store.list()) {
      if (++looked % SLICE === 0) {
        await nextTurn()
        signal.throwIfAborted()
      }
      const verifiedMs = this.#ports.store.verifiedMs(blockId)
      if (verifiedMs === undefined) continue
      oldestMs = Math.min(oldestMs ?? verifiedMs, verifiedMs)
      const ageMs = verifiedMs > nowMs + CLOCK_SLACK_MS ? Infinity : nowMs - verifiedMs
      if (ageMs >= this.#options.scrubPeriodMs) due.push({ blockId, ageMs })
    }
    this.#status.oldestMs = oldestMs
    due.sort((a, b) => b.ageMs - a.ageMs)
    return due.slice(0, QUEUE_MAX).map(({ blockId }) => blockId)
  }
}
