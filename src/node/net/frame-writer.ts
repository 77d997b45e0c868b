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

/** The writing half of a channel: heads and bodies wait in turn while the port is full, control frames go at once. */
export class FrameWriter {
  readonly #options: FrameWriterOptions
  readonly #port: DuplexPort
  /** Bounded by the calls, answers, bodies and notes under way: each waits with one write. */
  #waiting: (() => void)[] = []
  #blocked = false
  #closed = false

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

  /** Called inside `whenWritable`. */
  write(bytes: Uint8Array): void {
    if (this.#closed) return
    try {
      if (!this.#port.send(bytes)) this.#blocked = true
    } catch (error) {
      this.#options.onFailure(error instanceof Error ? error : new Error(String(error)))
    }
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
    if (this.#closed || this.#port.queuedBytes <= outboundBytesMax) return this.write(frame)
    this.#options.onFailure(tooLarge(`queue to ${remote}`, this.#port.queuedBytes, outboundBytesMax))
  }

  /** Nothing is written any more; what waits is let go. */
  close(): void {
    this.#closed = true
    const waiting = this.#waiting
    this.#waiting = []
    for (const write of waiting) write()
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
