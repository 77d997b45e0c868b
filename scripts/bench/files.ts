import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { BenchMesh, residentBytes } from './bench-mesh.ts'
import { BenchText } from './bench-text.ts'
import { encryptedStreamMs } from './encrypted-stream.ts'
import { interleaved, mbPerSecond, timeMs, type Figures } from './figures.ts'

const PEERS = 3
const COPIES = 3
const ROUNDS = 5
const CHUNK_BYTES = 1024 * 1024

/** A file goes in and comes out again, against what the disk and the encrypted connections alone can do. */
export async function files(figures: Figures): Promise<void> {
  using text = await BenchText.write(200_000_000)
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  const { fs } = bench.mesh
  const { sizeBytes } = text
  const times = await interleaved(ROUNDS, {
    put: round =>
      timeMs(() => fs.put(`/text-${round}.txt`, createReadStream(text.path, { highWaterMark: CHUNK_BYTES }))),
    get: round =>
      timeMs(async () => {
        let bytes = 0
        for await (const chunk of fs.get(`/text-${round}.txt`)) bytes += chunk.byteLength
        if (bytes !== sizeBytes) throw new Error(`${bytes} bytes came back of ${sizeBytes}`)
        await fs.rm(`/text-${round}.txt`)
      }),
    disk: () => durableWriteMs(join(bench.directory, 'raw'), sizeBytes),
    read: () => rawReadMs(text.path),
    stream: () => encryptedStreamMs(sizeBytes),
  })
  const { put, get, disk, read, stream } = times
  figures.add({ name: 'raw durable write', value: mbPerSecond(sizeBytes, disk) })
  figures.add({ name: 'encrypted stream between processes', value: mbPerSecond(sizeBytes, stream) })
  // One of the three owners is the peer that the client is attached to.
  const boundMs = Math.max(disk * COPIES, stream * (COPIES - 1))
  figures.add({
    name: 'ingest of 200 MB, RF 3, 3 peers',
    value: mbPerSecond(sizeBytes, put),
    against: `bound ${mbPerSecond(sizeBytes, boundMs)}`,
    score: boundMs / put,
    target: { atLeast: 0.75 },
  })
  const withClientMs = Math.max(disk * COPIES, stream * COPIES)
  figures.add({
    name: 'the same, the client’s own stream counted',
    value: mbPerSecond(sizeBytes, put),
    against: `bound ${mbPerSecond(sizeBytes, withClientMs)}`,
    score: withClientMs / put,
  })
  figures.add({
    name: 'read back',
    value: mbPerSecond(sizeBytes, get),
    against: `file ${mbPerSecond(sizeBytes, read)}`,
    score: read / get,
    target: { atLeast: 0.5 },
  })
  figures.add({
    name: 'read back',
    value: mbPerSecond(sizeBytes, get),
    against: `stream ${mbPerSecond(sizeBytes, stream)}`,
    score: stream / get,
  })
  const worst = Math.max(...bench.peers.map(({ pid }) => residentBytes(pid) / 1e6))
  figures.add({ name: 'memory of a peer after that, worst of 3', value: `${worst.toFixed(0)} MB` })
}

async function durableWriteMs(path: string, bytes: number): Promise<number> {
  const chunk = new Uint8Array(CHUNK_BYTES).fill(0x61)
  return await timeMs(async () => {
    await using file = await open(path, 'w')
    for (let left = bytes; left > 0; left -= chunk.byteLength) {
      await file.write(chunk, 0, Math.min(left, chunk.byteLength))
    }
    await file.datasync()
  })
}

async function rawReadMs(path: string): Promise<number> {
  return await timeMs(async () => {
    for await (const _chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES })) continue
  })
}
