import { ShoalError, toWire } from '../base/index.ts'
import type { NamespaceResult, SessionSeq } from './namespace-commands.ts'

/** Each has up to 64 answers. */
const SESSIONS_IN_PART = 32

export interface SessionLimits {
  sessionsMax: number
  sessionIdleMs: number
  resultsPerSessionMax: number
}

interface Session {
  /** Log time of its last mutation. */
  seenMs: number
  /** Every seq up to this one was applied or given up; its result is forgotten. */
  forgottenSeq: number
  results: Map<number, NamespaceResult>
}

/** Of a snapshot. */
export type SessionRow = [
  clientId: string,
  seenMs: number,
  forgottenSeq: number,
  results: [number, NamespaceResult][],
]

/**
 * What clients were answered, so that a mutation that is sent twice is carried out once. Only log time and the order of
 * the log decide what is forgotten, so every peer remembers the same. Sessions lie in order of last use.
 */
export class SessionTable {
  readonly #limits: SessionLimits
  readonly #sessions = new Map<string, Session>()

  constructor(limits: SessionLimits) {
    this.#limits = limits
  }

  /** The first answer when there was one; UNKNOWN_OUTCOME when it is forgotten; undefined for a new mutation. */
  recall({ clientId, seq }: SessionSeq): NamespaceResult | undefined {
    const session = this.#sessions.get(clientId)
    if (session === undefined) return undefined
    const result = session.results.get(seq)
    if (result !== undefined || seq > session.forgottenSeq) return result
    const what = `request ${seq} of client ${clientId}`
    const error = new ShoalError('UNKNOWN_OUTCOME', { what }, `the answer to ${what} is no longer remembered`)
    return { ok: false, error: toWire(error) }
  }

  remember({ clientId, seq }: SessionSeq, result: NamespaceResult, timeMs: number): void {
    const session = this.#sessions.get(clientId) ?? { seenMs: timeMs, forgottenSeq: 0, results: new Map() }
    session.seenMs = timeMs
    session.results.set(seq, result)
    if (session.results.size > this.#limits.resultsPerSessionMax) {
      const oldest = Math.min(...session.results.keys())
      session.results.delete(oldest)
      session.forgottenSeq = Math.max(session.forgottenSeq, oldest)
    }
    this.#sessions.delete(clientId)
    this.#sessions.set(clientId, session)
    this.#evict(timeMs)
  }

  /** Log time has leapt: no session is idle longer because of that. */
  leapt(leapMs: number): void {
    for (const session of this.#sessions.values()) session.seenMs += leapMs
  }

  #evict(timeMs: number): void {
    for (const [clientId, session] of this.#sessions) {
      const idle = timeMs - session.seenMs > this.#limits.sessionIdleMs
      if (!idle && this.#sessions.size <= this.#limits.sessionsMax) return
      this.#sessions.delete(clientId)
    }
  }

  /** In parts that are read in one go each. */
  snapshot(): SessionRow[][] {
    const rows = [...this.#sessions].map(([clientId, session]): SessionRow => [
      clientId,
      session.seenMs,
      session.forgottenSeq,
      [...session.results],
    ])
    const parts = Math.ceil(rows.length / SESSIONS_IN_PART)
    return Array.from({ length: parts }, (_, at) =>
      rows.slice(at * SESSIONS_IN_PART, (at + 1) * SESSIONS_IN_PART),
    )
  }

  clear(): void {
    this.#sessions.clear()
  }

  /** Those of one part, besides those that are there. */
  restore(rows: readonly SessionRow[]): void {
    for (const [clientId, seenMs, forgottenSeq, results] of rows) {
      this.#sessions.set(clientId, { seenMs, forgottenSeq, results: new Map(results) })
    }
  }

  get size(): number {
    return this.#sessions.size
  }
}
