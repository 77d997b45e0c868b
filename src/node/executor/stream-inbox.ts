import { ShoalError } from '../../base/index.ts'

interface Chunk {
  bytes: Uint8Array
  map: number | undefined
}

interface Stream {
  chunks: Chunk[]
  ended: boolean
  error: Error | undefined
  wake: (() => void) | undefined
}

/**
 * Streams that arrive in a worker as messages, to be read as async iterables. What is read is reported as consumed,
 * which is the sender's credit: at most that many bytes wait here.
 */
export class StreamInbox {
  readonly #streams = new Map<number, Stream>()
  readonly #onConsumed: (stream: number, bytes: number) => void
  readonly #onClosed: (stream: number) => void
  #next = 1

  constructor(options: {
    onConsumed: (stream: number, bytes: number) => void
    /** The reader stopped before the end. */
    onClosed: (stream: number) => void
  }) {
    this.#onConsumed = options.onConsumed
    this.#onClosed = options.onClosed
  }

  open(): number {
    const id = this.#next++
    this.#streams.set(id, { chunks: [], ended: false, error: undefined, wake: undefined })
    return id
  }

  push(id: number, bytes: Uint8Array, map: number | undefined): void {
    const stream = this.#streams.get(id)
    if (stream === undefined) return
    stream.chunks.push({ bytes, map })
    stream.wake?.()
  }

  end(id: number): void {
    const stream = this.#streams.get(id)
    if (stream === undefined) return
    stream.ended = true
    stream.wake?.()
  }

  fail(id: number, error: Error): void {
    const stream = this.#streams.get(id)
    if (stream === undefined) return
    stream.error = error
    stream.wake?.()
  }

  async *read(id: number): AsyncGenerator<Chunk> {
    const stream = this.#streams.get(id)
    if (stream === undefined) return
    let finished = false
    try {
      for (;;) {
        const chunk = stream.chunks.shift()
        if (chunk !== undefined) {
          this.#onConsumed(id, chunk.bytes.byteLength)
          yield chunk
          continue
        }
        if (stream.error !== undefined || stream.ended) {
          finished = true
          if (stream.error !== undefined) throw stream.error
          return
        }
        await new Promise<void>(resolve => {
          stream.wake = resolve
        })
        stream.wake = undefined
      }
    } finally {
      this.#streams.delete(id)
      if (!finished) this.#onClosed(id)
    }
  }

  /** The task is over: whatever still waits is nobody's. */
  closeAll(): void {
    for (const [id, stream] of this.#streams) {
      stream.error = new ShoalError('CANCELLED', { what: 'a stream of an ended task' })
      stream.wake?.()
      if (!stream.ended) this.#onClosed(id)
    }
    this.#streams.clear()
  }
}
