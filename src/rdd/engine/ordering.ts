import { checkKeyDepth, KIND, kindOf, sortedNames, viewBytes } from './value-kind.ts'

/**
 * The default order, total over everything that can be a key, and 0 exactly where `keyEquals` holds:
 * booleans (false first) < numbers and bigints by value, NaN after all numbers < strings by UTF-16 unit < dates
 * (invalid last) < arrays, lexicographic < typed arrays < maps < sets < objects, by their sorted names then values
 * < null < undefined. A number and a bigint of one value: the number first.
 */
export function compareValues(left: unknown, right: unknown): number {
  if (typeof left === 'number' && typeof right === 'number') return compareNumbers(left, right)
  if (typeof left === 'string' && typeof right === 'string') return compareStrings(left, right)
  return compareContent(left, right, 0)
}

export function compareNumbers(left: number, right: number): number {
  if (left < right) return -1
  if (left > right) return 1
  if (left === right) return 0
  return Number(left !== left) - Number(right !== right)
}

export function compareStrings(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0
}

function compareContent(left: unknown, right: unknown, depth: number): number {
  if (left === right) return 0
  const kind = kindOf(left)
  const other = kindOf(right)
  if (kind !== other) return compareKinds(left, kind, right, other)
  switch (kind) {
    case KIND.boolean:
      return Number(left) - Number(right)
    case KIND.number:
      return compareNumbers(left as number, right as number)
    case KIND.bigint:
      return (left as bigint) < (right as bigint) ? -1 : 1
    case KIND.string:
      return compareStrings(left as string, right as string)
    case KIND.date:
      return compareNumbers((left as Date).getTime(), (right as Date).getTime())
    case KIND.array:
      return compareArrays(left as unknown[], right as unknown[], depth + 1)
    case KIND.bytes:
      return compareViews(left as ArrayBufferView, right as ArrayBufferView)
    case KIND.map:
    case KIND.set:
      return compareArrays([...(left as Iterable<unknown>)], [...(right as Iterable<unknown>)], depth + 1)
    case KIND.object:
      return compareObjects(left as Record<string, unknown>, right as Record<string, unknown>, depth + 1)
    default:
      return 0
  }
}

/** Numbers and bigints share one line; JavaScript compares them exactly. */
function compareKinds(left: unknown, kind: number, right: unknown, other: number): number {
  const numeric =
    (kind === KIND.number && other === KIND.bigint) || (kind === KIND.bigint && other === KIND.number)
  if (!numeric) return kind - other
  if (left !== left) return 1
  if (right !== right) return -1
  if ((left as number | bigint) < (right as number | bigint)) return -1
  if ((left as number | bigint) > (right as number | bigint)) return 1
  return kind - other
}

function compareArrays(left: readonly unknown[], right: readonly unknown[], depth: number): number {
  checkKeyDepth(depth)
  const shorter = Math.min(left.length, right.length)
  for (let i = 0; i < shorter; i++) {
    const order = compareContent(left[i], right[i], depth)
    if (order !== 0) return order
  }
  return left.length - right.length
}

function compareObjects(
  left: Record<string, unknown>,
  right: Record<string, unknown>,
  depth: number,
): number {
  const names = sortedNames(left)
  const others = sortedNames(right)
  const order = compareArrays(names, others, depth)
  if (order !== 0) return order
  return compareArrays(
    names.map(name => left[name]),
    others.map(name => right[name]),
    depth,
  )
}

function compareViews(left: ArrayBufferView, right: ArrayBufferView): number {
  const order = compareStrings(Object.prototype.toString.call(left), Object.prototype.toString.call(right))
  return order !== 0 ? order : Buffer.compare(viewBytes(left), viewBytes(right))
}
