import { ENGINE } from './config.ts'
import { compareValues } from './ordering.ts'

/**
 * Stable sorting by keys in the default order (ordering.ts). Numbers go by radix over all 64 bits of the key, strings by
 * radix over 48 bits behind their common prefix with ties compared (engine.md section 4), all else by TimSort.
 * Descending keeps the order of equal keys too.
 */

const DIGITS = 1 << 16
export const KEY_WORDS = 4

/** The rows in the order of their keys; `keys[i]` belongs to `rows[i]`. */
export function sortRows<T>(rows: ArrayLike<T>, keys: readonly unknown[], ascending: boolean): T[] {
  const order = sortOrder(keys, ascending)
  const sorted: T[] = []
  for (let i = 0; i < order.length; i++) sorted.push(rows[order[i]!]!)
  return sorted
}

/** Indices of the keys in sorted order. */
export function sortOrder(keys: readonly unknown[], ascending: boolean): Uint32Array {
  const order = new Uint32Array(keys.length)
  for (let i = 0; i < order.length; i++) order[i] = i
  const type = commonType(keys)
  if (type === 'number') return sortNumbers(keys as readonly number[], order, ascending)
  if (type === 'string' && keys.length >= ENGINE.radixKeysMin) {
    return sortStrings(keys as readonly string[], order, ascending)
  }
  return sortByComparing(keys, order, ascending)
}

function commonType(keys: readonly unknown[]): string {
  const type = typeof keys[0]
  for (let i = 1; i < keys.length; i++) if (typeof keys[i] !== type) return 'mixed'
  return type
}

function sortByComparing(
  keys: readonly unknown[],
  order: Uint32Array<ArrayBuffer>,
  ascending: boolean,
): Uint32Array {
  const sign = ascending ? 1 : -1
  return order.sort((left, right) => sign * compareValues(keys[left], keys[right]) || left - right)
}

function sortNumbers(
  keys: readonly number[],
  order: Uint32Array<ArrayBuffer>,
  ascending: boolean,
): Uint32Array {
  if (keys.length < ENGINE.radixKeysMin) return sortByComparing(keys, order, ascending)
  const floats = new Float64Array(keys.length)
  // Adding 0 makes -0 equal to 0; one NaN for all sorts last.
  for (let i = 0; i < floats.length; i++) floats[i] = keys[i] === keys[i] ? keys[i]! + 0 : Number.NaN
  const words = new Uint32Array(floats.buffer)
  const flip = ascending ? 0 : -1
  for (let i = 0; i < words.length; i += 2) {
    // All bits of a negative, the sign bit of others: bits then sort as the numbers do.
    const negative = words[i + 1]! >>> 31 === 1
    words[i] = (negative ? ~words[i]! : words[i]!) ^ flip
    words[i + 1] = (negative ? ~words[i + 1]! : words[i + 1]! ^ 0x8000_0000) ^ flip
  }
  return radixSort(new Uint16Array(floats.buffer), order)
}

function sortStrings(
  keys: readonly string[],
  order: Uint32Array<ArrayBuffer>,
  ascending: boolean,
): Uint32Array {
  const skipped = commonPrefix(keys)
  const words = prefixWords(keys, skipped, ascending ? 0 : 0xffff)
  const sorted = radixSort(words, order)
  const sign = ascending ? 1 : -1
  const compare = (left: number, right: number): number => {
    const a = keys[left]!
    const b = keys[right]!
    return a < b ? -sign : a > b ? sign : left - right
  }
  for (let start = 0, i = 1; i <= sorted.length; i++) {
    if (i < sorted.length && sameWords(words, sorted[i]!, sorted[start]!)) continue
    if (i - start > 1) sorted.subarray(start, i).sort(compare)
    start = i
  }
  return sorted
}

/** UTF-16 units that all keys begin with. */
function commonPrefix(keys: readonly string[]): number {
  const first = keys[0]!
  let length = first.length
  for (let i = 1; i < keys.length && length > 0; i++) {
    const key = keys[i]!
    if (key.startsWith(first.slice(0, length))) continue
    let shared = 0
    while (shared < length && key.charCodeAt(shared) === first.charCodeAt(shared)) shared++
    length = shared
  }
  return length
}

/** The next six Latin-1 units of each key, or three of any kind, most significant in word 2; word 3 stays 0. */
function prefixWords(keys: readonly string[], skipped: number, flip: number): Uint16Array {
  const words = new Uint16Array(keys.length * KEY_WORDS)
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]!
    for (let word = 0; word < 3; word++) {
      const high = unitAt(key, skipped + 2 * word)
      const low = unitAt(key, skipped + 2 * word + 1)
      if (high > 0xff || low > 0xff) return wideWords(keys, skipped, flip)
      words[i * KEY_WORDS + 2 - word] = ((high << 8) | low) ^ flip
    }
  }
  return words
}

function wideWords(keys: readonly string[], skipped: number, flip: number): Uint16Array {
  const words = new Uint16Array(keys.length * KEY_WORDS)
  for (let i = 0; i < keys.length; i++) {
    for (let word = 0; word < 3; word++) {
      words[i * KEY_WORDS + 2 - word] = unitAt(keys[i]!, skipped + word) ^ flip
    }
  }
  return words
}

/** 0 behind the end; keys that differ only there are ties. */
function unitAt(key: string, at: number): number {
  return at < key.length ? key.charCodeAt(at) : 0
}

export function sameWords(words: Uint16Array, left: number, right: number): boolean {
  const a = left * KEY_WORDS
  const b = right * KEY_WORDS
  return words[a] === words[b] && words[a + 1] === words[b + 1] && words[a + 2] === words[b + 2]
}

/** LSD radix over keys of four 16-bit words, least significant first; digits that all keys share are skipped. */
export function radixSort(words: Uint16Array, order: Uint32Array<ArrayBuffer>): Uint32Array {
  let from = order
  let to = new Uint32Array(order.length)
  const starts = new Uint32Array(DIGITS + 1)
  for (let word = 0; word < KEY_WORDS; word++) {
    starts.fill(0)
    for (let at = word; at < words.length; at += KEY_WORDS) starts[words[at]! + 1]!++
    if (starts[words[word]! + 1] === order.length) continue
    for (let digit = 0; digit < DIGITS; digit++) starts[digit + 1]! += starts[digit]!
    for (let i = 0; i < from.length; i++) {
      const index = from[i]!
      to[starts[words[index * KEY_WORDS + word]!]!++] = index
    }
    ;[from, to] = [to, from]
  }
  return from
}
