import { serialize } from 'node:v8'
import { ShoalError } from '../../base/errors.ts'

/** Containers looked into for the value to blame. */
const SEARCH_DEPTH_MAX = 16

/** Names the first value among `rows` that structured clone refuses, with its path and what to do instead. */
export function refusedRow(rows: readonly unknown[], cause: unknown): ShoalError<'VALUE_REFUSED'> {
  const row = rows.findIndex(value => !travels(value))
  const found = row < 0 ? { path: '', value: undefined } : descend(rows[row], '', SEARCH_DEPTH_MAX)
  const what = cause instanceof RangeError ? 'nested deeper than the stack' : describe(found.value)
  const where = found.path === '' ? 'an element' : `an element's ${found.path.replace(/^\./, '')}`
  return new ShoalError(
    'VALUE_REFUSED',
    { value: found.path, reason: what },
    `${where} is ${what}, which cannot leave the peer: map it to plain data first${hint(found.value)}`,
    { cause },
  )
}

function descend(value: unknown, path: string, depth: number): { path: string; value: unknown } {
  if (depth > 0 && typeof value === 'object' && value !== null) {
    for (const [step, part] of parts(value)) {
      if (!travels(part)) return descend(part, path + step, depth - 1)
    }
  }
  return { path, value }
}

function parts(value: object): [string, unknown][] {
  if (Array.isArray(value)) return value.map((part, i) => [`[${i}]`, part])
  if (value instanceof Map) {
    return [...value].flatMap(([key, part]) => [
      ['.<key>', key] as [string, unknown],
      [`.get(${String(key)})`, part] as [string, unknown],
    ])
  }
  if (value instanceof Set) return [...value].map(part => ['.<member>', part])
  return Object.entries(value).map(([name, part]) => [`.${name}`, part])
}

function travels(value: unknown): boolean {
  try {
    serialize(value)
    return true
  } catch {
    return false
  }
}

function describe(value: unknown): string {
  if (typeof value === 'function') return `the function "${value.name || 'anonymous'}"`
  if (typeof value === 'symbol') return 'a symbol'
  return `a value of type ${Object.prototype.toString.call(value).slice('[object '.length, -1)}`
}

function hint(value: unknown): string {
  return value instanceof Promise ? ' (an async function? its result must be awaited, as mapAsync does)' : ''
}
