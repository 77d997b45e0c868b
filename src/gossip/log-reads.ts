import { hasCode, raceAbort, sleep, withDeadline } from '../base/index.ts'
import type { AbortOptions, ShoalError } from '../base/index.ts'
import type { ReplicatedLogOptions } from './config.ts'

export interface LogReadsPort {
  /** Hands the question to the machine; `answered` brings what comes back, if anything does. */
  ask(id: string): void
  /** What a read without an answer rejects with. */
  noQuorum(): ShoalError
  /** Unique to this life of the process. */
  prefix: string
}

/** Between two questions while nobody leads. */
const NO_LEADER_PAUSE_MS = 50

/**
 * Linearizable reads of one peer. All that come while a question is under way share the next one: it is asked after
 * each of them came, which is all that counts.
 */
export class LogReads {
  readonly #limits: ReplicatedLogOptions
  readonly #port: LogReadsPort
  #running: Promise<number> | undefined
  #next: Promise<number> | undefined
  #question: { id: string; resolve: (index: number | undefined) => void } | undefined
  #asked = 0
  #stopped: ShoalError | undefined

  constructor(limits: ReplicatedLogOptions, port: LogReadsPort) {
    this.#limits = limits
    this.#port = port
  }

  async read(options: AbortOptions & { timeoutMs?: number }): Promise<number> {
    this.#next ??= this.#startAfter(this.#running)
    // Each waiting reader handles it; with none left nobody needs to.
    this.#next.catch(() => undefined)
    const timeoutMs = options.timeoutMs ?? this.#limits.readTimeoutMs
    using deadline = withDeadline('a linearizable read', timeoutMs, options.signal)
    try {
      return await raceAbort(this.#next, deadline)
    } catch (error) {
      throw error === deadline.reason && hasCode(error, 'TIMEOUT') ? this.#port.noQuorum() : error
    }
  }

  /** `index` is undefined when the question was refused. */
  answered(id: string, index: number | undefined): void {
    if (this.#question?.id === id) this.#question.resolve(index)
  }

  failAll(reason: ShoalError): void {
    this.#stopped = reason
    this.#question?.resolve(undefined)
  }

  async #startAfter(previous: Promise<number> | undefined): Promise<number> {
    await previous?.catch(() => undefined)
    // At least one turn, in which others may join and `#next` is set.
    await Promise.resolve()
    this.#running = this.#next
    this.#next = undefined
    return await this.#askUntilAnswered()
  }

  async #askUntilAnswered(): Promise<number> {
    using deadline = withDeadline('finding a leader', this.#limits.readTimeoutMs)
    while (!deadline.aborted) {
      if (this.#stopped !== undefined) throw this.#stopped
      const index = await this.#askOnce()
      if (index !== undefined) return index
      if (this.#stopped === undefined) await sleep(NO_LEADER_PAUSE_MS)
    }
    throw this.#port.noQuorum()
  }

  async #askOnce(): Promise<number | undefined> {
    const { promise, resolve } = Promise.withResolvers<number | undefined>()
    const id = `${this.#port.prefix}/${++this.#asked}`
    this.#question = { id, resolve }
    const timer = setTimeout(() => resolve(undefined), this.#limits.readRetryMs)
    try {
      this.#port.ask(id)
      return await promise
    } finally {
      clearTimeout(timer)
      this.#question = undefined
    }
  }
}
