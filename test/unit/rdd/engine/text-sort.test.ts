import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeRows, encodeRows, textPairBatches } from '../../../../src/rdd/codec/index.ts'
import { encodeTextPairs } from '../../../../src/rdd/codec/text-pairs.ts'
import { TaskMemory } from '../../../../src/rdd/engine/task-memory.ts'
import { TaskSpill } from '../../../../src/rdd/engine/task-spill.ts'
import { TextSort } from '../../../../src/rdd/engine/text-sort.ts'
import { createLocal } from '../../../../src/rdd/index.ts'
import { MemorySpill } from '../../../../src/rdd/memory-spill.ts'

type TextPair = [key: string, value: string]

const ascii = fc.string({
  unit: fc.integer({ min: 0, max: 127 }).map(code => String.fromCharCode(code)),
  maxLength: 12,
})
/** Few enough that many are equal, and some begin alike for longer than any prefix. */
const keys = fc.oneof(
  ascii,
  fc.constantFrom('', 'a', 'a\0', 'a\0\0', 'same beginning', 'same beginning of all', 'same beginning 2'),
)
const pairs = fc.array(fc.tuple(keys, ascii), { maxLength: 200 })

/** What a stable sort by UTF-16 units gives. */
function oracle(rows: readonly TextPair[], ascending: boolean): TextPair[] {
  const sign = ascending ? 1 : -1
  return rows.toSorted(([a], [b]) => (a < b ? -sign : a > b ? sign : 0))
}

function sorted(
  rows: readonly TextPair[],
  ascending: boolean,
  options: { limitBytes: number; fanIn: number; repeat: number },
): { rows: TextPair[]; lines: string; spills: MemorySpill; spilled: number } {
  const once = (newline: boolean) => {
    const spills = new MemorySpill()
    const spill = new TaskSpill(() => spills.open())
    const memory = new TaskMemory(options.limitBytes, undefined, spill)
    const holding = memory.holding('sortBy')
    const sort = new TextSort(holding, ascending, options.fanIn)
    for (let i = 0; i < options.repeat; i++) {
      for (const each of textPairBatches(encodeRows([...rows]))) if ('texts' in each) sort.add(each.texts)
    }
    const out: TextPair[] = []
    let lines = ''
    for (const slice of sort.sorted(() => {}, { newline })) {
      if (newline) lines += Buffer.from(slice.text()).toString('latin1')
      else out.push(...decodeRows<TextPair>(encodeTextPairs(slice.pairs())))
    }
    expect(holding.bytes).toBe(0)
    return { out, lines, spills, spilled: spill.bytes }
  }
  const { out, spills, spilled } = once(false)
  const { lines } = once(true)
  return { rows: out, lines, spills, spilled }
}

test('pairs of texts come out as a stable sort of the strings has them, in memory and by runs on disk', () => {
  fc.assert(
    fc.property(pairs, fc.boolean(), (rows, ascending) => {
      const expected = oracle(rows, ascending)
      const inMemory = sorted(rows, ascending, { limitBytes: 1e9, fanIn: 64, repeat: 1 })
      expect(inMemory.rows).toEqual(expected)
      expect(inMemory.lines).toBe(expected.map(([, value]) => `${value}\n`).join(''))
      expect(inMemory.spilled).toBe(0)
    }),
  )
  fc.assert(
    fc.property(
      fc.array(fc.tuple(keys, ascii), { minLength: 200, maxLength: 300 }),
      fc.boolean(),
      (rows, ascending) => {
        // Some seven runs of 8,192 rows and more, merged two at a time.
        const repeat = Math.ceil(60_000 / rows.length)
        const all = Array.from({ length: repeat }, () => rows).flat()
        const spilled = sorted(rows, ascending, { limitBytes: 4096, fanIn: 2, repeat })
        expect(spilled.spilled).toBeGreaterThan(0)
        expect(spilled.spills.openFiles).toBe(0)
        const expected = oracle(all, ascending)
        expect(Buffer.from(encodeRows(spilled.rows)).equals(encodeRows(expected))).toBe(true)
        expect(spilled.lines === expected.map(([, value]) => `${value}\n`).join('')).toBe(true)
      },
    ),
    { numRuns: 3 },
  )
})

test('a batch of text pairs is the same bytes as that of its strings', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          keys,
          fc.oneof(
            ascii,
            ascii.map(text => text.repeat(3000)),
          ),
        ),
        { minLength: 1, maxLength: 20 },
      ),
      rows => {
        const bytes = encodeRows(rows)
        for (const each of textPairBatches(bytes)) {
          expect('texts' in each && Buffer.from(encodeTextPairs(each.texts)).equals(bytes)).toBe(true)
        }
      },
    ),
  )
})

test('sortBy gives the same with texts, and with anything else among them', async () => {
  const words = Array.from({ length: 30_000 }, (_, i) => `word ${(i * 7919) % 10_007} of ${i}`)
  const sets: { rows: unknown[]; key: (row: unknown) => unknown }[] = [
    { rows: words, key: row => String(row).slice(0, 10) },
    // Not ASCII in the middle, numbers as keys, values that are no strings.
    { rows: words.with(15_000, 'wörd'), key: row => String(row).slice(0, 10) },
    { rows: words, key: row => String(row).length },
    { rows: words.map((word, i) => (i % 9_000 === 0 ? i : word)), key: row => String(row) },
  ]
  for (const { rows, key } of sets) {
    for (const memoryLimitBytes of [1e9, 900_000]) {
      for (const ascending of [true, false]) {
        const local = createLocal({ memoryLimitBytes })
        const byKey = await local.parallelize(rows, 3).sortBy(key, ascending, 2).collect()
        const sign = ascending ? 1 : -1
        const compare = (a: unknown, b: unknown): number => {
          const [left, right] = [key(a) as string, key(b) as string]
          return left < right ? -sign : left > right ? sign : 0
        }
        expect(byKey.length).toBe(rows.length)
        expect(encodeRows(byKey)).toEqual(encodeRows(rows.toSorted(compare)))
      }
    }
  }
}, 60_000)

test('sorted texts are saved as the bytes that they are', async () => {
  const rows = Array.from(
    { length: 20_000 },
    (_, i) => `${String((i * 7919) % 20_011).padStart(6, '0')} ${'x'.repeat(i % 90)}`,
  )
  for (const memoryLimitBytes of [1e9, 200_000]) {
    const local = createLocal({ memoryLimitBytes, files: { '/in': rows.join('\n') } })
    await local
      .textFile('/in', 4)
      .sortBy(line => line.slice(0, 6), true, 3)
      .saveAsTextFile('/out')
    const parts = local.files.list('/out').filter(path => path.includes('part-'))
    expect(parts.map(path => Buffer.from(local.files.read(path)).toString()).join('')).toBe(
      `${rows.toSorted().join('\n')}\n`,
    )
  }
}, 60_000)
