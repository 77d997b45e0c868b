import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import { BenchMesh } from './bench-mesh.ts'
import { BenchRows } from './bench-rows.ts'
import { interleaved, ms, timeMs, type Figures } from './figures.ts'

const PEERS = 2
const ROUNDS = 3
/** Of 100 bytes with the newline, as in the sort benchmarks since 1985. */
const RECORDS = 2_000_000
const KEY_CHARACTERS = 10
const FILLER = 'x'.repeat(88)
const DIGITS = '0123456789abcdefghijklmnopqrstuvwxyz'
/** What two peers with one worker each may hold in memory for one task each. */
const BUFFER = '1G'

/** 200 MB of 100-byte records in order of their first ten characters, written to files; against GNU sort. */
export async function sorting(figures: Figures): Promise<void> {
  using rows = await BenchRows.write(RECORDS, (_i, random) => {
    let key = ''
    for (let n = 0; n < KEY_CHARACTERS; n++) key += DIGITS[Math.floor(random() * DIGITS.length)]!
    return `${key} ${FILLER}`
  })
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  const { mesh } = bench
  await mesh.fs.put('/records', createReadStream(rows.path), { replication: 1 })
  const sortedPath = `${rows.path}.sorted`
  const { ours, gnu } = await interleaved(ROUNDS, {
    ours: round =>
      timeMs(() =>
        mesh
          .textFile('/records')
          .sortBy(line => line.slice(0, round < 0 ? 0 : KEY_CHARACTERS))
          .saveAsTextFile(`/sorted-${round}`, { replication: 1 }),
      ),
    gnu: () =>
      timeMs(() =>
        promisify(execFile)('sort', ['--parallel=2', '-S', BUFFER, '-o', sortedPath, rows.path], {
          env: { ...process.env, LC_ALL: 'C' },
        }),
      ),
  })
  let last = ''
  let count = 0
  for await (const line of mesh.textFile('/sorted-1')) {
    const key = line.slice(0, KEY_CHARACTERS)
    assert.ok(key >= last, `${key} comes after ${last}`)
    last = key
    count++
  }
  assert.equal(count, RECORDS)
  await rm(sortedPath)
  figures.add({
    name: 'sort of 200 MB of 100-byte records, 2 peers',
    value: ms(ours),
    against: `GNU sort ${ms(gnu)}`,
    score: ours / gnu,
    target: { atMost: 2 },
  })
}
