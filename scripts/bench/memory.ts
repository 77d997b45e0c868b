import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { BenchMesh, residentBytes } from './bench-mesh.ts'
import { sequence } from './bench-rows.ts'
import { bookBytes } from './bench-text.ts'
import { checkSorted } from './check-sorted.ts'
import { mbPerSecond, ms, timeMs, type Figures } from './figures.ts'

const PEERS = 2
const RECORD_BYTES = 100
const RECORDS_PER_CHUNK = 10_000
const KEY_CHARACTERS = 10
const DIGITS = '0123456789abcdefghijklmnopqrstuvwxyz'
const GROUPS = 1_000_000
const GROUP_START = KEY_CHARACTERS + 1
const GROUP_END = GROUP_START + 7
const VALUE_START = GROUP_END + 1
const VALUE_END = VALUE_START + 3
const MIB = 2 ** 20

export interface MemoryOptions {
  /** Bytes of the data of each job. */
  size: number
  /** Of each peer, as `shoal up --memory` takes it. */
  memory: number
}

/**
 * Word count, group-by and sort of data far larger than the memory of the peers: what each holds at most, and what goes
 * to disk. One copy of everything, as the data is made for this. Groups and sorted ranges are made few, so that each is
 * larger than what a task may hold.
 */
export async function memory(figures: Figures, { size, memory: memoryBytes }: MemoryOptions): Promise<void> {
  const given = `${Math.round(memoryBytes / MIB)}m`
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1, memory: given })
  const { mesh } = bench
  const label = `${(size / 1e9).toFixed(1)} GB on ${PEERS} peers of ${given}`
  // Workers start with the first task.
  await mesh
    .range(100_000, undefined, 1, 2 * PEERS)
    .map(x => x % 10)
    .countByValue()
  const baseBytes = Math.max(...bench.peers.map(({ pid }) => residentBytes(pid)))
  const partitions = Math.max(4, Math.ceil(size / (4 * memoryBytes)))

  const measure = async (name: string, work: () => Promise<void>): Promise<void> => {
    const spilledBefore = await spilled(bench)
    for (const { pid } of bench.peers) forgetPeak(pid)
    const tookMs = await timeMs(work)
    const peakBytes = Math.max(...bench.peers.map(({ pid }) => peakResidentBytes(pid)))
    const spilledBytes = (await spilled(bench)) - spilledBefore
    figures.add({
      name: `${name} of ${label}: peak beside the base, of its memory`,
      value: `${mib(peakBytes)} MiB, ${ms(tookMs)}, ${mbPerSecond(size, tookMs)}, ${mib(spilledBytes)} MiB spilled`,
      against: `base ${mib(baseBytes)} MiB + ${mib(memoryBytes)} MiB`,
      score: (peakBytes - baseBytes) / memoryBytes,
      target: { atMost: 1 },
    })
  }

  const book = bookBytes()
  const copies = Math.ceil(size / book.byteLength)
  await measure('put', async () => {
    await mesh.fs.put('/text', repeated(book, copies), { replication: 1 })
  })
  await measure('word count', async () => {
    const counted = await mesh
      .textFile('/text')
      .flatMap(line => line.toLowerCase().match(/[a-z']+/g) ?? [])
      .map((word): [string, number] => [word, 1])
      .reduceByKey((a, b) => a + b)
      .takeOrdered(10, ([, count]) => -count)
    assert.deepEqual(counted, topWords(book, copies))
  })
  await mesh.fs.rm('/text', { skipTrash: true })

  const made = { records: 0, values: 0 }
  await mesh.fs.put('/records', records(size, made), { replication: 1 })
  await measure('group-by', async () => {
    const [groups, rows, values] = await mesh
      .textFile('/records')
      .map((line): [string, number] => [
        line.slice(GROUP_START, GROUP_END),
        Number(line.slice(VALUE_START, VALUE_END)),
      ])
      .groupByKey(partitions)
      .map(([, group]): [number, number, number] => [1, group.length, group.reduce((a, b) => a + b, 0)])
      .reduce((a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]])
    assert.ok(groups <= GROUPS)
    assert.deepEqual([rows, values], [made.records, made.values])
  })
  await measure('sort', async () => {
    await mesh
      .textFile('/records')
      .sortBy(line => line.slice(0, KEY_CHARACTERS), true, partitions)
      .saveAsTextFile('/sorted', { replication: 1 })
  })
  await checkSorted(mesh, '/sorted', { records: made.records, keyCharacters: KEY_CHARACTERS })
}

async function spilled({ mesh }: BenchMesh): Promise<number> {
  const { peers } = await mesh.report()
  return peers.reduce((sum, { vitals }) => sum + vitals!.spilledBytes, 0)
}

/** The kernel's high-water mark of resident memory begins anew. */
function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

function peakResidentBytes(pid: number): number {
  const found = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(found![1]) * 1024
}

function mib(bytes: number): number {
  return Math.round(bytes / MIB)
}

async function* repeated(bytes: Uint8Array, times: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < times; i++) yield bytes
}

/** Lines of 100 bytes: ten characters to sort by, one of 1e6 groups, a value, and a rest; the same on every run. */
async function* records(
  sizeBytes: number,
  made: { records: number; values: number },
): AsyncGenerator<Uint8Array> {
  const random = sequence(1)
  for (const total = Math.ceil(sizeBytes / RECORD_BYTES); made.records < total;) {
    const rows = Math.min(RECORDS_PER_CHUNK, total - made.records)
    const chunk = Buffer.alloc(rows * RECORD_BYTES, 'x')
    for (let at = 0; at < chunk.length; at += RECORD_BYTES) {
      for (let i = 0; i < KEY_CHARACTERS; i++) {
        chunk[at + i] = DIGITS.charCodeAt(Math.floor(random() * DIGITS.length))
      }
      const group = Math.floor(random() * GROUPS)
      const value = Math.floor(random() * 1_000)
      const text = ` g${String(group).padStart(6, '0')} ${String(value).padStart(3, '0')} `
      chunk.write(text, at + KEY_CHARACTERS, 'latin1')
      chunk[at + RECORD_BYTES - 1] = 0x0a
      made.values += value
    }
    made.records += rows
    yield chunk
  }
}

/** The answer from one copy of the book. */
function topWords(book: Buffer, copies: number): [string, number][] {
  const counts = new Map<string, number>()
  for (const word of book
    .toString()
    .toLowerCase()
    .match(/[a-z']+/g) ?? []) {
    counts.set(word, (counts.get(word) ?? 0) + copies)
  }
  return [...counts].sort((a, b) => b[1] - a[1]).slice(0, 10)
}
