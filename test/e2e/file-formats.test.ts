import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { bytesOf, textOf } from '../support/file-bytes.ts'
import { useCluster } from '../support/use-cluster.ts'

const cluster = useCluster(3)
const KIB = 1024

test('a compressed file of several blocks is one partition beside the splits of plain ones, by pattern', async () => {
  const [mesh] = await cluster().clients(1)
  const lines = Array.from({ length: 20_000 }, (_, i) => `${i} ${(i * 2_654_435_761) % 1_000_003}`)
  const text = lines.join('\n') + '\n'
  await mesh!.fs.put('/in/a.txt', bytesOf(text), { parents: true, partitionBytes: 64 * KIB })
  await mesh!.fs.put('/in/b.txt', bytesOf(gzipSync(text)), { partitionBytes: 64 * KIB })
  await mesh!.fs.put('/in/_log', bytesOf('not read'))
  expect((await mesh!.fs.locate('/in/b.txt')).partitions.length).toBeGreaterThan(1)
  expect(await mesh!.textFile('/in/b.txt').getNumPartitions()).toBe(1)
  expect(await mesh!.textFile('/in/*.txt').collect()).toEqual([...lines, ...lines])
  expect(await mesh!.textFile('/in').count()).toBe(40_000)
})

test('CSV saved by tasks is cut between records, so that its blocks are read in parallel', async () => {
  const [mesh] = await cluster().clients(1)
  const rows = Array.from({ length: 3_000 }, (_, i) => ({
    id: `${i}`,
    note: i % 5 === 0 ? `two\nlines, "${i}"` : 'x'.repeat(40),
  }))
  await mesh!.parallelize(rows, 3).saveAsCsv('/saved.csv', { header: true })
  expect((await mesh!.fs.ls('/saved.csv')).map(({ name }) => name)).toEqual([
    '_SUCCESS',
    'part-00000.csv',
    'part-00001.csv',
    'part-00002.csv',
  ])
  expect(await mesh!.csv('/saved.csv', { header: true }).collect()).toEqual(rows)
  // One file of many blocks.
  const whole = await textOf(mesh!.fs.get('/saved.csv/part-00000.csv'))
  await mesh!.fs.put('/one.csv', bytesOf(whole), { format: 'csv', partitionBytes: 4 * KIB })
  const one = mesh!.csv('/one.csv', { header: true })
  expect(await one.getNumPartitions()).toBeGreaterThan(5)
  expect(await one.collect()).toEqual(rows.slice(0, 1_000))
  // Cut at line ends, a value with a newline may lie on both sides: never taken for something else.
  await mesh!.fs.put('/lines.csv', bytesOf('a,"b\n'.repeat(1) + `${'y'.repeat(70_000)}",c\n`), {
    partitionBytes: 4 * KIB,
  })
  expect(await mesh!.csv('/lines.csv', { multiLine: true }).count()).toBe(1)
})

test('objects, JSON lines and Parquet go out and come in again, over blocks and peers', async () => {
  const [mesh] = await cluster().clients(1)
  const rows = mesh!.range(0, 5_000, 1, 4).map(i => ({ i, name: `n${i}`, big: i % 2 === 0 ? null : 1.5 * i }))
  const expected = await rows.collect()
  await rows.saveAsObjectFile('/objects', { codec: 'zstd' })
  expect(await mesh!.objectFile('/objects').collect()).toEqual(expected)
  await rows.saveAsJsonLines('/json')
  expect(await mesh!.jsonLines('/json').collect()).toEqual(expected)
  await rows.saveAsParquet('/parquet', { codec: 'ZSTD', rowGroupRows: 500 })
  expect(await mesh!.parquet('/parquet').collect()).toEqual(expected)
  const dates = mesh!.range(0, 10, 1, 2).map(i => new Date(i))
  await dates.saveAsObjectFile('/dates')
  expect(
    await mesh!
      .objectFile<Date>('/dates')
      .map(date => date.getTime())
      .sum(),
  ).toBe(45)
})

test('records of a fixed length that cross blocks are whole; whole files come with their paths', async () => {
  const [mesh] = await cluster().clients(1)
  const bytes = Buffer.from(Array.from({ length: 30_000 }, (_, i) => i % 251))
  await mesh!.fs.put('/records', bytesOf(bytes), { format: 'binary', partitionBytes: 4 * KIB })
  const records = mesh!.binaryRecords('/records', 7 * 10)
  await expect(records.count()).rejects.toMatchObject({ code: 'BAD_CONTENT' })
  const whole = mesh!.binaryRecords('/records', 75)
  expect(await whole.getNumPartitions()).toBeGreaterThan(5)
  expect(Buffer.concat(await whole.collect()).equals(bytes)).toBe(true)
  await mesh!.fs.put('/small/a', bytesOf('one'), { parents: true })
  await mesh!.fs.put('/small/b', bytesOf(gzipSync('two')))
  expect(await mesh!.wholeTextFiles('/small').collect()).toEqual([
    ['/small/a', 'one'],
    ['/small/b', 'two'],
  ])
  expect(
    (await mesh!.binaryFiles('/small/a').collect()).map(([path, content]) => [
      path,
      String(Buffer.from(content)),
    ]),
  ).toEqual([['/small/a', 'one']])
})

test('overwriting replaces the whole directory in one moment and keeps the old one in the trash', async () => {
  const [mesh] = await cluster().clients(1)
  await mesh!.range(0, 4, 1, 4).saveAsTextFile('/over', { codec: 'gzip' })
  await expect(mesh!.range(3).saveAsCsv('/over')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  await expect(
    mesh!
      .range(0, 2, 1, 2)
      .map((i): number => {
        throw new Error(`no ${i}`)
      })
      .saveAsTextFile('/over', { overwrite: true }),
  ).rejects.toMatchObject({ code: 'TASK_FAILED' })
  expect(await mesh!.textFile('/over').collect()).toEqual(['0', '1', '2', '3'])
  await mesh!.range(0, 2, 1, 2).saveAsTextFile('/over', { overwrite: true, replication: 1 })
  expect((await mesh!.fs.stat('/over/part-00000')).replication).toBe(1)
  expect((await mesh!.fs.ls('/over')).map(({ name }) => name)).toEqual([
    '_SUCCESS',
    'part-00000',
    'part-00001',
  ])
  expect(await textOf(mesh!.fs.get('/over/part-00001'))).toBe('1\n')
  const [trashed] = await mesh!.fs.trash()
  expect(trashed).toMatchObject({ path: '/over', files: 5 })
})

test('a checkpoint is read from the mesh when what it was computed from is gone', async () => {
  const [mesh] = await cluster().clients(1)
  await mesh!.fs.put('/gone.txt', bytesOf('one two\ntwo\n'))
  const counts = mesh!
    .textFile('/gone.txt')
    .flatMap(line => line.split(' '))
    .map(word => [word, 1] as const)
    .reduceByKey((left, right) => left + right)
  const sorted = counts.sortByKey()
  await counts.checkpoint()
  await mesh!.fs.rm('/gone.txt', { skipTrash: true })
  expect(await sorted.collect()).toEqual([
    ['one', 1],
    ['two', 2],
  ])
  expect((await mesh!.fs.stat(counts.getCheckpointFile()!)).type).toBe('directory')
})
