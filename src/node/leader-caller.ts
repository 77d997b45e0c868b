import {
  bodyOf,
  hasCode,
  pick,
  raceAbort,
  ShoalError,
  sleep,
  withDeadline,
  type AbortOptions,
  type Clock,
  type ErrorCode,
  type MessageType,
  type PeerId,
  type Random,
  type Transport,
} from '../base/index.ts'
import { LEADER_CALL } from './config.ts'

/** Codes that say: no leader has seen the question. When nothing better comes in time, that is NO_QUORUM. */
const UNHEARD = new Set<ErrorCode>(['NOT_LEADER', 'NO_QUORUM', 'UNREACHABLE', 'STALE_LEADER'])
/** Codes after which the same question may be put again, although a leader may have seen it. */
const RETRYABLE = new Set<ErrorCode>([...UNHEARD, 'CONNECTION_LOST', 'TIMEOUT', 'BUSY', 'UNKNOWN_OUTCOME'])

export interface LeaderView {
  /** The leader as this peer knows it, if it knows one. */
  leader(): PeerId | undefined
  /** Told of every change; returns what ends that. Without it a call waits out a leader that stands still. */
  onLeader?(listener: () => void): () => void
  /** Peers to ask who leads while this one does not know. */
  others(): PeerId[]
  /** What NO_QUORUM tells the caller. */
  quorum(): { lastLeader?: string; term: number; voters: string[] }
}

export interface LeaderCallOptions extends AbortOptions {
  body?: Uint8Array
  /** Until NO_QUORUM is the answer. @default LEADER_CALL.quorumWaitMs */
  waitMs?: number
  /** The request changes something: once a leader may have seen it, "nothing was changed" is no answer. @default false */
  changes?: boolean
}

/** Asks whoever leads, quietly again while leadership changes. Only for requests that may safely arrive twice. */
export class LeaderCaller {
  readonly #transport: Transport
  readonly #view: LeaderView
  readonly #clock: Clock
  readonly #random: Random

  constructor(options: { transport: Transport; view: LeaderView; clock: Clock; random: Random }) {
    this.#transport = options.transport
    this.#view = options.view
    this.#clock = options.clock
    this.#random = options.random
  }

  async call<Request, Reply>(
    type: MessageType<Request, Reply>,
    head: Request,
    options: LeaderCallOptions = {},
  ): Promise<Reply> {
    const untilMs = this.#clock.nowMs() + (options.waitMs ?? LEADER_CALL.quorumWaitMs)
    let pauseMs: number = LEADER_CALL.retryMinMs
    let hint: PeerId | undefined
    let cause: unknown
    /** The last try that a leader may have seen. */
    let heard: ShoalError | undefined
    for (;;) {
      options.signal?.throwIfAborted()
      const known = this.#view.leader()
      const leader = hint ?? known ?? pick(this.#random, this.#view.others())
      hint = undefined
      // Another peer has begun to lead since: one that stands still, or is cut off, need not be waited for.
      const isSuperseded = (): boolean => {
        const now = this.#view.leader()
        return now !== undefined && now !== known && now !== leader
      }
      // Nor one that fell silent, though nobody leads instead: by then the caller is to know.
      const isLost = (): boolean => leader === known && this.#view.leader() === undefined
      if (leader !== undefined) {
        try {
          return await this.#try(leader, type, head, {
            ...options,
            isGone: () => isSuperseded() || isLost(),
            guessMs:
              leader === known ? undefined : Math.max(untilMs - this.#clock.nowMs(), LEADER_CALL.retryMinMs),
          })
        } catch (error) {
          if (!(error instanceof ShoalError) || !RETRYABLE.has(error.code)) throw error
          if (hasCode(error, 'STALE_LEADER') && (isSuperseded() || isLost())) {
            // It may have seen the question, and somebody who leads later may carry it out.
            heard = new ShoalError(
              'UNKNOWN_OUTCOME',
              { what: type.name },
              `the leader fell silent before it answered ${type.name}`,
            )
            if (isSuperseded()) continue
          }
          if (leader === known && this.#clock.nowMs() >= untilMs && !UNHEARD.has(error.code)) throw error
          cause = error
          if (!UNHEARD.has(error.code)) heard = error
          if (hasCode(error, 'NOT_LEADER') && error.details.leader !== undefined) {
            const said = error.details.leader as PeerId
            if (said !== leader) hint = said
          }
        }
      }
      if (this.#clock.nowMs() >= untilMs) {
        if (options.changes === true && heard !== undefined) throw heard
        const quorum = this.#view.quorum()
        throw new ShoalError(
          'NO_QUORUM',
          quorum,
          `no leader answered ${type.name}: a majority of the voters must be reachable ` +
            `(term ${quorum.term}, ${quorum.voters.length} voters); nothing was changed that this peer knows of`,
          { cause },
        )
      }
      const leftMs = Math.max(untilMs - this.#clock.nowMs(), 0)
      await sleep(Math.min(leftMs, pauseMs * (0.5 + this.#random.next())), options)
      pauseMs = Math.min(pauseMs * 2, LEADER_CALL.retryMaxMs)
    }
  }

  async #try<Request, Reply>(
    leader: PeerId,
    type: MessageType<Request, Reply>,
    head: Request,
    options: LeaderCallOptions & {
      /** Whether somebody else leads by now, or nobody. */
      isGone: () => boolean
      /** Who is only said to lead may be cut off like the leader that was: if it is not known to lead by then, that was it. */
      guessMs: number | undefined
    },
  ): Promise<Reply> {
    using deadline = withDeadline(`${type.name} at the leader`, LEADER_CALL.tryTimeoutMs, options.signal)
    const superseded = new AbortController()
    const unwatch = this.#view.onLeader?.(() => {
      if (!options.isGone()) return
      const { term } = this.#view.quorum()
      superseded.abort(new ShoalError('STALE_LEADER', { term: term - 1, seen: term }))
    })
    const guess =
      options.guessMs === undefined
        ? undefined
        : setTimeout(() => {
            if (this.#view.leader() === leader) return
            superseded.abort(
              new ShoalError('TIMEOUT', {
                what: `${type.name} at a peer that may lead`,
                timeoutMs: options.guessMs!,
              }),
            )
          }, options.guessMs)
    const signal = AbortSignal.any([deadline, superseded.signal])
    const { body } = options
    try {
      const reply = await raceAbort(
        this.#transport.call(leader, type, head, {
          signal,
          timeoutMs: LEADER_CALL.tryTimeoutMs,
          ...(body === undefined ? {} : { body: bodyOf(body) }),
        }),
        signal,
      )
      return reply.head
    } finally {
      unwatch?.()
      clearTimeout(guess)
    }
  }
}
