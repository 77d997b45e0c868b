import { ShoalError } from '../../base/index.ts'

export interface InboundBodyOptions {
  /** Names the body in errors. */
  what: string
  /** Nothing taken by the reader, or nothing given by the sender while the reader waits, for this long: the body fails with TIMEOUT. */
  idleTimeoutMs: number
  /** The reader took this many bytes: the sender may send as many more. */
  onTake(bytes: number): void
  /** The reader gave up before the end, or the idle limit passed: the sender should stop. */
  onCancel(): void
  /** No chunk is held any more and none will come: called once, whatever the way it ended. */
  onSettled?(): void
}

/** Smaller chunks that wait together are handed on as one of up to this size, larger ones as they came. */
const TAKE_BYTES = 256 * 1024
const DONE: IteratorResult<Uint8Array> = { value: undefined, done: true }

/**
 * The reading end of a streamed body: one reader, in order. It holds at most the credit that the sender was given; it
 * ends only when the sender said so, and a failure drops what is still queued, for half a body is of no use.
 *
 * The wire brings pieces of 16 KiB at most (TLS records), several in one turn of the event loop. What a reader does for
 * each piece costs more than to copy it, so one that waits is woken when the turn is over, with all of them as one.
 */
export class InboundBody implements AsyncIterable<Uint8Array>, AsyncIterator<Uint8Array, undefined> {
  readonly #options: InboundBodyOptions
  #chunks: Uint8Array[] = []
  #taken = 0
  #queuedBytes = 0
  #delivery: NodeJS.Immediate | undefined
  #state: 'open' | 'ended' | 'failed' | 'cancelled' = 'open'
  #error: Error | undefined
  #waiting: PromiseWithResolvers<IteratorResult<Uint8Array, undefined>> | undefined
  #settled = false
  readonly #idle: NodeJS.Timeout

  constructor(options: InboundBodyOptions) {
    this.#options = options
    this.#idle = setTimeout(() => this.#onIdle(), options.idleTimeoutMs)
    this.#idle.unref()
  }

  /** True while chunks may still come. */
  get open(): boolean {
    return this.#state === 'open'
  }

  push(chunk: Uint8Array): void {
    if (this.#state !== 'open') return
    this.#chunks.push(chunk)
    this.#queuedBytes += chunk.byteLength
    if (this.#waiting === undefined) return
    if (this.#queuedBytes >= TAKE_BYTES) this.#deliver()
    else this.#delivery ??= setImmediate(() => this.#deliver())
  }

  end(): void {
    if (this.#state !== 'open') return
    this.#state = 'ended'
    if (this.#taken < this.#chunks.length) return this.#deliver()
    this.#settle()
    this.#waiting?.resolve(DONE as IteratorResult<Uint8Array, undefined>)
    this.#waiting = undefined
  }

  fail(error: Error): void {
    if (this.#state === 'failed' || this.#state === 'cancelled' || this.#settled) return
    this.#state = 'failed'
    this.#error = error
    this.#settle()
    this.#waiting?.reject(error)
    this.#waiting = undefined
  }

  /** Stops reading: the sender is told, later chunks are dropped. Harmless after the end. */
  cancel(): void {
    if (this.#state === 'failed' || this.#state === 'cancelled' || this.#settled) return
    const toldNobodyYet = this.#state === 'open'
    this.#state = 'cancelled'
    this.#settle()
    this.#waiting?.resolve(DONE as IteratorResult<Uint8Array, undefined>)
    this.#waiting = undefined
    if (toldNobodyYet) this.#options.onCancel()
  }

  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#taken < this.#chunks.length) return Promise.resolve({ value: this.#take(), done: false })
    if (this.#error !== undefined) return Promise.reject(this.#error)
    if (this.#state !== 'open') return Promise.resolve({ value: undefined, done: true })
    if (this.#waiting !== undefined) {
      return Promise.reject(new ShoalError('INTERNAL', { reason: `${this.#options.what} has two readers` }))
    }
    this.#idle.refresh()
    this.#waiting = Promise.withResolvers()
    return this.#waiting.promise
  }

  return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.cancel()
    return Promise.resolve({ value: undefined, done: true })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** Wakes the reader, if one waits, with what is there. */
  #deliver(): void {
    clearImmediate(this.#delivery)
    this.#delivery = undefined
    const waiting = this.#waiting
    if (waiting === undefined || this.#taken === this.#chunks.length) return
    this.#waiting = undefined
    waiting.resolve({ value: this.#take(), done: false })
  }

  #take(): Uint8Array {
    const first = this.#taken
    let bytes = this.#chunks[this.#taken++]!.byteLength
    while (this.#taken < this.#chunks.length) {
      const together = bytes + this.#chunks[this.#taken]!.byteLength
      if (together > TAKE_BYTES) break
      bytes = together
      this.#taken += 1
    }
    const chunks = this.#chunks.slice(first, this.#taken)
    if (this.#taken === this.#chunks.length) {
      this.#chunks = []
      this.#taken = 0
      if (this.#state === 'ended') this.#settle()
    }
    this.#queuedBytes -= bytes
    if (!this.#settled) this.#idle.refresh()
    this.#options.onTake(bytes)
    return chunks.length === 1 ? chunks[0]! : joined(chunks, bytes)
  }

  #onIdle(): void {
    const { what, idleTimeoutMs } = this.#options
    const idler = this.#waiting === undefined ? 'was not read' : 'brought nothing'
    const wasOpen = this.#state === 'open'
    this.fail(
      new ShoalError(
        'TIMEOUT',
        { what, timeoutMs: idleTimeoutMs },
        `${what} ${idler} for ${idleTimeoutMs} ms`,
      ),
    )
    if (wasOpen) this.#options.onCancel()
  }

  #settle(): void {
    if (this.#settled) return
    this.#settled = true
    this.#chunks = []
    this.#taken = 0
    clearTimeout(this.#idle)
    clearImmediate(this.#delivery)
    this.#options.onSettled?.()
  }
}

/** In memory of its own, not of Node's pool: it may be handed on to a worker. */
function joined(chunks: readonly Uint8Array[], bytes: number): Uint8Array {
  const whole = Buffer.allocUnsafeSlow(bytes)
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.byteLength
  }
  return whole
}
