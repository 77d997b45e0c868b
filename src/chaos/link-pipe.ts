import type { Socket } from 'node:net'
import type { Random } from '../base/index.ts'
import type { LinkFault } from './link-table.ts'

/** Under way at most; then the sender feels it, as it would of a full buffer in a router. */
const QUEUE_BYTES_MAX = 1 << 20
/** A limited rate lets through so much at a time. */
const PIECE_BYTES = 16 * 1024

interface Piece {
  /** Empty at the end of the stream. */
  bytes: Uint8Array
  isEnd: boolean
  dueMs: number
}

/** One direction of one connection: takes from one socket, gives to the other when the fault lets it. */
export class LinkPipe {
  readonly #source: Socket
  readonly #sink: Socket
  readonly #random: Random
  readonly #queue: Piece[] = []
  #queuedBytes = 0
  #lastDueMs = 0
  /** When the rate allows the next byte. */
  #freeMs = 0
  #fault: LinkFault
  #timer: NodeJS.Timeout | undefined
  #isBlocked = false
  #isClosed = false

  constructor(source: Socket, sink: Socket, fault: LinkFault, random: Random) {
    this.#source = source
    this.#sink = sink
    this.#fault = fault
    this.#random = random
    source.on('data', bytes => this.#take(bytes, false))
    source.on('end', () => this.#take(new Uint8Array(0), true))
    sink.on('drain', () => {
      this.#isBlocked = false
      this.#run()
    })
    this.#flow()
  }

  setFault(fault: LinkFault): void {
    this.#fault = fault
    // What was held back for a reason that is gone does not wait for it any longer.
    const nowMs = performance.now()
    const latestMs = nowMs + (fault.delayMs ?? 0) + (fault.jitterMs ?? 0)
    this.#freeMs = Math.min(this.#freeMs, nowMs)
    this.#lastDueMs = Math.min(this.#lastDueMs, latestMs)
    for (const piece of this.#queue) piece.dueMs = Math.min(piece.dueMs, latestMs)
    this.#run()
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#queue.length = 0
  }

  #take(bytes: Uint8Array, isEnd: boolean): void {
    if (this.#isClosed) return
    const { delayMs = 0, jitterMs = 0, bytesPerSecond } = this.#fault
    const wantedMs = performance.now() + delayMs + jitterMs * this.#random.next()
    // A stream keeps its order, whatever the jitter.
    this.#lastDueMs = Math.max(this.#lastDueMs, wantedMs)
    const step = bytesPerSecond === undefined ? bytes.length : PIECE_BYTES
    for (let at = 0; at < bytes.length; at += step) {
      this.#queue.push({ bytes: bytes.subarray(at, at + step), isEnd: false, dueMs: this.#lastDueMs })
    }
    if (isEnd) this.#queue.push({ bytes, isEnd, dueMs: this.#lastDueMs })
    this.#queuedBytes += bytes.length
    this.#run()
  }

  /** Gives on what is due; comes back when the next is. */
  #run(): void {
    clearTimeout(this.#timer)
    while (!this.#isClosed && !this.#isBlocked && this.#fault.stall !== true) {
      const [piece] = this.#queue
      if (piece === undefined) break
      const waitMs = Math.max(piece.dueMs, this.#freeMs) - performance.now()
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.#run(), Math.ceil(waitMs))
        break
      }
      this.#give(piece)
    }
    this.#flow()
  }

  #give({ bytes, isEnd }: Piece): void {
    this.#queue.shift()
    this.#queuedBytes -= bytes.length
    const { bytesPerSecond } = this.#fault
    if (bytesPerSecond !== undefined) {
      this.#freeMs = Math.max(this.#freeMs, performance.now()) + (bytes.length / bytesPerSecond) * 1_000
    }
    if (isEnd) this.#sink.end()
    else this.#isBlocked = !this.#sink.write(bytes)
  }

  #flow(): void {
    if (this.#isClosed) return
    if (this.#queuedBytes >= QUEUE_BYTES_MAX) this.#source.pause()
    else this.#source.resume()
  }
}
