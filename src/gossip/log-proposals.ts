import { raceAbort, ShoalError, withDeadline } from '../base/index.ts'
import type { AbortOptions, PeerId } from '../base/index.ts'
import type { ReplicatedLogOptions } from './config.ts'
import type { Proposal, ProposalRefusal } from './raft-types.ts'

export interface Committed {
  /** Log index of the entry. */
  index: number
  /** What the state machine's `apply` returned. */
  result: unknown
}

interface Pending extends PromiseWithResolvers<Committed> {
  data: Uint8Array
  /** False while it can still be taken back: nobody has seen it. */
  submitted: boolean
}

/** Proposals between `propose` and their outcome. Those that come while the disk is busy go into the next flush together. */
export class LogProposals {
  readonly #limits: ReplicatedLogOptions
  readonly #submit: (proposals: Proposal[]) => void
  readonly #pending = new Map<number, Pending>()
  #waiting: Proposal[] = []
  #nextId = 1
  #flushing = false

  constructor(limits: ReplicatedLogOptions, submit: (proposals: Proposal[]) => void) {
    this.#limits = limits
    this.#submit = submit
  }

  /** True while somebody waits for an outcome. */
  get awaited(): boolean {
    return this.#pending.size > 0
  }

  /** Settles with the outcome. The bytes are copied: the caller may use its buffer again. */
  async add(data: Uint8Array, options: AbortOptions & { timeoutMs?: number }): Promise<Committed> {
    const { proposalsMax, proposeTimeoutMs } = this.#limits
    if (this.#pending.size >= proposalsMax) throw busy(proposalsMax)
    using deadline = withDeadline('the proposal', options.timeoutMs ?? proposeTimeoutMs, options.signal)
    const id = this.#nextId++
    const pending: Pending = { ...Promise.withResolvers<Committed>(), data: data.slice(), submitted: false }
    this.#pending.set(id, pending)
    this.#waiting.push({ id, data: pending.data })
    try {
      return await raceAbort(pending.promise, deadline)
    } catch (error) {
      const abandoned = this.#pending.has(id)
      if (abandoned && pending.submitted) throw unknownOutcome(error)
      throw error
    } finally {
      this.#pending.delete(id)
      if (!pending.submitted) this.#waiting = this.#waiting.filter(proposal => proposal.id !== id)
    }
  }

  /** Submits what waits after this turn of the event loop, so that a burst becomes one flush. */
  flushSoon(): void {
    if (this.#flushing) return
    this.#flushing = true
    setImmediate(() => {
      this.#flushing = false
      this.flush()
    })
  }

  flush(): void {
    if (this.#waiting.length === 0) return
    const proposals = this.#waiting
    this.#waiting = []
    for (const { id } of proposals) {
      const pending = this.#pending.get(id)
      if (pending !== undefined) pending.submitted = true
    }
    this.#submit(proposals)
  }

  committed(id: number, committed: Committed): void {
    this.#settle(id)?.resolve(committed)
  }

  refused(
    id: number,
    code: ProposalRefusal,
    leader: PeerId | undefined,
    term: number,
    entryBytesMax: number,
  ): void {
    const pending = this.#settle(id)
    if (pending === undefined) return
    switch (code) {
      case 'NOT_LEADER':
        pending.reject(notLeader(leader, term))
        break
      case 'BUSY':
        pending.reject(busy(this.#limits.proposalsMax))
        break
      case 'TOO_LARGE':
        pending.reject(tooLarge(pending.data.byteLength, entryBytesMax))
        break
      case 'UNKNOWN_OUTCOME':
        pending.reject(unknownOutcome(undefined))
        break
    }
  }

  /** The log ends: what was submitted may or may not be kept by others. */
  failAll(reason: ShoalError): void {
    for (const { submitted, reject } of this.#pending.values())
      reject(submitted ? unknownOutcome(reason) : reason)
    this.#pending.clear()
    this.#waiting = []
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    return pending
  }
}

export function notLeader(leader: PeerId | undefined, term: number): ShoalError<'NOT_LEADER'> {
  const where = leader === undefined ? 'nobody is known to lead' : `ask ${leader}`
  const details = leader === undefined ? { term } : { leader, term }
  return new ShoalError('NOT_LEADER', details, `this peer does not lead in term ${term}: ${where}`)
}

function busy(limit: number): ShoalError<'BUSY'> {
  const what = 'the replicated log'
  return new ShoalError('BUSY', { what, limit }, `${what} has too many uncommitted entries: try again soon`)
}

function tooLarge(bytes: number, limitBytes: number): ShoalError<'TOO_LARGE'> {
  const what = 'a log entry'
  return new ShoalError(
    'TOO_LARGE',
    { what, bytes, limitBytes },
    `${what} of ${bytes} bytes is over ${limitBytes}: split the command, or put the bulk into blocks`,
  )
}

function unknownOutcome(cause: unknown): ShoalError<'UNKNOWN_OUTCOME'> {
  return new ShoalError(
    'UNKNOWN_OUTCOME',
    { what: 'the proposal' },
    'the proposal was appended, but whether it is committed is not known: ask again by its id',
    cause === undefined ? undefined : { cause },
  )
}
