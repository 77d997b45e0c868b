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

const DONE: IteratorResult<Uint8Array> = { value: undefined, done: true }

/**
 * The reading end of a streamed body: one reader, in order. It holds at most the credit that the sender was given; it
 * ends only when the sender said so, and a failure drops what is still queued, for half a body is of no use.
 */
export class InboundBody implements AsyncIterable<Uint8Array>, AsyncIterator<Uint8Array, undefined> {
  readonly #options: InboundBodyOptions
  #chunks: Uint8Array[] = []
  #taken = 0
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
    const waiting = this.#waiting
    if (waiting === undefined) {
      this.#chunks.push(chunk)
      return
    }
    this.#waiting = undefined
    this.#idle.refresh()
    this.#options.onTake(chunk.byteLength)
    waiting.resolve({ value: chunk, done: false })
  }

  end(): void {
    if (this.#state !== 'open') return
    this.#state = 'ended'
    if (this.#taken < this.#chunks.length) return
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
    if (this.#taken < this.#chunks.length) {
      const chunk = this.#chunks[this.#taken]!
      this.#taken += 1
      if (this.#taken === this.#chunks.length) {
        this.#chunks = []
        this.#taken = 0
        if (this.#state === 'ended') this.#settle()
      }
      if (!this.#settled) this.#idle.refresh()
      this.#options.onTake(chunk.byteLength)
      return Promise.resolve({ value: chunk, done: false })
    }
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
    this.#options.onSettled?.()
  }
}
