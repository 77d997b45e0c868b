import { types } from 'node:util'
import { classOf } from './declared-classes.ts'
import { isRecord } from './record-value.ts'

/**
 * Which objects of a row lie on a cycle, and on which: strongly connected parts of the graph, by Tarjan's algorithm. They
 * are the same however the row came to be; which objects off the cycles are shared is not.
 * @returns The number of the part of each object on a cycle.
 */
export function cyclicParts(row: object): Map<object, number> {
  const order = new Map<object, number>()
  const open: object[] = []
  const isOpen = new Set<object>()
  const parts = new Map<object, number>()

  const visit = (value: object): number => {
    const index = order.size
    order.set(value, index)
    open.push(value)
    isOpen.add(value)
    let low = index
    let isCycle = false
    for (const next of partsOf(value)) {
      if (typeof next !== 'object' || next === null) continue
      if (next === value) isCycle = true
      if (!order.has(next)) low = Math.min(low, visit(next))
      else if (isOpen.has(next)) low = Math.min(low, order.get(next)!)
    }
    if (low < index) return low
    const members = open.splice(open.lastIndexOf(value))
    for (const member of members) {
      isOpen.delete(member)
      if (isCycle || members.length > 1) parts.set(member, index)
    }
    return low
  }
  visit(row)
  return parts
}

function partsOf(value: object): Iterable<unknown> {
  if (Array.isArray(value)) return value
  if (types.isMap(value)) return [...value].flat()
  if (types.isSet(value)) return value
  if (types.isNativeError(value)) return [value.cause]
  return isRecord(value) || classOf(value) !== undefined ? Object.values(value) : []
}
