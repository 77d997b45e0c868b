import { checkKeyDepth, KIND, kindOf, viewBytes } from './value-kind.ts'

/**
 * Content hash of keys: FNV-1a over UTF-16 units for strings, over the parts for containers (engine.md section 3).
 * Equal keys (key-equality.ts) have equal hashes on every peer; `1` and `"1"` differ, `-0` is `0`, NaN is one key.
 * The raw hash must be mixed before use: `bucketOf` for partitions and `tableMix` for tables mix differently, or the
 * table of one partition would see only keys that agree in their low bits.
 */

const OFFSET = 0x811c9dc5 | 0
const PRIME = 16777619

const float = new Float64Array(1)
const words = new Int32Array(float.buffer)

/** Raw 32-bit hash of any key; throws VALUE_REFUSED for what has no content. */
export function hashKey(key: unknown): number {
  if (typeof key === 'string') return hashString(key)
  if (typeof key === 'number') return hashNumber(key)
  return hashContent(key, 0)
}

export function hashString(text: string): number {
  let hash = OFFSET
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), PRIME)
  return hash
}

/** By value: whole numbers in the int32 range the fast way, all others by their Float64 bits. */
export function hashNumber(value: number): number {
  const whole = value | 0
  if (whole === value) return Math.imul(whole ^ 0x5bd1e995, 0x9e3779b1)
  float[0] = value === value ? value : Number.NaN
  return Math.imul(Math.imul(words[0]! ^ 0x27d4eb2f, 0x85ebca6b) ^ words[1]!, 0xc2b2ae35)
}

function hashContent(value: unknown, depth: number): number {
  const kind = kindOf(value)
  const seed = Math.imul(OFFSET ^ kind, PRIME)
  switch (kind) {
    case KIND.string:
      return hashString(value as string)
    case KIND.number:
      return hashNumber(value as number)
    case KIND.boolean:
      return combine(seed, value === true ? 1 : 2)
    case KIND.bigint:
      return combine(seed, hashString((value as bigint).toString(36)))
    case KIND.date:
      return combine(seed, hashNumber((value as Date).getTime()))
    case KIND.null:
    case KIND.undefined:
      return combine(seed, 0)
    case KIND.bytes:
      return hashBytes(
        combine(seed, hashString(Object.prototype.toString.call(value))),
        value as ArrayBufferView,
      )
    case KIND.object:
      return hashObject(seed, value as Record<string, unknown>, depth + 1)
    default:
      return hashSequence(seed, value as Iterable<unknown>, depth + 1)
  }
}

/** Arrays, sets, maps (entries in insertion order). */
function hashSequence(seed: number, values: Iterable<unknown>, depth: number): number {
  checkKeyDepth(depth)
  let hash = seed
  for (const value of values) hash = combine(hash, hashContent(value, depth))
  return hash
}

/** A sum over the properties, because their order does not matter. */
function hashObject(seed: number, value: Record<string, unknown>, depth: number): number {
  checkKeyDepth(depth)
  let sum = seed
  for (const name of Object.keys(value)) {
    sum = (sum + tableMix(combine(hashString(name), hashContent(value[name], depth)))) | 0
  }
  return sum
}

function hashBytes(seed: number, view: ArrayBufferView): number {
  let hash = seed
  for (const byte of viewBytes(view)) hash = Math.imul(hash ^ byte, PRIME)
  return hash
}

function combine(hash: number, part: number): number {
  const mixed = Math.imul(hash ^ part, PRIME)
  return Math.imul(mixed ^ (mixed >>> 13), 0x5bd1e995)
}

/** The partition of a raw hash: final mix of lowbias32, then the remainder. */
export function bucketOf(hash: number, partitions: number): number {
  let mixed = hash ^ (hash >>> 16)
  mixed = Math.imul(mixed, 0x7feb352d)
  mixed ^= mixed >>> 15
  mixed = Math.imul(mixed, 0x846ca68b)
  mixed ^= mixed >>> 16
  return (mixed >>> 0) % partitions
}

/** The place of a raw hash in a table; take its low bits. */
export function tableMix(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  return mixed ^ (mixed >>> 12)
}
