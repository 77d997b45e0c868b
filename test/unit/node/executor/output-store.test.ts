import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { OutputStore } from '../../../../src/node/executor/output-store.ts'
import { gather } from '../../../support/gather.ts'

/** Undefined when it is not there. */
async function resultBytes(
  store: OutputStore,
  job: string,
  partition: number,
): Promise<Uint8Array | undefined> {
  const found = await store.result(job, partition)
  return found === undefined ? undefined : new Uint8Array(Buffer.concat(await gather(found.pieces)))
}

let root = ''
let directory = ''

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'shoal-outputs-'))
  directory = join(root, 'outputs')
})

afterEach(async () => {
  await rm(root, { recursive: true, force: true })
})

async function opened(memoryBytesMax: number): Promise<OutputStore> {
  const store = new OutputStore({ directory, memoryBytesMax, peer: 'p' })
  await store.open()
  return store
}

/** The whole of a bucket. */
async function bucketOf(
  store: OutputStore,
  ...bucket: [shuffle: string, map: number, reduce: number]
): Promise<Uint8Array | undefined> {
  const found = store.bucket(...bucket)
  if (found === undefined) return undefined
  const bytes = new Uint8Array(Buffer.concat(await gather(found.pieces)))
  expect(bytes.length).toBe(found.sizeBytes)
  return bytes
}

function bytesOf(seed: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + seed) % 251)
}

const id = (partition: number) => ({ stage: 0, partition, attempt: 0, term: 1 })

async function sealMap(store: OutputStore, map: number, length: number, session = 's'): Promise<void> {
  const bytes = bytesOf(map, length)
  const offsets = [0, Math.floor(length / 3), Math.floor(length / 3), length]
  const output = { jobId: `${session}/1`, session, id: id(map), shuffle: `${session}/f`, offsets }
  await store.sealMapOutput({ ...output, checksum: crc32(bytes) }, bytes)
}

async function sealResult(
  store: OutputStore,
  partition: number,
  length: number,
  jobId = 's/1',
): Promise<void> {
  const bytes = bytesOf(partition, length)
  await store.sealResult({ jobId, session: 's', id: id(partition), checksum: crc32(bytes) }, bytes)
}

test('buckets are the same from memory and from disk, the empty one too', async () => {
  for (const [budget, files] of [
    [1_000, 0],
    [0, 3],
  ] as const) {
    const store = await opened(budget)
    for (let map = 0; map < 3; map++) await sealMap(store, map, 90)
    expect(await readdir(directory)).toHaveLength(files)
    for (let map = 0; map < 3; map++) {
      const whole = bytesOf(map, 90)
      const buckets = [
        await bucketOf(store, 's/f', map, 0),
        await bucketOf(store, 's/f', map, 1),
        await bucketOf(store, 's/f', map, 2),
      ]
      expect(buckets).toEqual([whole.subarray(0, 30), new Uint8Array(0), whole.subarray(30)])
    }
    expect(await bucketOf(store, 's/f', 0, 3)).toBeUndefined()
    expect(await bucketOf(store, 's/f', 9, 0)).toBeUndefined()
    await store.close()
  }
})

test('the oldest outputs go to disk first, and only as many as the budget asks for', async () => {
  const store = await opened(250)
  for (let partition = 0; partition < 5; partition++) await sealResult(store, partition, 100)
  expect(await readdir(directory)).toHaveLength(3)
  for (let partition = 0; partition < 5; partition++)
    expect(await resultBytes(store, 's/1', partition)).toEqual(bytesOf(partition, 100))
})

test('outputs sealed at the same time are each written once', async () => {
  const store = await opened(0)
  await Promise.all(Array.from({ length: 20 }, (_, partition) => sealResult(store, partition, 5_000)))
  expect(await readdir(directory)).toHaveLength(20)
  for (let partition = 0; partition < 20; partition++)
    expect(await resultBytes(store, 's/1', partition)).toEqual(bytesOf(partition, 5_000))
})

test('what is dropped while it is being written leaves no file', async () => {
  const store = await opened(0)
  const sealing = Promise.all([sealResult(store, 0, 1_000_000), sealResult(store, 1, 1_000_000)])
  await store.dropJob('s/1')
  await sealing
  await store.dropJob('s/1')
  expect(await readdir(directory)).toEqual([])
  expect(store.list()).toEqual([])
})

test('an output sealed again replaces the first, in memory and on disk', async () => {
  for (const budget of [10_000, 0]) {
    const store = await opened(budget)
    await sealResult(store, 0, 100)
    const bytes = bytesOf(77, 200)
    await store.sealResult({ jobId: 's/1', session: 's', id: id(0), checksum: crc32(bytes) }, bytes)
    expect(await resultBytes(store, 's/1', 0)).toEqual(bytes)
    expect(await readdir(directory)).toHaveLength(budget === 0 ? 1 : 0)
    expect(store.list()).toHaveLength(1)
  }
})

