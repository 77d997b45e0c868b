import { randomFillSync } from 'node:crypto'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { attach, type Mesh } from '../../src/node/index.ts'
import { BenchMesh } from './bench-mesh.ts'
import { encryptedStreamMs } from './encrypted-stream.ts'
import { mbPerSecond, ms, timeMs, type Figures } from './figures.ts'

const PEERS = 5
const FILE_BYTES = 100_000_000
/** Together 1 GB, three times on the disks. */
const FILES = 10
const CHUNK_BYTES = 1024 * 1024
/** How long a dead peer may come back before its copies are made elsewhere. */
const GRACE_MS = 30_000
const POLL_MS = 50
/** A mesh that needs longer than this is broken, not slow. */
const TIMEOUT_MS = 300_000

/** Kills one of five peers that keep 1 GB three times: how long until there are three living copies of all again. */
export async function restore(figures: Figures): Promise<void> {
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  for (let i = 0; i < FILES; i++) await bench.mesh.fs.put(`/${i}`, noise(), { format: 'binary' })
  const peers = await bench.localPeers()
  const victim = peers.at(-1)!
  await using mesh = await attach({ peers: peers[0]!.addresses, meshKey: await bench.meshKey() })
  await until(async () => (await mesh.status()).files.underReplicated === 0)
  const lostBytes = await storedBytes(mesh, victim.addresses)
  const killMs = performance.now()
  process.kill(victim.pid, 'SIGKILL')
  await until(async () => (await mesh.status()).files.underReplicated > 0)
  const noticedMs = performance.now() - killMs
  await until(async () => {
    const { underReplicated, missing } = (await mesh.status()).files
    return underReplicated + missing === 0
  })
  const restoredMs = performance.now() - killMs
  const copyMs = restoredMs - noticedMs - GRACE_MS
  figures.add({
    name: '1 GB on 5 peers, one killed → three copies of all again',
    value: ms(restoredMs),
    against: `noticed after ${ms(noticedMs)}, grace ${ms(GRACE_MS)}, copying ${ms(copyMs)}`,
  })
  const disk = await timeMs(() => rawCopy(join(bench.directory, 'raw'), lostBytes))
  const stream = await encryptedStreamMs(lostBytes)
  figures.add({
    name: `copying of its ${Math.round(lostBytes / 1e6)} MB to four peers`,
    value: mbPerSecond(lostBytes, copyMs),
    against: `raw durable write ${mbPerSecond(lostBytes, disk)}, one encrypted stream ${mbPerSecond(lostBytes, stream)}`,
    score: Math.max(disk, stream) / copyMs,
  })
}

async function* noise(): AsyncGenerator<Uint8Array> {
  for (let left = FILE_BYTES; left > 0; left -= CHUNK_BYTES) {
    yield randomFillSync(new Uint8Array(Math.min(left, CHUNK_BYTES)))
  }
}

/** Bytes of blocks on the peer at these addresses. */
async function storedBytes(mesh: Mesh, addresses: readonly string[]): Promise<number> {
  const { members } = await mesh.status()
  const peer = members.find(({ peerId }) => addresses.some(address => address.endsWith(peerId)))
  const health = await mesh.fs.blockHealth()
  return health.peers.find(each => each.peer === peer?.peerId)?.health?.usedBytes ?? 0
}

async function rawCopy(path: string, bytes: number): Promise<void> {
  const chunk = randomFillSync(new Uint8Array(CHUNK_BYTES))
  await using file = await open(path, 'w')
  for (let left = bytes; left > 0; left -= CHUNK_BYTES) {
    await file.write(chunk, 0, Math.min(left, CHUNK_BYTES))
  }
  await file.datasync()
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (const untilMs = performance.now() + TIMEOUT_MS; !(await condition()); await wait(POLL_MS)) {
    if (performance.now() > untilMs) throw new Error(`not within ${TIMEOUT_MS} ms`)
  }
}
