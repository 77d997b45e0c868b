import { asPeerId } from '../base/index.ts'
import { REPORT } from './config.ts'
import { CpuMeter, processorMs } from './cpu-meter.ts'
import type { StatusParts } from './peer-status.ts'
import { meshVitals, vitals, type PeerVitals, type ReportedPeer } from './report-messages.ts'

export interface ReporterParts extends StatusParts {
  runningTasks(): number
  spilledBytes(): number
  shuffleTraffic(): PeerVitals['shuffles']
  /** Its budget, where it was given one. */
  memoryBytes: number | undefined
  kept(): PeerVitals['kept']
}

/** Says how this peer is, and asks all others that on behalf of whoever wants a report of the mesh. */
export class PeerReporter implements Disposable {
  readonly #parts: ReporterParts
  readonly #cpu: CpuMeter

  constructor(parts: ReporterParts) {
    this.#parts = parts
    this.#cpu = new CpuMeter(parts.clock, processorMs)
  }

  start(): void {
    const { transport } = this.#parts
    transport.handle(vitals, () => this.#vitals())
    transport.handle(meshVitals, async ({ head: { startAt }, signal }) => {
      const living = this.#living()
      const page = living.slice(startAt, startAt + REPORT.pagePeers)
      return { peers: await this.#ask(page, signal), more: startAt + page.length < living.length }
    })
    this.#cpu.start()
  }

  [Symbol.dispose](): void {
    this.#cpu[Symbol.dispose]()
  }

  /** Members to ask, in the order in which they joined. */
  #living(): ReportedPeer[] {
    const { meshLog, files } = this.#parts
    return meshLog.state.members
      .members()
      .filter(({ peerId, state }) => state === 'up' && files.isAlive(peerId))
      .map(({ peerId, name }) => ({ peerId, name }))
  }

  async #ask(peers: readonly ReportedPeer[], signal: AbortSignal): Promise<ReportedPeer[]> {
    const answers = [...peers]
    const waiting = peers.entries()
    const asker = async (): Promise<void> => {
      for (const [at, peer] of waiting) {
        const heard = await this.#vitalsOf(peer.peerId, signal)
        if (heard !== undefined) answers[at] = { ...peer, vitals: heard }
      }
    }
    await Promise.all(Array.from({ length: Math.min(REPORT.parallel, peers.length) }, asker))
    return answers
  }

  async #vitalsOf(peerId: string, signal: AbortSignal): Promise<PeerVitals | undefined> {
    const { transport } = this.#parts
    if (peerId === transport.self) return await this.#vitals()
    const options = { timeoutMs: REPORT.peerTimeoutMs, signal }
    try {
      return (await transport.call(asPeerId(peerId), vitals, {}, options)).head
    } catch {
      signal.throwIfAborted()
      return undefined
    }
  }

  async #vitals(): Promise<PeerVitals> {
    const { transport, meshLog, version, workers, memoryBytes, clock, startedMs } = this.#parts
    const { space, forgot, damages, appliedIndex } = meshLog.log.status()
    const last = damages.at(-1)
    const { slots } = meshLog.state
    let slotsOwned = 0
    for (let slot = 0; slot < slots.slotCount; slot++) {
      if (slots.row(slot).owners.includes(transport.self)) slotsOwned++
    }
    const { damaged, damagedCount, scrub, ...store } = await this.#parts.blocks()
    // Only the first are named: of a peer with so many, which is which matters less than that they are bad.
    const corrupt = damaged.filter(({ state }) => state === 'corrupt').length
    return {
      version,
      pid: process.pid,
      upMs: clock.nowMs() - startedMs,
      workers,
      runningTasks: this.#parts.runningTasks(),
      cpuCores: this.#cpu.cores(),
      rssBytes: process.memoryUsage.rss(),
      // The system counts in KiB.
      rssPeakBytes: process.resourceUsage().maxRSS * 1024,
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      spilledBytes: this.#parts.spilledBytes(),
      shuffles: this.#parts.shuffleTraffic(),
      kept: this.#parts.kept(),
      appliedIndex,
      space,
      forgot,
      damagedLogs: damages.length,
      ...(last === undefined
        ? {}
        : { damagedLog: { reason: last.reason.slice(0, 1_000), folder: last.folder } }),
      slotsOwned,
      store: {
        blocks: store.blocks,
        usedBytes: store.usedBytes,
        freeBytes: store.freeBytes,
        ...(store.failure === undefined ? {} : { failure: store.failure }),
        corrupt,
        missing: damagedCount - corrupt,
        found: store.corruptFound + store.missingFound,
        repaired: store.repaired,
        scrubDue: scrub.due,
        ...(scrub.oldestAgeMs === undefined ? {} : { scrubOldestMs: scrub.oldestAgeMs }),
      },
    }
  }
}
