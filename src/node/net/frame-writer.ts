import { encodeFrame, encodeHeader, FRAME } from './frame-codec.ts'
import { tooLarge } from './refusals.ts'

/** The duplex byte stream under a channel. */
export interface DuplexPort {
  /** Queues bytes, uncopied. False: full, wait for `onDrain`. May throw once the port is closed. */
  send(bytes: Uint8Array): boolean
  /** Bytes queued here that the remote has not taken. */
  readonly queuedBytes: number
  onBytes(listener: (bytes: Uint8Array) => void): void
  onDrain(listener: () => void): void
  /** Once, whoever closed it. */
  onClose(listener: (error?: Error) => void): void
  /** Writes what is queued, then closes. */
  close(): void
  abort(error: Error): void
}

export interface FrameWriterOptions {
  port: DuplexPort
  /** Names the remote in errors. */
  remote: string
  /** Bytes queued for a remote that does not read; past it the remote is given up. */
  outboundBytesMax: number
  /** The port cannot be written to any more, or the remote does not read. */
  onFailure(error: Error): void
}

/** Payloads below this are copied behind their header: one write is cheaper than two (above it two are: measured). */
const COPY_BYTES_MAX = 16 * 1024

/**
 * The writing half of a channel: heads and bodies wait in turn while the port is full, control frames go at once. Small
 * frames of one turn of the event loop go out together, for each write below costs a TLS record, a system call, and
 * a wake-up of the remote.
 */
export class FrameWriter {
  readonly #options: FrameWriterOptions
  readonly #port: DuplexPort
  /** Bounded by the calls, answers, bodies and notes under way: each waits with one write. */
  #waiting: (() => void)[] = []
  #blocked = false
  #closed = false
  /** Frames of this turn of the event loop, at most COPY_BYTES_MAX and the last one. */
  #batch: Uint8Array[] = []
  #batchBytes = 0
  #flushing: NodeJS.Immediate | undefined

  constructor(options: FrameWriterOptions) {
    this.#options = options
    this.#port = options.port
    this.#port.onDrain(() => this.#onDrain())
  }

  /** Runs `write` now, or in turn once the port takes more; false = later. A closed writer runs it in vain. */
  whenWritable(write: () => void): boolean {
    if (this.#closed || (!this.#blocked && this.#waiting.length === 0)) {
      write()
      return true
    }
    this.#waiting.push(write)
    return false
  }

  /** What waits in vain is let go: a remote that reads nothing must not make its cancelled calls pile up. */
  forget(write: () => void): void {
    const at = this.#waiting.indexOf(write)
    if (at >= 0) this.#waiting.splice(at, 1)
  }

  /** Called inside `whenWritable`. */
  write(bytes: Uint8Array): void {
    if (this.#closed) return
    if (bytes.byteLength > COPY_BYTES_MAX) {
      this.#flush()
      this.#send(bytes)
      return
    }
    this.#batch.push(bytes)
    this.#batchBytes += bytes.byteLength
    if (this.#batchBytes > COPY_BYTES_MAX) this.#flush()
    else this.#flushing ??= setImmediate(() => this.#flush())
  }

  /** Called inside `whenWritable`. */
  data(id: number, bytes: Uint8Array): void {
    if (bytes.byteLength <= COPY_BYTES_MAX) return this.write(encodeFrame(FRAME.data, id, bytes))
    this.write(encodeHeader(FRAME.data, id, bytes.byteLength))
    this.write(bytes)
  }

  /** A frame that must not wait; a remote that makes us write such without end and reads nothing is given up. */
  control(frame: Uint8Array): void {
    const { remote, outboundBytesMax } = this.#options
    const { queuedBytes } = this.#port
    if (this.#closed || queuedBytes <= outboundBytesMax) return this.write(frame)
    this.#options.onFailure(tooLarge(`queue to ${remote}`, queuedBytes, outboundBytesMax))
  }

  /** What was written goes out; nothing is written any more, and what waits is let go. */
  close(): void {
    this.#closed = true
    this.#flush()
    const waiting = this.#waiting
    this.#waiting = []
    for (const write of waiting) write()
  }

  #flush(): void {
    clearImmediate(this.#flushing)
    this.#flushing = undefined
    const batch = this.#batch
    if (batch.length === 0) return
    this.#batch = []
    this.#batchBytes = 0
    this.#send(batch.length === 1 ? batch[0]! : Buffer.concat(batch))
  }

  #send(bytes: Uint8Array): void {
    try {
      if (!this.#port.send(bytes)) this.#blocked = true
    } catch (error) {
      // A writer that is closed writes its last words, heard or not.
      if (!this.#closed) this.#options.onFailure(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #onDrain(): void {
    this.#blocked = false
    while (!this.#blocked) {
      const write = this.#waiting.shift()
      if (write === undefined) return
      write()
    }
  }
}
