import type { PeerId } from '../base/index.ts'
import { forget } from './file-ports.ts'
import type { HedgePolicy } from './hedge-policy.ts'

/** Opens a block at a holder, from this byte on. The signal ends it for good. */
export type OpenSource = (peer: PeerId, at: number, signal: AbortSignal) => AsyncIterator<Uint8Array, unknown>

export interface HedgedStreamParts {
  open: OpenSource
  policy: HedgePolicy
  /** Whom to ask from byte `at` on when the present holder lets wait. */
  spare(at: number): PeerId | undefined
  /** The holder was overtaken by another one. */
  onSlow(peer: PeerId): void
  /** One of two holders that were asked failed, and the other goes on or fails too. */
  onFailed(peer: PeerId, error: unknown): void
}

interface Source {
  peer: PeerId
  iterator: AsyncIterator<Uint8Array, unknown>
  controller: AbortController
  /** The answer under way, if any. */
  answer: Promise<Answer> | undefined
}

type Answer = { source: Source; chunk: Uint8Array | undefined } | { source: Source; error: unknown }

/**
 * The bytes of a block from one holder, or from a second one that is asked when the first lets wait too long: whoever answers
 * first goes on alone, and the other is cancelled.
 */
export class HedgedStream implements Disposable {
  readonly #parts: HedgedStreamParts
  #source: Source
  #first = true

  constructor(parts: HedgedStreamParts, peer: PeerId, at: number) {
    this.#parts = parts
    this.#source = this.#open(peer, at)
  }

  /** The holder that gave the last chunk, or is asked for the first. */
  get peer(): PeerId {
    return this.#source.peer
  }

  /** The next bytes, which begin at byte `at` of the block; undefined at the end. Rejects with the error of the present holder. */
  async next(at: number): Promise<Uint8Array | undefined> {
    const { policy } = this.#parts
    const beganMs = performance.now()
    let answer = await this.#within(this.#ask(this.#source), policy.delayMs)
    answer ??= await this.#hedge(at)
    if (this.#first) policy.observe(performance.now() - beganMs)
    this.#first = false
    answer.source.answer = undefined
    if ('error' in answer) throw answer.error
    return answer.chunk
  }

  /** Cancels what is under way. */
  [Symbol.dispose](): void {
    this.#end(this.#source)
  }

  /** The present holder is late: its answer, or that of another one if that is sooner. */
  async #hedge(at: number): Promise<Answer> {
    const { policy } = this.#parts
    const late = this.#source
    const peer = this.#parts.spare(at)
    if (peer === undefined || !policy.take()) return await this.#ask(late)
    const spare = this.#open(peer, at)
    const first = await Promise.race([this.#ask(late), this.#ask(spare)])
    let answer = first
    if (!isGood(first)) {
      // Only bytes win: a holder that fails must not end the read while the other may go on.
      const second = await this.#ask(first.source === late ? spare : late)
      answer = isGood(second) || first.source === spare ? second : first
      const lost = answer === first ? second : first
      if ('error' in lost) this.#parts.onFailed(lost.source.peer, lost.error)
    }
    this.#source = answer.source
    if (answer.source === spare) {
      policy.won()
      this.#parts.onSlow(late.peer)
    }
    this.#end(answer.source === spare ? late : spare)
    return answer
  }

  #open(peer: PeerId, at: number): Source {
    const controller = new AbortController()
    const iterator = this.#parts.open(peer, at, controller.signal)
    return { peer, iterator, controller, answer: undefined }
  }

  /** Never rejects. While an answer is under way nothing more is asked. */
  #ask(source: Source): Promise<Answer> {
    source.answer ??= source.iterator.next().then(
      result => ({ source, chunk: result.done === true ? undefined : result.value }),
      (error: unknown) => ({ source, error }),
    )
    return source.answer
  }

  #end(source: Source): void {
    source.controller.abort()
    forget(source.iterator.return?.())
  }

  async #within(answer: Promise<Answer>, timeoutMs: number): Promise<Answer | undefined> {
    const late = Promise.withResolvers<undefined>()
    const timer = setTimeout(() => late.resolve(undefined), timeoutMs)
    try {
      return await Promise.race([answer, late.promise])
    } finally {
      clearTimeout(timer)
    }
  }
}

function isGood(answer: Answer): boolean {
  return 'chunk' in answer && answer.chunk !== undefined
}
