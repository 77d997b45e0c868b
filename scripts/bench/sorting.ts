import { execFile } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import { BenchMesh } from './bench-mesh.ts'
import { BenchRows } from './bench-rows.ts'
import { checkSorted } from './check-sorted.ts'
import { interleaved, ms, timeMs, type Figures } from './figures.ts'

const PEERS = 2
const ROUNDS = 3
/** With the newline, as in the sort benchmarks since 1985. */
const RECORD_BYTES = 100
const KEY_CHARACTERS = 10
const FILLER = 'x'.repeat(88)
const DIGITS = '0123456789abcdefghijklmnopqrstuvwxyz'
/** Of each peer, and of GNU sort: as much as both peers have. The data is once and twice as much by default. */
const BUDGETS = [
  { memory: '512m', buffer: '1G' },
  { memory: '256m', buffer: '512M' },
]

/** 100-byte records in order of their first ten characters, written to files of one copy; against GNU sort. */
export async function sorting(figures: Figures, { records: sizeBytes }: { records: number }): Promise<void> {
  const records = Math.ceil(sizeBytes / RECORD_BYTES)
  using rows = await BenchRows.write(records, (_i, random) => {
    let key = ''
    for (let n = 0; n < KEY_CHARACTERS; n++) key += DIGITS[Math.floor(random() * DIGITS.length)]!
    return `${key} ${FILLER}`
  })
  for (const budget of BUDGETS) await sortWithin(figures, rows, records, budget)
}

async function sortWithin(
  figures: Figures,
  rows: BenchRows,
  records: number,
  { memory, buffer }: (typeof BUDGETS)[number],
): Promise<void> {
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1, memory })
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
        promisify(execFile)('sort', ['--parallel=2', '-S', buffer, '-o', sortedPath, rows.path], {
          env: { ...process.env, LC_ALL: 'C' },
        }),
      ),
  })
  await checkSorted(mesh, '/sorted-1', { records, keyCharacters: KEY_CHARACTERS })
  await rm(sortedPath)
  figures.add({
    name: `sort of ${Math.round((records * RECORD_BYTES) / 1e6)} MB of 100-byte records, 2 peers of ${memory}`,
    value: ms(ours),
    against: `GNU sort ${ms(gnu)}`,
    score: ours / gnu,
    target: { atMost: 2 },
  })
}
