import type { DirectoryNode } from './namespace-nodes.ts'

/** Smaller directories are listed in a page or two: sorting them costs less than keeping an order. */
const KEPT_FROM = 1_000
/** Directories whose order is kept; the one not listed for longest goes first. 8 bytes a name. */
const KEPT_MAX = 8
/** A directory that changes so often without being listed is no longer kept in order. */
const CHANGES_MAX = 1_000

interface Order {
  names: string[]
  /** Since it was last listed. */
  changes: number
}

/** The names of large directories in their order, from the first page of a listing on, so that the next page need not sort them all again. */
export class NameOrder {
  readonly #orders = new Map<DirectoryNode, Order>()

  /** Up to `limit` names behind that one, in order. */
  page(directory: DirectoryNode, startAfter: string | undefined, limit: number): string[] {
    const { entries } = directory
    if (entries.size < KEPT_FROM) {
      this.#orders.delete(directory)
      return pageOf(entries.keys(), startAfter, limit)
    }
    const names = this.#orders.get(directory)?.names ?? [...entries.keys()].sort()
    // Last in the order of the map: used last.
    this.#orders.delete(directory)
    this.#orders.set(directory, { names, changes: 0 })
    for (const [oldest] of this.#orders) {
      if (this.#orders.size <= KEPT_MAX) break
      this.#orders.delete(oldest)
    }
    const from = startAfter === undefined ? 0 : placeOf(names, startAfter)
    const isThere = names[from] === startAfter
    const start = startAfter !== undefined && isThere ? from + 1 : from
    return names.slice(start, start + limit)
  }

  added(directory: DirectoryNode, name: string): void {
    const names = this.#changed(directory)
    names?.splice(placeOf(names, name), 0, name)
  }

  removed(directory: DirectoryNode, name: string): void {
    const names = this.#changed(directory)
    names?.splice(placeOf(names, name), 1)
  }

  #changed(directory: DirectoryNode): string[] | undefined {
    const order = this.#orders.get(directory)
    if (order === undefined) return undefined
    if (++order.changes <= CHANGES_MAX) return order.names
    this.#orders.delete(directory)
    return undefined
  }
}

/** The same of names in any order. */
export function pageOf(names: Iterable<string>, startAfter: string | undefined, limit: number): string[] {
  const behind = [...names].filter(name => startAfter === undefined || name > startAfter).sort()
  return behind.slice(0, limit)
}

/** Where the name is, or would be. */
function placeOf(names: readonly string[], name: string): number {
  let [low, high] = [0, names.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (names[middle]! < name) low = middle + 1
    else high = middle
  }
  return low
}
