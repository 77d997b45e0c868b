import { hashKey, tableMix } from './hashing.ts'
import { checkKeyDepth, KIND, kindOf, viewBytes } from './value-kind.ts'

/**
 * 64 bits of a value's content, for counting distinct values: in 32 alone, a hundred million different values would
 * look like a percent fewer. The upper half is the key hash, the lower another function of the same content.
 */
export function wideHash(value: unknown): { high: number; low: number } {
  return { high: finished(hashKey(value)), low: finished(secondHash(value, 0)) }
}

const PRIME = 0x5f356495
const float = new Float64Array(1)
const words = new Int32Array(float.buffer)

function secondHash(value: unknown, depth: number): number {
  const kind = kindOf(value)
  const seed = Math.imul(kind + 1, 0x9e3779b1)
  switch (kind) {
    case KIND.string:
      return hashText(seed, value as string)
    case KIND.number:
      return hashNumber(seed, value as number)
    case KIND.boolean:
      return combine(seed, value === true ? 1 : 2)
    case KIND.bigint:
      return hashText(seed, (value as bigint).toString(36))
    case KIND.date:
      return hashNumber(seed, (value as Date).getTime())
    case KIND.null:
    case KIND.undefined:
      return seed
    case KIND.bytes: {
      let hash = hashText(seed, Object.prototype.toString.call(value))
      for (const byte of viewBytes(value as ArrayBufferView)) hash = combine(hash, byte)
      return hash
    }
    case KIND.object: {
      checkKeyDepth(depth + 1)
      // A sum, because the order of properties does not matter.
      let sum = seed
      for (const [name, part] of Object.entries(value as Record<string, unknown>)) {
        sum = (sum + tableMix(combine(hashText(seed, name), secondHash(part, depth + 1)))) | 0
      }
      return sum
    }
    default: {
      checkKeyDepth(depth + 1)
      let hash = seed
      for (const part of value as Iterable<unknown>) hash = combine(hash, secondHash(part, depth + 1))
      return hash
    }
  }
}

function hashText(seed: number, text: string): number {
  let hash = seed
  for (let i = 0; i < text.length; i++) hash = combine(hash, text.charCodeAt(i))
  return hash
}

function hashNumber(seed: number, value: number): number {
  // Adding 0 makes -0 equal to 0; one NaN for all.
  float[0] = value === value ? value + 0 : Number.NaN
  return combine(combine(seed, words[0]!), words[1]!)
}

function combine(hash: number, part: number): number {
  const mixed = Math.imul(hash ^ part, PRIME)
  return mixed ^ (mixed >>> 15)
}

/** Every bit of the hash changes about half of these (murmur3's finalizer). */
function finished(hash: number): number {
  let mixed = hash ^ (hash >>> 16)
  mixed = Math.imul(mixed, 0x85ebca6b)
  mixed ^= mixed >>> 13
  mixed = Math.imul(mixed, 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
