import { estimateBytes } from '../codec/index.ts'
import { hashKey, hashNumber, hashString, tableMix } from './hashing.ts'
import { keyEquals } from './key-equality.ts'
import { retainedString } from './retained-string.ts'
import type { MemoryHolding } from './task-memory.ts'

const SLOTS_MIN = 1 << 8
/** Grow beyond this share of used slots: linear probing stays short. */
const LOAD_MAX = 0.6
/** Estimated bytes of an entry besides its key's text and its value. */
const ENTRY_BYTES = 64

/**
 * Open-addressing hash table from keys (compared by content) to values, for aggregations: about twice as fast as Map
 * (engine.md section 4), because hashes are compared before keys and growing moves 32-bit numbers only.
 *
 * `values[i]` belongs to `keys[i]`, in order of first insertion. Whoever gets a negative index from `locate` pushes the
 * value of the new key at once: it stands at `~index`.
 */
export class AggregationTable {
  keys: unknown[] = []
  values: unknown[] = []
  readonly #memory: MemoryHolding
  /**
   * Two numbers per slot, side by side for the cache: index into keys + 1, or 0 when free; raw hash of that key.
   * Positions are even; the mask keeps them so.
   */
  #slots = new Int32Array(2 * SLOTS_MIN)
  #mask = 2 * (SLOTS_MIN - 1)

  /** @param memory Charged for every new key; its limit throws TASK_MEMORY. */
  constructor(memory: MemoryHolding) {
    this.#memory = memory
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
      if (entry === 0) return this.#insert(hash, at, retainedString(key), 2 * key.length)
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

  /** Empty again, with new arrays: whoever holds the old ones keeps them. */
  clear(): void {
    this.keys = []
    this.values = []
    this.#slots = new Int32Array(2 * SLOTS_MIN)
    this.#mask = 2 * (SLOTS_MIN - 1)
    this.#memory.resize(0)
  }

  #insert(hash: number, at: number, key: unknown, keyBytes: number): number {
    this.#memory.grow(ENTRY_BYTES + keyBytes)
    const entry = this.keys.push(key)
    if (2 * entry > this.#slots.length * LOAD_MAX) {
      this.#grow()
      this.#place(hash, entry)
    } else {
      this.#slots[at] = entry
      this.#slots[at + 1] = hash
    }
    return -entry
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
