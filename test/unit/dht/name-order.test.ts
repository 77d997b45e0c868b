import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { NameOrder } from '../../../src/dht/name-order.ts'
import { newDirectory } from '../../../src/dht/namespace-nodes.ts'
import type { DirectoryNode, TreeNode } from '../../../src/dht/namespace-nodes.ts'

/** Counts how often all names were asked for. */
class CountedEntries extends Map<string, TreeNode> {
  scans = 0

  override keys(): MapIterator<string> {
    this.scans++
    return super.keys()
  }
}

function directoryOf(names: Iterable<string>): DirectoryNode & { entries: CountedEntries } {
  const entries = new CountedEntries()
  for (const name of names) entries.set(name, newDirectory(name, 0))
  return { ...newDirectory('many', 0), entries }
}

const numbered = (count: number): string[] =>
  Array.from({ length: count }, (_, at) => `f${(at * 7_919) % count}`)

describe('the order of names', () => {
  it('of 100,000 entries is made once for all pages of a listing', () => {
    const directory = directoryOf(numbered(100_000))
    const order = new NameOrder()
    const listed: string[] = []
    for (let last: string | undefined; ;) {
      const page = order.page(directory, last, 1_000)
      if (page.length === 0) break
      listed.push(...page)
      last = page.at(-1)
    }
    expect(listed).toEqual([...directory.entries.keys()].sort())
    // One of them is the expectation's.
    expect(directory.entries.scans).toBe(2)
  })

  it('is that of all names whatever comes and goes between two pages, and whichever name a page begins behind', () => {
    const change = fc.record({
      add: fc.boolean(),
      name: fc.integer({ min: 0, max: 3_000 }).map(at => `f${at}`),
      startAfter: fc.option(
        fc.integer({ min: 0, max: 3_000 }).map(at => `f${at}`),
        { nil: undefined },
      ),
      limit: fc.integer({ min: 0, max: 40 }),
    })
    fc.assert(
      fc.property(
        fc.integer({ min: 990, max: 1_030 }),
        fc.array(change, { maxLength: 60 }),
        (count, changes) => {
          const directory = directoryOf(numbered(count))
          const order = new NameOrder()
          for (const { add, name, startAfter, limit } of changes) {
            if (add && !directory.entries.has(name)) {
              directory.entries.set(name, newDirectory(name, 0))
              order.added(directory, name)
            } else if (!add && directory.entries.delete(name)) order.removed(directory, name)
            const expected = [...directory.entries.keys()]
              .filter(each => startAfter === undefined || each > startAfter)
              .sort()
              .slice(0, limit)
            expect(order.page(directory, startAfter, limit)).toEqual(expected)
          }
        },
      ),
      { numRuns: 40 },
    )
  })

  it('is not kept for a directory that changes without end and is not listed', () => {
    const directory = directoryOf(numbered(2_000))
    const order = new NameOrder()
    order.page(directory, undefined, 10)
    for (let at = 0; at < 1_500; at++) {
      directory.entries.set(`g${at}`, newDirectory(`g${at}`, 0))
      order.added(directory, `g${at}`)
    }
    const before = directory.entries.scans
    expect(order.page(directory, 'g999', 1)).toEqual([])
    expect(order.page(directory, 'g998', 1)).toEqual(['g999'])
    expect(directory.entries.scans).toBe(before + 1)
  })
})
