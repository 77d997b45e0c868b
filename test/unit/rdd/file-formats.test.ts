import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parquetReader } from '../../../src/rdd/engine/parquet-reader.ts'
import { createLocal } from '../../../src/rdd/index.ts'

const LINES = Array.from({ length: 5_000 }, (_, i) => `line ${i} ${'ü'.repeat(i % 7)}`)
const TEXT = LINES.join('\n') + '\n'

describe('sources', () => {
  test('textFile tells gzip and zstd by the content, and reads each such file as one partition', async () => {
    const local = createLocal({
      files: {
        '/d/a': gzipSync(TEXT),
        '/d/b.txt': zstdCompressSync(TEXT),
        '/d/c': TEXT,
        '/d/_hidden': 'no',
        '/d/.x': 'no',
      },
    })
    const lines = local.textFile('/d', 6)
    expect(await lines.collect()).toEqual([...LINES, ...LINES, ...LINES])
    const sizes = (await lines.glom().collect()).map(part => part.length)
    expect(sizes.slice(0, 2)).toEqual([5_000, 5_000])
    expect(sizes.length).toBeGreaterThan(3)
  })

  test('a gzip file of several members is read to its end', async () => {
    const two = Buffer.concat([gzipSync('a\nb\n'), gzipSync('c\n')])
    expect(
      await createLocal({ files: { '/x': two } })
        .textFile('/x')
        .collect(),
    ).toEqual(['a', 'b', 'c'])
  })

  test('a compressed file that is cut off fails the job with BAD_CONTENT and its path', async () => {
    const local = createLocal({ files: { '/x.gz': gzipSync(TEXT).subarray(0, 4_000) } })
    await expect(local.textFile('/x.gz').count()).rejects.toMatchObject({
      code: 'BAD_CONTENT',
      message: expect.stringContaining('/x.gz') as unknown,
    })
  })

  test('patterns, lists with commas and arrays name several files, in this order', async () => {
    const local = createLocal({ files: { '/a1': '1', '/a2': '2', '/b': '3', '/c,d': '4' } })
    expect(await local.textFile('/a*').collect()).toEqual(['1', '2'])
    expect(await local.textFile('/b,/a*').collect()).toEqual(['3', '1', '2'])
    expect(await local.textFile('/{b,a1}').collect()).toHaveLength(2)
    expect(await local.textFile(['/c,d', '/b']).collect()).toEqual(['4', '3'])
    await expect(local.textFile('/z*').collect()).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('wholeTextFiles and binaryFiles give each file with its path, small ones together in a partition', async () => {
    const files = Object.fromEntries(
      Array.from({ length: 100 }, (_, i) => [`/d/${String(i).padStart(3, '0')}`, `t${i}\n`]),
    )
    const local = createLocal({ files: { ...files, '/d/zz.gz': gzipSync('packed') } })
    const whole = local.wholeTextFiles('/d', 4)
    expect(await whole.collect()).toEqual([...Object.entries(files), ['/d/zz.gz', 'packed']])
    expect(await whole.getNumPartitions()).toBeLessThanOrEqual(5)
    const [path, bytes] = (await local.binaryFiles('/d/zz.gz').collect())[0]!
    expect(path).toBe('/d/zz.gz')
    expect(gunzipSync(bytes).toString()).toBe('packed')
  })

  test('binaryRecords cuts records of one length and refuses a rest, naming the file', async () => {
    const bytes = Buffer.from(Array.from({ length: 30 }, (_, i) => i))
    const local = createLocal({ files: { '/r': bytes, '/bad': bytes.subarray(0, 29) } })
    const records = await local.binaryRecords('/r', 3).collect()
    expect(records.map(record => [...record])).toEqual(
      Array.from({ length: 10 }, (_, i) => [3 * i, 3 * i + 1, 3 * i + 2]),
    )
    await expect(local.binaryRecords('/bad', 3).count()).rejects.toMatchObject({ code: 'BAD_CONTENT' })
    expect(() => local.binaryRecords('/r', 0)).toThrow(/whole number/)
  })

  test('jsonLines gives the values; a line that is no JSON fails the job', async () => {
    const local = createLocal({ files: { '/j': '{"a":1}\n\n[2]\nnull\n', '/bad': '{"a":\n' } })
    expect(await local.jsonLines('/j').collect()).toEqual([{ a: 1 }, [2], null])
    await expect(local.jsonLines('/bad').collect()).rejects.toMatchObject({ code: 'TASK_FAILED' })
  })
})

describe('CSV', () => {
  const csv = 'name,note\r\nann,"a, ""b"""\r\n\r\nbob,\r\n'

  test('rows are arrays of strings, or objects by column', async () => {
    const local = createLocal({ files: { '/c': `\uFEFF${csv}`, '/semi': "x;'y;\n'" } })
    expect(await local.csv('/c').collect()).toEqual([
      ['name', 'note'],
      ['ann', 'a, "b"'],
      ['bob', ''],
    ])
    expect(await local.csv('/c', { header: true }).collect()).toEqual([
      { name: 'ann', note: 'a, "b"' },
      { name: 'bob', note: '' },
    ])
    expect(await local.csv('/semi', { delimiter: ';', quote: "'", multiLine: true }).collect()).toEqual([
      ['x', 'y;\n'],
    ])
    expect(await local.csv('/c', { columns: ['a', 'b'] }).first()).toEqual({ a: 'name', b: 'note' })
  })

  test('a record with another number of values than there are columns is BAD_CONTENT, with the path', async () => {
    const local = createLocal({ files: { '/c': 'a,b\n1,2\n3\n', '/open': 'a,"b\n' } })
    await expect(local.csv('/c', { header: true }).collect()).rejects.toMatchObject({ code: 'BAD_CONTENT' })
    await expect(local.csv('/open').collect()).rejects.toMatchObject({
      code: 'BAD_CONTENT',
      message: expect.stringContaining('multiLine') as unknown,
    })
  })

  test('whatever strings are saved as CSV are read again, with and without names, compressed or not', async () => {
    const value = fc.string({ unit: fc.constantFrom('a', 'ü', ',', '"', '\n', '\r', ' ', ';') })
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(value, value), { maxLength: 20 }),
        fc.boolean(),
        async (rows, isPacked) => {
          const local = createLocal()
          const codec = isPacked ? ({ codec: 'zstd' } as const) : {}
          await local.parallelize(rows, 3).saveAsCsv('/rows', codec)
          expect(await local.csv('/rows', { multiLine: true }).collect()).toEqual(rows)
          const objects = rows.map(([a, b]) => ({ a, b }))
          await local.parallelize(objects, 2).saveAsCsv('/objects', { header: true, columns: ['a', 'b'] })
          expect(await local.csv('/objects', { header: true, multiLine: true }).collect()).toEqual(objects)
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe('sinks', () => {
  test('text compressed with a codec is what the codec says, and is read back', async () => {
    const local = createLocal()
    for (const [codec, ending, unpack] of [
      ['gzip', '.gz', gunzipSync],
      ['zstd', '.zst', zstdDecompressSync],
    ] as const) {
      await local.parallelize(LINES, 2).saveAsTextFile(`/${codec}`, { codec })
      expect(unpack(local.files.read(`/${codec}/part-00000${ending}`)).toString()).toMatch(
        /^line 0 \nline 1 ü\n/,
      )
      expect(await local.textFile(`/${codec}`).collect()).toEqual(LINES)
    }
  })

  test('objects keep what the row codec keeps, in more than one batch, packed or not', async () => {
    const rows = [
      new Date(5),
      new Map([[1, { a: [undefined, null] }]]),
      new Set(['x']),
      5n,
      -0,
      NaN,
      undefined,
      '\ud800',
      new Float32Array([1.5]),
      ...Array.from({ length: 30_000 }, (_, i) => i),
    ]
    const local = createLocal()
    await local.parallelize(rows, 2).saveAsObjectFile('/o')
    expect(await local.objectFile('/o').collect()).toEqual(rows)
    await local.parallelize(rows, 2).saveAsObjectFile('/packed', { codec: 'gzip' })
    expect(await local.objectFile('/packed').collect()).toEqual(rows)
    local.files.write('/no', 'just some text that is no object file')
    await expect(local.objectFile('/no').collect()).rejects.toMatchObject({ code: 'BAD_CONTENT' })
  })

  test('JSON lines are read back; what has no JSON fails the job', async () => {
    const rows = [{ a: 'ü\n' }, [1, null], 'x', 4.5]
    const local = createLocal()
    await local.parallelize(rows, 2).saveAsJsonLines('/j', { codec: 'gzip' })
    expect(local.files.list('/j')).toContain('/j/part-00000.jsonl.gz')
    expect(await local.jsonLines('/j').collect()).toEqual(rows)
    await expect(local.parallelize([1, undefined], 1).saveAsJsonLines('/bad')).rejects.toMatchObject({
      code: 'TASK_FAILED',
    })
    expect(local.files.list('/bad')).toEqual([])
  })

  test('Parquet keeps types and empty values over several row groups; other codecs too; unknown columns are refused', async () => {
    const rows = Array.from({ length: 1_000 }, (_, i) => ({
      id: i,
      big: BigInt(i) * 10n ** 15n,
      name: i % 3 === 0 ? null : `n${i}`,
      ok: i % 2 === 0,
      at: new Date(i * 1_000),
      tags: { t: [i] },
    }))
    const local = createLocal()
    for (const codec of ['SNAPPY', 'ZSTD', 'GZIP', 'UNCOMPRESSED'] as const) {
      await local.parallelize(rows, 2).saveAsParquet('/p', { codec, rowGroupRows: 128, overwrite: true })
      expect(await local.parquet('/p').collect()).toEqual(rows)
    }
    const names = await local.parquet<{ name: string | null }>('/p', { columns: ['name'] }).take(2)
    expect(names).toEqual([{ name: null }, { name: 'n1' }])
    await expect(
      local.parallelize([{ a: 1 }, { b: 2 }], 1).saveAsParquet('/u', { rowGroupRows: 1 }),
    ).rejects.toThrow(/column "b"/)
    await expect(local.parallelize([{ a: 1 }, { a: 'x' }], 1).saveAsParquet('/u')).rejects.toThrow(
      /column "a" is DOUBLE/,
    )
    await local.parallelize<{ a: number }>([], 2).saveAsParquet('/none', { columns: { a: 'INT32' } })
    expect(await local.parquet('/none').collect()).toEqual([])
    await local.parallelize<{ a: number }>([], 1).saveAsParquet('/nothing')
    expect(await local.parquet('/nothing').collect()).toEqual([])
  })

  test('however a Parquet file is cut, each row is read once, in order', async () => {
    const rows = Array.from({ length: 500 }, (_, i) => ({ id: i, name: `n${i % 7}` }))
    const local = createLocal()
    await local.parallelize(rows, 1).saveAsParquet('/p', { rowGroupRows: 60 })
    const content = local.files.read(local.files.list('/p').find(path => path.endsWith('.parquet'))!)
    const read = parquetReader({})
    const rowsIn = async (start: number, end: number): Promise<unknown[]> => {
      const found: unknown[] = []
      const input = {
        path: '/p',
        sizeBytes: content.byteLength,
        start,
        end,
        bytes: async function* (from: number, to: number) {
          yield content.subarray(from, to)
        },
        gather: async (from: number, to: number) => Uint8Array.from(content.subarray(from, to)),
        hold: () => {},
      }
      for await (const some of read(input, AbortSignal.timeout(20_000))) found.push(...some)
      return found
    }
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: content.byteLength - 1 }), { maxLength: 6 }),
        async cuts => {
          const bounds = [0, ...new Set(cuts.toSorted((a, b) => a - b)), content.byteLength]
          const found = await Promise.all(bounds.slice(1).map((end, i) => rowsIn(bounds[i]!, end)))
          expect(found.flat()).toEqual(rows)
        },
      ),
      { numRuns: 30 },
    )
    const half = Math.floor(content.byteLength / 2)
    expect((await rowsIn(0, half)).length).toBeLessThan(500)
  })

  test('what is there stays unless it is to be overwritten', async () => {
    const local = createLocal()
    await local.range(3).saveAsTextFile('/out')
    await expect(local.range(2).saveAsJsonLines('/out')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await local.range(0, 2, 1, 1).saveAsJsonLines('/out', { overwrite: true })
    expect(local.files.list('/out')).toEqual(['/out/_SUCCESS', '/out/part-00000.jsonl'])
  })
})
