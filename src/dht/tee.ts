import { ShoalError } from '../base/index.ts'

export interface TeeOptions {
  /** Bytes queued for the slowest reader before the writer waits. */
  queueBytes: number
  /** While no more than this has gone through, a new reader can still start from the beginning. */
  replayBytes: number
  /** A reader that holds the others up for this long without taking a byte is dropped; all of them together, after `STALLS_MAX` times this. */
  stallMs: number
}

/** Stall times that all readers together are given. */
const STALLS_MAX = 6

/**
 * One stream of bytes to several readers at once. The slowest reader sets the pace, for the queue of each is bounded;
 * a reader that stands still while others wait for it is dropped with TIMEOUT. Chunks are shared, not copied, so the
 * memory held is that of the slowest queue and of the replay prefix.
 */
export class Tee {
  readonly #options: TeeOptions
  readonly #branches = new Set<TeeBranch>()
  /** What has gone through, for readers to come; undefined once it is too much to keep. */
  #prefix: Uint8Array[] | undefined = []
  #state: 'open' | 'ended' | 'failed' = 'open'
  #error: Error | undefined
  #bytes = 0
  #progress = Promise.withResolvers<void>()

  constructor(options: TeeOptions) {
    this.#options = options
  }

  /** Bytes pushed so far. */
  get bytes(): number {
    return this.#bytes
  }

  /** True while `branch` gives a reader that sees every byte. */
  get replayable(): boolean {
    return this.#prefix !== undefined && this.#state !== 'failed'
  }

  /** A reader from the first byte on; undefined when the first bytes are gone already. */
  branch(): TeeBranch | undefined {
    if (this.#prefix === undefined || this.#state === 'failed') return undefined
    const branch = new TeeBranch(() => this.#onProgress())
    for (const chunk of this.#prefix) branch.put(chunk)
    if (this.#state === 'ended') branch.end()
    this.#branches.add(branch)
    return branch
  }

  /** Hands the chunk to all readers and waits until each has room for more. */
  async push(chunk: Uint8Array): Promise<void> {
    if (this.#state !== 'open')
      throw this.#error ?? new ShoalError('INTERNAL', { reason: 'push after the end of a tee' })
    this.#bytes += chunk.byteLength
    if (this.#prefix !== undefined) {
      if (this.#bytes > this.#options.replayBytes) this.#prefix = undefined
      else this.#prefix.push(chunk)
    }
    for (const branch of this.#branches) branch.put(chunk)
    await this.#room()
  }

  /** No more bytes: readers end after what they still have queued. */
  end(): void {
    if (this.#state !== 'open') return
    this.#state = 'ended'
    for (const branch of this.#branches) branch.end()
  }

  /** Readers throw at once; what is queued is of no use any more. */
  fail(error: Error): void {
    if (this.#state === 'failed') return
    this.#state = 'failed'
    this.#error = error
    this.#prefix = undefined
    for (const branch of this.#branches) branch.fail(error)
    this.#onProgress()
  }

  async #room(): Promise<void> {
    for (let stalls = 0; ;) {
      const full = this.#full()
      if (full.length === 0) return
      if (await this.#progressWithin(this.#options.stallMs)) {
        stalls = 0
        continue
      }
      // When nobody gets on the fault may be here, and nobody waits for anybody else.
      if (full.length === this.#branches.size && ++stalls < STALLS_MAX) continue
      for (const branch of full) {
        branch.fail(
          new ShoalError(
            'TIMEOUT',
            { what: 'a replica to take bytes', timeoutMs: this.#options.stallMs },
            `a replica took no byte for ${this.#options.stallMs} ms and is left behind`,
          ),
        )
      }
    }
  }

  #full(): TeeBranch[] {
    const full: TeeBranch[] = []
    for (const branch of this.#branches) {
      if (branch.closed) this.#branches.delete(branch)
      else if (branch.queuedBytes >= this.#options.queueBytes) full.push(branch)
    }
    return full
  }

  /** False when no reader took anything and none went away in this time. */
  async #progressWithin(timeoutMs: number): Promise<boolean> {
    const stalled = Promise.withResolvers<boolean>()
    const timer = setTimeout(() => stalled.resolve(false), timeoutMs)
    try {
      return await Promise.race([this.#progress.promise.then(() => true), stalled.promise])
    } finally {
      clearTimeout(timer)
    }
  }

  #onProgress(): void {
    this.#progress.resolve()
    this.#progress = Promise.withResolvers<void>()
  }
}

/** One reader of a tee: iterate it once. */
export class TeeBranch implements AsyncIterableIterator<Uint8Array, undefined> {
  readonly #onTake: () => void
  #queue: Uint8Array[] = []
  #queuedBytes = 0
  #state: 'open' | 'ended' | 'failed' | 'closed' = 'open'
  #error: Error | undefined
  #waiting: PromiseWithResolvers<IteratorResult<Uint8Array, undefined>> | undefined

  /** @param onTake called whenever the queue shrinks or the reader goes away. */
  constructor(onTake: () => void) {
    this.#onTake = onTake
  }

  get queuedBytes(): number {
    return this.#queuedBytes
  }

  /** True when it takes no more: the reader went away or was dropped. */
  get closed(): boolean {
    return this.#state === 'failed' || this.#state === 'closed'
  }

  put(chunk: Uint8Array): void {
    if (this.#state !== 'open') return
    if (this.#waiting === undefined) {
      this.#queue.push(chunk)
      this.#queuedBytes += chunk.byteLength
    } else {
      this.#settle({ value: chunk, done: false })
    }
  }

  end(): void {
    if (this.#state !== 'open') return
    this.#state = 'ended'
    this.#settle({ value: undefined, done: true })
  }

  fail(error: Error): void {
    if (this.closed) return
    this.#state = 'failed'
    this.#error = error
    this.#drop()
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.reject(error)
    this.#onTake()
  }

  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#state === 'failed') return Promise.reject(this.#error ?? new Error('failed'))
    const chunk = this.#queue.shift()
    if (chunk !== undefined) {
      this.#queuedBytes -= chunk.byteLength
      this.#onTake()
      return Promise.resolve({ value: chunk, done: false })
    }
    if (this.#state !== 'open') return Promise.resolve({ value: undefined, done: true })
    this.#waiting = Promise.withResolvers()
    return this.#waiting.promise
  }

  return(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (!this.closed) {
      this.#state = 'closed'
      this.#drop()
      this.#settle({ value: undefined, done: true })
      this.#onTake()
    }
    return Promise.resolve({ value: undefined, done: true })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #drop(): void {
    this.#queue = []
    this.#queuedBytes = 0
  }

  #settle(result: IteratorResult<Uint8Array, undefined>): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.resolve(result)
  }
}
