/** Levels looked into; what lies deeper counts as DEEP_BYTES. */
const DEPTH_MAX = 4
const DEEP_BYTES = 64
/** Elements of a container that are looked at; the rest is taken to be alike. */
const SAMPLE_MAX = 16
const SLOT_BYTES = 8
const OBJECT_BYTES = 32

/**
 * About how many bytes of memory a value takes. Deterministic, cheap, right within a factor of two for ordinary rows:
 * it decides when batches are closed and when a task has had enough memory.
 */
export function estimateBytes(value: unknown, depth = 0): number {
  if (typeof value === 'string') return 16 + value.length
  if (typeof value === 'bigint') return 32
  if (typeof value !== 'object' || value === null) return SLOT_BYTES
  return depth === DEPTH_MAX ? DEEP_BYTES : estimateObject(value, depth + 1)
}

function estimateObject(value: object, depth: number): number {
  if (Array.isArray(value)) return OBJECT_BYTES + estimateArray(value, depth)
  if (ArrayBuffer.isView(value)) return OBJECT_BYTES + value.byteLength
  if (value instanceof Map) return OBJECT_BYTES + 2 * estimateSome(value.values(), value.size, depth)
  if (value instanceof Set) return OBJECT_BYTES + estimateSome(value, value.size, depth)
  if (value instanceof ArrayBuffer) return OBJECT_BYTES + value.byteLength
  let bytes = OBJECT_BYTES
  for (const part of Object.values(value)) bytes += SLOT_BYTES + estimateBytes(part, depth)
  return bytes
}

function estimateArray(values: readonly unknown[], depth: number): number {
  const seen = Math.min(values.length, SAMPLE_MAX)
  let bytes = 0
  for (let i = 0; i < seen; i++) bytes += SLOT_BYTES + estimateBytes(values[i], depth)
  return seen === 0 ? 0 : Math.ceil((bytes / seen) * values.length)
}

function estimateSome(values: Iterable<unknown>, total: number, depth: number): number {
  let bytes = 0
  let seen = 0
  for (const value of values) {
    if (seen === SAMPLE_MAX) break
    bytes += SLOT_BYTES + estimateBytes(value, depth)
    seen++
  }
  return seen === 0 ? 0 : Math.ceil((bytes / seen) * total)
}
