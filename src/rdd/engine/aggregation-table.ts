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
  /** By slot: index into keys + 1, or 0 when free; and the raw hash of that key. */
  #entries = new Int32Array(SLOTS_MIN)
  #hashes = new Int32Array(SLOTS_MIN)
  #mask = SLOTS_MIN - 1

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
    const mask = this.#mask
    for (let slot = tableMix(hash) & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#entries[slot]!
      if (entry === 0) return this.#insert(hash, slot, retainedString(key), 2 * key.length)
      if (this.#hashes[slot] === hash && this.keys[entry - 1] === key) return entry - 1
    }
  }

  #locateNumber(key: number): number {
    const hash = hashNumber(key)
    const mask = this.#mask
    for (let slot = tableMix(hash) & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#entries[slot]!
      // Adding 0 turns -0 into 0.
      if (entry === 0) return this.#insert(hash, slot, key + 0, 0)
      if (this.#hashes[slot] === hash) {
        const known = this.keys[entry - 1]
        if (known === key || (key !== key && known !== known)) return entry - 1
      }
    }
  }

  #locateContent(key: unknown): number {
    const hash = hashKey(key)
    const mask = this.#mask
    for (let slot = tableMix(hash) & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#entries[slot]!
      if (entry === 0) return this.#insert(hash, slot, key, estimateBytes(key))
      if (this.#hashes[slot] === hash && keyEquals(this.keys[entry - 1], key)) return entry - 1
    }
  }

  /** Raw hash of each key, in the order of keys. */
  keyHashes(): Int32Array {
    const hashes = new Int32Array(this.keys.length)
    for (let slot = 0; slot <= this.#mask; slot++) {
      const entry = this.#entries[slot]!
      if (entry !== 0) hashes[entry - 1] = this.#hashes[slot]!
    }
    return hashes
  }

  /** Empty again, with new arrays: whoever holds the old ones keeps them. */
  clear(): void {
    this.keys = []
    this.values = []
    this.#entries = new Int32Array(SLOTS_MIN)
    this.#hashes = new Int32Array(SLOTS_MIN)
    this.#mask = SLOTS_MIN - 1
    this.#memory.resize(0)
  }

  #insert(hash: number, slot: number, key: unknown, keyBytes: number): number {
    this.#memory.grow(ENTRY_BYTES + keyBytes)
    const entry = this.keys.push(key)
    if (entry > (this.#mask + 1) * LOAD_MAX) {
      this.#grow()
      this.#place(hash, entry)
    } else {
      this.#entries[slot] = entry
      this.#hashes[slot] = hash
    }
    return -entry
  }

  #place(hash: number, entry: number): void {
    let slot = tableMix(hash) & this.#mask
    while (this.#entries[slot] !== 0) slot = (slot + 1) & this.#mask
    this.#entries[slot] = entry
    this.#hashes[slot] = hash
  }

  #grow(): void {
    const entries = this.#entries
    const hashes = this.#hashes
    this.#entries = new Int32Array(entries.length * 2)
    this.#hashes = new Int32Array(entries.length * 2)
    this.#mask = entries.length * 2 - 1
    for (let slot = 0; slot < entries.length; slot++) {
      const entry = entries[slot]!
      if (entry !== 0) this.#place(hashes[slot]!, entry)
    }
  }
}