test('the end of a job takes its results and leaves map outputs to the session, whose end takes both', async () => {
  const store = await opened(150)
  await sealMap(store, 0, 90)
  await sealMap(store, 0, 90, 't')
  await sealResult(store, 0, 90)
  expect(store.sessions().sort()).toEqual(['s', 't'])
  await store.dropJob('s/1')
  expect(store.list().map(({ shuffle }) => shuffle?.key)).toEqual(['s/f', 't/f'])
  await store.dropSession('s')
  expect(store.list().map(({ shuffle }) => shuffle?.key)).toEqual(['t/f'])
  expect(await bucketOf(store, 't/f', 0, 0)).toEqual(bytesOf(0, 90).subarray(0, 30))
})

test('a result whose file was damaged or lost is not handed out', async () => {
  const store = await opened(0)
  await sealResult(store, 0, 100)
  const [file] = await readdir(directory)
  await writeFile(join(directory, file!), bytesOf(99, 100))
  expect(await store.result('s/1', 0)).toBeUndefined()
  await writeFile(join(directory, file!), bytesOf(0, 50))
  expect(await store.result('s/1', 0)).toBeUndefined()
  await rm(join(directory, file!))
  expect(await store.result('s/1', 0)).toBeUndefined()
})

test('a disk that takes nothing more fails the output that needed it, says where, and keeps the others', async () => {
  const store = await opened(150)
  await sealResult(store, 0, 100)
  await rm(directory, { recursive: true })
  await expect(sealResult(store, 1, 100)).rejects.toMatchObject({
    code: 'DISK_FAILED',
    details: { peer: 'p', operation: 'spill write' },
  })
  expect(store.list().map(output => output.id.partition)).toEqual([0])
  await mkdir(directory)
  await sealResult(store, 2, 100)
  expect(await resultBytes(store, 's/1', 0)).toEqual(bytesOf(0, 100))
  expect(await resultBytes(store, 's/1', 2)).toEqual(bytesOf(2, 100))
})

test('an output that its task wrote to a file is served from there in pieces, and goes with its session', async () => {
  const store = await opened(0)
  const bytes = bytesOf(3, 3_000_000)
  const file = join(directory, 'task.out')
  await writeFile(file, bytes)
  const offsets = [0, 10, bytes.length]
  const output = { jobId: 's/1', session: 's', id: id(4), shuffle: 's/f', offsets, checksum: crc32(bytes) }
  await store.sealMapFile(output, { file, sizeBytes: bytes.length })
  expect(store.list()).toMatchObject([{ sizeBytes: 3_000_000, shuffle: { key: 's/f', map: 4 } }])
  const { pieces } = store.bucket('s/f', 4, 1)!
  const sizes = (await gather(pieces)).map(piece => piece.length)
  expect(Math.max(...sizes)).toBeLessThanOrEqual(1 << 20)
  expect(await bucketOf(store, 's/f', 4, 1)).toEqual(bytes.subarray(10))
  await store.dropSession('s')
  expect(await readdir(directory)).toEqual([])
})

test('opening empties what an earlier process left, closing removes all', async () => {
  await mkdir(directory)
  await writeFile(join(directory, 'old.out'), 'x')
  const store = await opened(0)
  expect(await readdir(directory)).toEqual([])
  await sealResult(store, 0, 10)
  await store.close()
  expect(await readdir(root)).toEqual([])
})

test('a result that its task wrote to a file is handed out with what was added to accumulators, and goes with the job', async () => {
  const store = await opened(0)
  const rows = bytesOf(1, 3_000_000)
  const file = join(directory, 'attempt.out')
  await writeFile(file, rows)
  const updates = bytesOf(2, 100)
  const output = { jobId: 's/1', session: 's', id: { stage: 0, partition: 3, attempt: 0, term: 1 } }
  const written = { file, sizeBytes: rows.byteLength, checksum: crc32(rows), updates }
  const whole = Buffer.concat([rows, updates])
  const sealed = { sizeBytes: whole.byteLength, checksum: crc32(whole) }
  expect(await store.sealResultFile(output, written)).toEqual(sealed)
  expect(await store.result('s/1', 3)).toMatchObject(sealed)
  expect(whole.equals((await resultBytes(store, 's/1', 3))!)).toBe(true)
  await store.dropJob('s/1')
  expect(await readdir(directory)).toEqual([])
})
