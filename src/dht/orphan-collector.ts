import { setImmediate as nextTurn } from 'node:timers/promises'
import { hasCode, withDeadline, type AbortOptions, type BlockId } from '../base/index.ts'
import type { FileOptions } from './config.ts'
import { BARRIER_TIMEOUT_MS, type FileServicePorts } from './file-ports.ts'

export interface SweepResult {
  blocks: number
  /** Not needed as of now; deleted once they have been so for the grace time. */
  unneeded: number
  deleted: number
}

/** Blocks judged in one go. */
const SLICE = 500

/**
 * Deletes blocks that no file, lease or move needs. The disk is listed first and the replicated state made fresh after that,
 * so every lease under which a listed block can have been written is known when it is judged.
 */
export class OrphanCollector implements AsyncDisposable {
  readonly #ports: FileServicePorts
  readonly #options: FileOptions
  readonly #isSurplus: (blockId: BlockId) => boolean
  /** When each block was first seen to be unneeded, without a sweep in between that saw it needed. */
  #since = new Map<BlockId, number>()
  #timer: NodeJS.Timeout | undefined
  #running: Promise<SweepResult> | undefined
  readonly #stop = new AbortController()

  constructor(ports: FileServicePorts, options: FileOptions, isSurplus: (blockId: BlockId) => boolean) {
    this.#ports = ports
    this.#options = options
    this.#isSurplus = isSurplus
  }

  start(): void {
    this.#timer ??= setInterval(() => {
      this.sweep({ signal: this.#stop.signal }).catch((error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error)
        // Usual while there is no leader; then nothing may be deleted.
        if (hasCode(error, 'NO_QUORUM') || this.#stop.signal.aborted) return
        this.#ports.log.warn({ reason }, 'could not look for unneeded blocks')
      })
    }, this.#options.orphanSweepMs)
    this.#timer.unref()
  }

  /** One sweep at a time; a second caller shares the one under way. */
  async sweep(options: AbortOptions = {}): Promise<SweepResult> {
    this.#running ??= this.#sweep(options.signal).finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#stop.abort()
    await this.#running?.catch(() => undefined)
  }

  async #sweep(signal: AbortSignal | undefined): Promise<SweepResult> {
    const blocks = this.#ports.store.list()
    using deadline = withDeadline('a fresh view of the files', BARRIER_TIMEOUT_MS, signal)
    await this.#ports.readBarrier({ signal: deadline })
    const nowMs = this.#ports.clock.nowMs()
    const unneeded: BlockId[] = []
    for (const [index, blockId] of blocks.entries()) {
      if (index % SLICE === SLICE - 1) await nextTurn()
      if (this.#isSurplus(blockId)) unneeded.push(blockId)
    }
    const before = this.#since
    this.#since = new Map(unneeded.map(blockId => [blockId, before.get(blockId) ?? nowMs]))
    let deleted = 0
    for (const [blockId, sinceMs] of this.#since) {
      if (nowMs - sinceMs < this.#options.orphanGraceMs) continue
      signal?.throwIfAborted()
      // Asked again: time has passed since, and a move may have made this peer an owner.
      if (!this.#isSurplus(blockId)) continue
      if (await this.#ports.store.delete(blockId)) deleted++
      this.#since.delete(blockId)
    }
    if (deleted > 0) this.#ports.log.info({ deleted }, 'deleted blocks that nothing needs any more')
    return { blocks: blocks.length, unneeded: unneeded.length, deleted }
  }
}
