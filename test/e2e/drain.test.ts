import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { sleep } from '../../src/base/index.ts'
import { createPeer, type Peer } from '../../src/node/index.ts'
import { readMeshKey } from '../../src/node/net/index.ts'

const NAMES = ['p1', 'p2', 'p3', 'p4']
const BYTES = new Uint8Array(200_000).map((_, i) => (i * 31) >> 3)
const voters = { stableMs: 200, replaceAfterMs: 1_000 }
const repair = { graceMs: 60_000, tickMs: 50 }

let directory = ''
const peers: Peer[] = []
let gone = ''

/** Four whole peers in this process: one more than there are copies. */
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'shoal-drain-'))
  for (const name of NAMES) {
    const [first] = peers
    const joining =
      first === undefined
        ? {}
        : { join: first.addresses(), meshKey: await readMeshKey(join(directory, 'p1')) }
    const dataDirectory = join(directory, name)
    const peer = await createPeer({ dataDirectory, name, host: name, workers: 1, voters, repair, ...joining })
    peers.push(peer)
    await peer.ready()
  }
  await Promise.all(peers.map(peer => peer.ready({ peers: NAMES.length })))
  await peers[0]!.mesh.fs.put('/f', Readable.from([BYTES]), { partitionBytes: 4_096, format: 'binary' })
}, 60_000)

afterAll(async () => {
  await Promise.all(peers.map(peer => peer.stop()))
  await rm(directory, { recursive: true, force: true })
})

async function until(claim: string, holds: () => Promise<boolean>, timeoutMs = 60_000): Promise<void> {
  const endMs = performance.now() + timeoutMs
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${claim}`)
    await sleep(50)
  }
}

test('a plan for a death names every copy that would be made, and who dies is nowhere in it', async () => {
  const [{ mesh }] = peers as [Peer]
  await until('all slots rest', async () => (await mesh.status()).files.slotsMoving === 0)
  const places = (await mesh.fs.locate('/f')).partitions
  const plan = await mesh.planIfPeerDies('p2')
  const held = places.filter(({ holders }) => holders.includes(peers[1]!.id)).length
  expect(plan).toMatchObject({ name: 'p2', blocks: held, copyBlocks: held, lostBlocks: 0, singleBlocks: 0 })
  expect(plan.copies.reduce((sum, copy) => sum + copy.blocks, 0)).toBe(held)
  for (const { from, to } of plan.copies) {
    expect([from, to]).not.toContain('p2')
    expect(from).not.toBe(to)
  }
  await expect(mesh.planIfPeerDies('nobody')).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
})

test('a drained peer, be it the leader, gives everything away, is voted out, leaves and may stop; nothing is lost', async () => {
  const leader = (await peers[0]!.mesh.status()).leader
  const drained = peers.find(peer => peer.id === leader)!
  gone = drained.id
  const others = peers.filter(peer => peer !== drained)
  const { mesh } = others[0]!
  expect(await mesh.drain(drained.name)).toMatchObject({ name: drained.name, draining: true })
  expect(await mesh.drain(drained.name, { cancel: true })).toMatchObject({ draining: false, done: false })
  const places = (await mesh.fs.locate('/f')).partitions
  expect(places.filter(({ holders }) => holders.includes(drained.id)).length).toBeGreaterThan(0)
  await mesh.drain(drained.name)
  await until('the peer has left', async () => (await mesh.drainStatus(drained.id)).state === 'left')
  await drained.drained
  await drained.stop()
  const status = await mesh.status()
  expect(status.voters).not.toContain(drained.id)
  expect(status.leader).not.toBe(drained.id)
  expect(status.files).toMatchObject({ underReplicated: 0, missing: 0 })
  for (const { holders } of (await mesh.fs.locate('/f')).partitions) {
    expect(holders).toHaveLength(3)
    expect(holders).not.toContain(drained.id)
  }
  const chunks: Uint8Array[] = []
  for await (const chunk of mesh.fs.get('/f')) chunks.push(chunk)
  expect(Buffer.concat(chunks).equals(Buffer.from(BYTES))).toBe(true)
}, 90_000)

test('with no more peers than copies a drain is refused and says how to go on', async () => {
  const [asked, other] = peers.filter(peer => peer.id !== gone) as [Peer, Peer]
  await expect(asked.mesh.drain(other.name)).rejects.toMatchObject({
    code: 'DRAIN_REFUSED',
    message: expect.stringContaining('--degraded'),
  })
})
