import { checkKeyDepth, KIND, kindOf, sortedNames, viewBytes } from './value-kind.ts'

/**
 * Are two keys one key? By content: arrays, plain objects (whatever the order of their names), dates, typed arrays of
 * one type, maps and sets (in insertion order). `NaN` equals itself, `-0` is `0`, `1` is neither `"1"` nor `1n`.
 */
export function keyEquals(left: unknown, right: unknown): boolean {
  if (left === right) return true
  if (typeof left !== 'object' || typeof right !== 'object') {
    return typeof left === 'number' && typeof right === 'number' && left !== left && right !== right
  }
  return equalContent(left, right, 0)
}

function equalContent(left: unknown, right: unknown, depth: number): boolean {
  if (left === right) return true
  const kind = kindOf(left)
  if (kind !== kindOf(right)) return false
  switch (kind) {
    case KIND.number:
      return left !== left && right !== right
    case KIND.date:
      return Object.is((left as Date).getTime(), (right as Date).getTime())
    case KIND.bytes:
      return equalBytes(left as ArrayBufferView, right as ArrayBufferView)
    case KIND.array:
      return equalArrays(left as unknown[], right as unknown[], depth + 1)
    case KIND.map:
    case KIND.set:
      return equalArrays([...(left as Iterable<unknown>)], [...(right as Iterable<unknown>)], depth + 1)
    case KIND.object:
      return equalObjects(left as Record<string, unknown>, right as Record<string, unknown>, depth + 1)
    default:
      return false
  }
}

function equalArrays(left: readonly unknown[], right: readonly unknown[], depth: number): boolean {
  checkKeyDepth(depth)
  if (left.length !== right.length) return false
  for (let i = 0; i < left.length; i++) {
    if (!equalContent(left[i], right[i], depth)) return false
  }
  return true
}

function equalObjects(left: Record<string, unknown>, right: Record<string, unknown>, depth: number): boolean {
  checkKeyDepth(depth)
  const names = sortedNames(left)
  const others = sortedNames(right)
  if (names.length !== others.length) return false
  return names.every((name, i) => name === others[i] && equalContent(left[name], right[name], depth))
}

function equalBytes(left: ArrayBufferView, right: ArrayBufferView): boolean {
  if (Object.prototype.toString.call(left) !== Object.prototype.toString.call(right)) return false
  const a = viewBytes(left)
  const b = viewBytes(right)
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
