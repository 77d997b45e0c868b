import { toWire, withDeadline, type Logger, type PeerId } from '../base/index.ts'
import { PEER } from './config.ts'
import { drainProgress, type DrainParts } from './drain.ts'

export interface DrainWatchPorts extends DrainParts {
  self: PeerId
  /** Resolves when everything acknowledged before is applied here. */
  readBarrier(options: { signal: AbortSignal }): Promise<void>
  leads(): boolean
  /** Somebody else is to lead. */
  handOver(): Promise<unknown>
  /** Everything is elsewhere. */
  onDrained(): void
  log: Logger
}

/** On each peer: sees when it is being drained, and says when nothing keeps it any more, by a fresh view of the log. */
export class DrainWatch implements Disposable {
  readonly #ports: DrainWatchPorts
  readonly #stop = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #looking = false

  constructor(ports: DrainWatchPorts) {
    this.#ports = ports
  }

  start(): void {
    this.#timer = setInterval(() => void this.#look(), PEER.drainLookMs)
    this.#timer.unref()
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#stop.abort()
  }

  async #look(): Promise<void> {
    const { self, log } = this.#ports
    const isDraining = (): boolean =>
      this.#ports.records().some(({ peerId, draining }) => peerId === self && draining)
    if (this.#looking || !isDraining()) return
    this.#looking = true
    try {
      using deadline = withDeadline('a fresh view of the drain', PEER.drainViewMs, this.#stop.signal)
      await this.#ports.readBarrier({ signal: deadline })
      if (this.#ports.leads() && this.#ports.voters().length > 1) await this.#ports.handOver()
      const { done } = await drainProgress(this.#ports, self, deadline)
      if (!done || !isDraining()) return
      this[Symbol.dispose]()
      log.info({}, 'everything of this peer is elsewhere: it leaves')
      this.#ports.onDrained()
    } catch (error) {
      if (!this.#stop.signal.aborted) log.debug({ error: toWire(error) }, 'the drain waits')
    } finally {
      this.#looking = false
    }
  }
}
