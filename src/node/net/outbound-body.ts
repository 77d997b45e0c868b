import { ShoalError } from '../../base/index.ts'

/** What a body needs of the channel that carries it. */
export interface BodyCarrier {
  /** Runs `write` now or, when the remote takes no more, as soon as it does; false = later. */
  whenWritable(write: () => void): boolean
  data(bytes: Uint8Array): void
  end(): void
  fail(error: unknown): void
  /** No more of this body will be sent, whatever the reason. Called once. */
  onDone(): void
}

export interface OutboundBodyOptions {
  what: string
  source: AsyncIterable<Uint8Array>
  carrier: BodyCarrier
  /** Greatest piece of one frame. */
  dataBytesMax: number
  /** No credit for this long: the remote's reader is stuck, and the source is let go. */
  idleTimeoutMs: number
}

/**
 * The sending end of a streamed body: pulls its source only as fast as the remote grants credit. The source's chunks
 * are sent uncopied, so they must not change after they were yielded.
 */
export class OutboundBody {
  readonly #options: OutboundBodyOptions
  readonly #iterator: AsyncIterator<Uint8Array>
  #creditBytes = 0
  #stopped = false
  #onCredit: (() => void) | undefined
  #onWritten: (() => void) | undefined

  constructor(options: OutboundBodyOptions) {
    this.#options = options
    this.#iterator = options.source[Symbol.asyncIterator]()
  }

  /** Starts pulling; never rejects. */
  start(): void {
    this.#run().catch((error: unknown) => this.#give(error))
  }

  grant(bytes: number): void {
    this.#creditBytes += bytes
    this.#onCredit?.()
  }

  /** Stops sending and closes the source; harmless twice. */
  stop(): void {
    if (!this.#finish()) return
    // A source that is in the middle of something ends when that is over; nobody waits for it.
    Promise.resolve(this.#iterator.return?.()).catch(() => undefined)
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const step = await this.#iterator.next()
      if (this.#stopped) return
      if (step.done === true) {
        await this.#write(() => this.#options.carrier.end())
        this.#finish()
        return
      }
      await this.#sendChunk(step.value)
    }
  }

  async #sendChunk(chunk: Uint8Array): Promise<void> {
    let rest = chunk
    while (rest.byteLength > 0 && !this.#stopped) {
      if (this.#creditBytes === 0) {
        await this.#credited()
        continue
      }
      const piece = rest.subarray(0, Math.min(this.#creditBytes, this.#options.dataBytesMax))
      rest = rest.subarray(piece.byteLength)
      this.#creditBytes -= piece.byteLength
      const pending = this.#write(() => this.#options.carrier.data(piece))
      if (pending !== undefined) await pending
    }
  }

  /** Undefined when it is written already. */
  #write(write: () => void): Promise<void> | undefined {
    const writtenNow = this.#options.carrier.whenWritable(() => {
      if (!this.#stopped) write()
      this.#onWritten?.()
    })
    if (writtenNow) return undefined
    return new Promise(resolve => {
      this.#onWritten = () => {
        this.#onWritten = undefined
        resolve()
      }
    })
  }

  async #credited(): Promise<void> {
    const { what, idleTimeoutMs } = this.#options
    const timer = setTimeout(() => {
      this.#give(new ShoalError('TIMEOUT', { what, timeoutMs: idleTimeoutMs }, `nobody read ${what}`))
    }, idleTimeoutMs)
    try {
      await new Promise<void>(resolve => {
        this.#onCredit = resolve
      })
    } finally {
      this.#onCredit = undefined
      clearTimeout(timer)
    }
  }

  /** Gives up with an error that the reader gets to see. */
  #give(error: unknown): void {
    if (this.#stopped) return
    this.#options.carrier.fail(error)
    this.stop()
  }

  #finish(): boolean {
    if (this.#stopped) return false
    this.#stopped = true
    this.#onCredit?.()
    this.#onWritten?.()
    this.#options.carrier.onDone()
    return true
  }
}
