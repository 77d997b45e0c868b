import { hashKey } from './engine/hashing.ts'
import { keyEquals } from './engine/key-equality.ts'

/**
 * A map whose keys are compared by content (key-equality.ts), in order of first insertion. Primitives take the way of
 * Map, which has the same equality; containers go by their content hash.
 */
export class KeyedMap<K, V> {
  readonly #entries: [K, V][] = []
  readonly #primitives = new Map<K, number>()
  readonly #containers = new Map<number, number[]>()

  get(key: K): V | undefined {
    const index = this.#find(key)
    return index < 0 ? undefined : this.#entries[index]![1]
  }

  set(key: K, value: V): void {
    const index = this.#find(key)
    if (index >= 0) this.#entries[index]![1] = value
    else this.#insert(key, value)
  }

  /** Puts `change` of the value, or of `initial` where there is none: one look-up. */
  update(key: K, initial: V, change: (value: V) => V): void {
    const index = this.#find(key)
    if (index < 0) this.#insert(key, change(initial))
    else {
      const entry = this.#entries[index]!
      entry[1] = change(entry[1])
    }
  }

  entries(): readonly (readonly [K, V])[] {
    return this.#entries
  }

  /** An ordinary Map with the first key of each content. */
  toMap(): Map<K, V> {
    return new Map(this.#entries)
  }

  #find(key: K): number {
    if (typeof key !== 'object' || key === null) return this.#primitives.get(key) ?? -1
    return this.#containers.get(hashKey(key))?.find(index => keyEquals(this.#entries[index]![0], key)) ?? -1
  }

  #insert(key: K, value: V): void {
    const index = this.#entries.push([key, value]) - 1
    if (typeof key !== 'object' || key === null) {
      this.#primitives.set(key, index)
      return
    }
    const hash = hashKey(key)
    const bucket = this.#containers.get(hash)
    if (bucket === undefined) this.#containers.set(hash, [index])
    else bucket.push(index)
  }
}
