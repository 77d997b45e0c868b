import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { csvReader } from '../../../../src/rdd/engine/csv-reader.ts'
import type { FileInput } from '../../../../src/rdd/engine/file-input.ts'
import { csvText } from '../../../../src/rdd/engine/csv-text.ts'
import { partsOf } from '../../../../src/rdd/file-layout.ts'

function inputOf(bytes: Uint8Array, start: number, end: number, chunkBytes: number): FileInput {
  async function* read(from: number, to: number): AsyncGenerator<Uint8Array, void, undefined> {
    for (let at = from; at < to; at += chunkBytes) yield bytes.subarray(at, Math.min(to, at + chunkBytes))
  }
  return {
    path: '/c.csv',
    sizeBytes: bytes.length,
    start,
    end,
    bytes: read,
    gather: async (from, to) => new Uint8Array(bytes.subarray(from, to)),
    hold: () => {},
  }
}

test('read in stretches between records, in chunks of any size, a file has the rows of the whole', async () => {
  const value = fc.string({ unit: fc.constantFrom('a', 'ü', ',', '"', '\n', ' ') })
  const rows = fc.array(fc.record({ a: value, b: value }), { minLength: 1, maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(
      rows,
      fc.integer({ min: 1, max: 9 }),
      fc.infiniteStream(fc.boolean()),
      async (given, chunk, cuts) => {
        const text = csvText({ header: true })
        const records = [
          Buffer.from(text(given.slice(0, 1))),
          ...given.slice(1).map(row => Buffer.from(text([row]))),
        ]
        const blocks: { blockId: string; bytes: number }[] = []
        for (const record of records) {
          const last = blocks.at(-1)
          if (last === undefined || cuts.next().value === true)
            blocks.push({ blockId: `b${blocks.length}`, bytes: record.length })
          else last.bytes += record.length
        }
        const file = { path: '/c.csv', fileId: 'f', cut: 'csv', packed: false, blocks } as const
        const bytes = Buffer.concat(records)
        const read = csvReader({ header: true })
        const parts = partsOf([{ ...file, blocks }], { by: 'block', cuts: ['csv'] })
        expect(parts).toHaveLength(blocks.length)
        const found: unknown[] = []
        for (const [range] of parts) {
          const input = inputOf(bytes, range!.start, range!.end, chunk)
          for await (const some of read(input, new AbortController().signal)) found.push(...some)
        }
        expect(found).toEqual(given)
      },
    ),
  )
})

test('records of a fixed length are cut where records end, whatever the blocks are', () => {
  const blocks = [10, 1, 25, 4].map((bytes, i) => ({ blockId: `b${i}`, bytes }))
  const file = { path: '/r', fileId: 'f', cut: 'binary', packed: false, blocks } as const
  const parts = partsOf([{ ...file, blocks }], { by: 'record', bytes: 8 }).flat()
  expect(parts).toEqual([
    { file: 0, start: 0, end: 16 },
    { file: 0, start: 16, end: 40 },
  ])
  expect(partsOf([{ ...file, packed: true, blocks }], { by: 'record', bytes: 8 })).toHaveLength(1)
})
