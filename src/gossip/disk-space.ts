import { randomFillSync } from 'node:crypto'
import { open, stat, statfs, unlink } from 'node:fs/promises'
import path from 'node:path'
import { raceAbort, ShoalError, sleep } from '../base/index.ts'
import { diskSpaceDefaults } from './config.ts'
import type { DiskSpaceOptions } from './config.ts'

/**
 * - ok: room enough, and the reserve is whole.
 * - low: nearly full, so somebody with more room should lead.
 * - reserve: a write found no room; the reserve was given up for it, and metadata lives off that.
 * - full: not even that was enough: a write waits for room.
 */
export type SpaceState = 'ok' | 'low' | 'reserve' | 'full'

/** How to open files, so that tests can make them fail. */
export type OpenFile = typeof open

const RESERVE_FILE = 'reserve'
const FILL_BYTES = 1024 * 1024

/**
 * Room on the disk of the log. A file of random bytes (a sparse one, or one that a file system compresses, would reserve
 * nothing) is kept beside the log, and deleted when a write finds the disk full: metadata is small, and deleting files, which makes
 * room, needs it. Made again when there is room again.
 */
export class DiskSpace {
  readonly #directory: string
  readonly #options: DiskSpaceOptions
  readonly #open: OpenFile
  readonly #stopped = new AbortController()
  readonly #listeners = new Set<(state: SpaceState) => void>()
  #state: SpaceState = 'ok'
  #holdsReserve = false
  #checking: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #waiting = 0

  constructor(directory: string, options: Partial<DiskSpaceOptions> = {}, openFile: OpenFile = open) {
    this.#directory = directory
    this.#options = { ...diskSpaceDefaults, ...options }
    this.#open = openFile
  }

  get state(): SpaceState {
    return this.#state
  }

  /** Called after each change, and at once when it is not `ok`. */
  onChange(listener: (state: SpaceState) => void): void {
    this.#listeners.add(listener)
    if (this.#state !== 'ok') listener(this.#state)
  }

  /** Fills the reserve and watches the disk from here on, beside everything else. */
  start(): void {
    this.#timer = setInterval(() => void this.check(), this.#options.spaceCheckMs)
    this.#timer.unref()
    void this.check()
  }

  /** Writes that wait for room reject with CANCELLED. */
  stop(): void {
    clearInterval(this.#timer)
    this.#stopped.abort(new ShoalError('CANCELLED', { what: 'waiting for room on the disk' }))
  }

  /** Resolves when nothing of it is under way any more. */
  async stopped(): Promise<void> {
    this.stop()
    await this.#checking
  }

  /**
   * Writes; when the disk is full, gives the reserve up and writes again, and then again and again until there is room.
   * @param write leaves everything as it was when it fails with ENOSPC
   */
  async use<Result>(write: () => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        return await write()
      } catch (error) {
        if (!isFull(error)) throw error
      }
      if (await this.#release()) continue
      this.#waiting++
      try {
        this.#become('full')
        await sleep(this.#options.spaceRetryMs, { signal: this.#stopped.signal })
      } finally {
        this.#waiting--
      }
      // It is found out by the next try whether there is room; `check` brings it back to `ok`.
      if (this.#waiting === 0) this.#become('reserve')
    }
  }

  /** Looks at the disk once; also on a timer. Never rejects: a disk that cannot be asked is judged by its writes. */
  async check(): Promise<void> {
    this.#checking ??= this.#check()
      .catch(() => undefined)
      .finally(() => (this.#checking = undefined))
    await this.#checking
  }

  async #check(): Promise<void> {
    const { reserveBytes, lowShare, lowBytesMax } = this.#options
    const { bavail, blocks, bsize } = await statfs(this.#directory)
    const freeBytes = bavail * bsize
    const lowBytes = Math.min(blocks * bsize * lowShare, lowBytesMax)
    if (this.#stopped.signal.aborted || this.#waiting > 0) return
    // After a full disk, room for twice the reserve: what it gave to metadata is not taken away at once.
    if (!this.#holdsReserve && freeBytes > reserveBytes * 2) await this.#fill()
    if (this.#waiting > 0) return
    if (!this.#holdsReserve && reserveBytes > 0) {
      // Given up, or never to be had: either way nothing stands between the log and a full disk.
      if (this.#state !== 'full') this.#become('reserve')
      return
    }
    this.#become(freeBytes < lowBytes ? 'low' : 'ok')
  }

  async #fill(): Promise<void> {
    const { reserveBytes } = this.#options
    const file = path.join(this.#directory, RESERVE_FILE)
    if (reserveBytes === 0) return
    const present = await stat(file).catch(() => undefined)
    if (present?.size === reserveBytes && present.blocks * 512 >= reserveBytes) {
      this.#holdsReserve = true
      return
    }
    try {
      await using handle = await this.#open(file, 'w', 0o600)
      const piece = Buffer.alloc(Math.min(FILL_BYTES, reserveBytes))
      for (let at = 0; at < reserveBytes; at += piece.byteLength) {
        this.#stopped.signal.throwIfAborted()
        randomFillSync(piece)
        await handle.appendFile(piece.subarray(0, Math.min(piece.byteLength, reserveBytes - at)))
      }
      await raceAbort(handle.sync(), this.#stopped.signal)
      this.#holdsReserve = true
    } catch (error) {
      await unlink(file).catch(() => undefined)
      throw error
    }
  }

  /** False when there is none to give up. */
  async #release(): Promise<boolean> {
    if (!this.#holdsReserve) return false
    this.#holdsReserve = false
    await unlink(path.join(this.#directory, RESERVE_FILE))
    this.#become('reserve')
    return true
  }

  #become(state: SpaceState): void {
    if (this.#state === state) return
    this.#state = state
    for (const listener of this.#listeners) listener(state)
  }
}

function isFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')
}
