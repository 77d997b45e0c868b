import { estimateBytes } from '../codec/index.ts'
import { hashKey, hashNumber, hashString, tableMix } from './hashing.ts'
import { keyEquals } from './key-equality.ts'
import { retained } from './retained-string.ts'
import type { MemoryHolding } from './task-memory.ts'

const SLOTS_MIN = 1 << 8
/** Grow beyond this share of used slots: linear probing stays short. */
const LOAD_MAX = 0.6
/** Estimated bytes of an entry besides its key's text and its value. */
const ENTRY_BYTES = 64
/** What `locate` gives for a new key that a frozen table does not take. */
export const MISSED = -0x8000_0000

/**
 * Open-addressing hash table from keys (compared by content) to values, for aggregations: about twice as fast as Map
 * (engine.md section 4), because hashes are compared before keys and growing moves 32-bit numbers only.
 *
 * `values[i]` belongs to `keys[i]`, in order of first insertion. Whoever gets a negative index from `locate` pushes the
 * value of the new key at once: it stands at `~index`. A table that is refused memory freezes: it takes no new key any
 * more, `locate` gives MISSED for them, and whoever called sees to the pair.
 */
export class AggregationTable {
  keys: unknown[] = []
  values: unknown[] = []
  /** Raw hash of the key that was MISSED last. */
  missedHash = 0
  readonly #memory: MemoryHolding
  readonly #freezes: boolean
  #frozen = false
  #restoring = false
  /**
   * Two numbers per slot, side by side for the cache: index into keys + 1, or 0 when free; raw hash of that key.
   * Positions are even; the mask keeps them so.
   */
  #slots = new Int32Array(2 * SLOTS_MIN)
  #mask = 2 * (SLOTS_MIN - 1)

  /**
   * @param memory Charged for every new key.
   * @param options.freezes When it is refused memory. Otherwise it holds its keys whatever the limits say, and who fills
   *   it has a bound of his own.
   */
  constructor(memory: MemoryHolding, options: { freezes: boolean }) {
    this.#memory = memory
    this.#freezes = options.freezes
  }

  get size(): number {
    return this.keys.length
  }

  /** Index of the key, or `~index` of the place just made for it. */
  locate(key: unknown): number {
    if (typeof key === 'string') return this.locateString(key)
    if (typeof key === 'number') return this.#locateNumber(key)
    return this.#locateContent(key)
  }

  locateString(key: string): number {
    const hash = hashString(key)
    const slots = this.#slots
    const mask = this.#mask
    for (let at = (tableMix(hash) << 1) & mask; ; at = (at + 2) & mask) {
      const entry = slots[at]!
      if (entry === 0) return this.#insert(hash, at, key, 2 * key.length)
      if (slots[at + 1] === hash && this.keys[entry - 1] === key) return entry - 1
    }
  }

  #locateNumber(key: number): number {
    const hash = hashNumber(key)
    const slots = this.#slots
    const mask = this.#mask
    for (let at = (tableMix(hash) << 1) & mask; ; at = (at + 2) & mask) {
      const entry = slots[at]!
      // Adding 0 turns -0 into 0.
      if (entry === 0) return this.#insert(hash, at, key + 0, 0)
      if (slots[at + 1] === hash) {
        const known = this.keys[entry - 1]
        if (known === key || (key !== key && known !== known)) return entry - 1
      }
    }
  }

  #locateContent(key: unknown): number {
    const hash = hashKey(key)
    const slots = this.#slots
    const mask = this.#mask
    for (let at = (tableMix(hash) << 1) & mask; ; at = (at + 2) & mask) {
      const entry = slots[at]!
      if (entry === 0) return this.#insert(hash, at, key, estimateBytes(key))
      if (slots[at + 1] === hash && keyEquals(this.keys[entry - 1], key)) return entry - 1
    }
  }

  /** Raw hash of each key, in the order of keys. */
  keyHashes(): Int32Array {
    const hashes = new Int32Array(this.keys.length)
    const slots = this.#slots
    for (let at = 0; at < slots.length; at += 2) {
      const entry = slots[at]!
      if (entry !== 0) hashes[entry - 1] = slots[at + 1]!
    }
    return hashes
  }

  /** Puts a key that is not there, whatever the limits say; its value is pushed as after `locate`. */
  restore(key: unknown): void {
    this.#restoring = true
    this.locate(key)
    this.#restoring = false
  }

  /** Takes no new key from now on. */
  freeze(): void {
    this.#frozen = true
  }

  /** Empty again and not frozen, with new arrays: whoever holds the old ones keeps them. */
  clear(): void {
    this.#frozen = false
    this.keys = []
    this.values = []
    this.#slots = new Int32Array(2 * SLOTS_MIN)
    this.#mask = 2 * (SLOTS_MIN - 1)
    this.#memory.tryResize(0)
  }

  #insert(hash: number, at: number, key: unknown, keyBytes: number): number {
    if (this.#frozen || !this.#takes(ENTRY_BYTES + keyBytes)) {
      this.#frozen = true
      this.missedHash = hash
      return MISSED
    }
    const entry = this.keys.push(retained(key))
    if (2 * entry > this.#slots.length * LOAD_MAX) {
      this.#grow()
      this.#place(hash, entry)
    } else {
      this.#slots[at] = entry
      this.#slots[at + 1] = hash
    }
    return -entry
  }

  /** The first key always has room: without any, nothing would ever end. */
  #takes(bytes: number): boolean {
    if (this.#memory.tryGrow(bytes)) return true
    if (this.#freezes && this.keys.length > 0 && !this.#restoring) return false
    this.#memory.hold(bytes)
    return true
  }

  #place(hash: number, entry: number): void {
    const slots = this.#slots
    const mask = this.#mask
    let at = (tableMix(hash) << 1) & mask
    while (slots[at] !== 0) at = (at + 2) & mask
    slots[at] = entry
    slots[at + 1] = hash
  }

  #grow(): void {
    const old = this.#slots
    this.#slots = new Int32Array(2 * old.length)
    this.#mask = 2 * old.length - 2
    for (let at = 0; at < old.length; at += 2) {
      const entry = old[at]!
      if (entry !== 0) this.#place(old[at + 1]!, entry)
    }
  }
}
