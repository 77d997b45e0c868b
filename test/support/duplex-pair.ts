import type { DuplexPort } from '../../src/node/net/frame-writer.ts'

export interface DuplexPairOptions {
  /** Bytes queued before `send` says false. @default 1 MiB */
  highWaterBytes?: number
  /** Cuts what arrives into pieces of at most this. @default whole chunks */
  chunkBytesMax?: number
}

/** One end of an in-memory byte stream; what is sent arrives in a later turn, in order. */
export class MemoryPort implements DuplexPort {
  readonly #options: Required<DuplexPairOptions>
  #peer: MemoryPort | undefined
  #queue: Uint8Array[] = []
  #queuedBytes = 0
  #scheduled = false
  #closed = false
  #full = false
  /** While true nothing is delivered to the other end, as if its process were stopped. */
  frozen = false
  /** Greatest `queuedBytes` seen. */
  queuedBytesMax = 0
  /** All bytes that were sent. */
  sentBytes = 0
  #onBytes: (bytes: Uint8Array) => void = () => {}
  #onDrain: () => void = () => {}
  #onClose: (error?: Error) => void = () => {}

  constructor(options: DuplexPairOptions) {
    this.#options = { highWaterBytes: 1 << 20, chunkBytesMax: Infinity, ...options }
  }

  static pair(options: DuplexPairOptions = {}): [MemoryPort, MemoryPort] {
    const [a, b] = [new MemoryPort(options), new MemoryPort(options)]
    a.#peer = b
    b.#peer = a
    return [a, b]
  }

  get queuedBytes(): number {
    return this.#queuedBytes
  }

  get closed(): boolean {
    return this.#closed
  }

  send(bytes: Uint8Array): boolean {
    if (this.#closed) throw new Error('the port is closed')
    this.#queue.push(bytes)
    this.#queuedBytes += bytes.byteLength
    this.sentBytes += bytes.byteLength
    this.queuedBytesMax = Math.max(this.queuedBytesMax, this.#queuedBytes)
    this.#schedule()
    this.#full = this.#queuedBytes >= this.#options.highWaterBytes
    return !this.#full
  }

  onBytes(listener: (bytes: Uint8Array) => void): void {
    this.#onBytes = listener
  }

  onDrain(listener: () => void): void {
    this.#onDrain = listener
  }

  onClose(listener: (error?: Error) => void): void {
    this.#onClose = listener
  }

  close(): void {
    if (this.#closed) return
    this.#deliver()
    this.#end(undefined, undefined)
  }

  abort(error: Error): void {
    this.#queue = []
    this.#queuedBytes = 0
    this.#end(error, undefined)
  }

  /** As SIGKILL of the process at this end: the other sees a clean end of stream. */
  cut(): void {
    this.#queue = []
    this.#end(undefined, undefined)
  }

  thaw(): void {
    this.frozen = false
    this.#schedule()
  }

  #end(mine: Error | undefined, theirs: Error | undefined): void {
    if (this.#closed) return
    this.#closed = true
    const peer = this.#peer!
    setImmediate(() => {
      this.#onClose(mine)
      if (peer.#closed) return
      peer.#closed = true
      peer.#onClose(theirs)
    })
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      if (!this.frozen) this.#deliver()
    })
  }

  #deliver(): void {
    const queue = this.#queue
    this.#queue = []
    this.#queuedBytes = 0
    for (const bytes of queue) {
      for (let at = 0; at < bytes.byteLength; at += this.#options.chunkBytesMax) {
        if (this.#peer!.#closed) return
        // A copy, as a socket would make: what is changed after `send` must not arrive changed by luck.
        this.#peer!.#onBytes(bytes.slice(at, at + this.#options.chunkBytesMax))
      }
    }
    if (!this.#full) return
    this.#full = false
    this.#onDrain()
  }
}
