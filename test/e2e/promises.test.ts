import { open } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { asBlockId, seededRandom, shuffled } from '../../src/base/index.ts'
import { blockDataPath } from '../../src/dht/index.ts'
import { KnownFiles } from '../support/known-files.ts'
import { ClusterLoad } from '../support/namespace-load.ts'
import type { PeerProcess } from '../support/peer-process.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

/** The scenarios of test/chaos, once each and short: what a change may have broken shows before the long runs. */
const SEED = 20
const FILE_BYTES = 200_000

const cluster = useCluster(5, { repair: { graceMs: 1_000 } })

test('a flipped byte is found by a reader of the very peer that has it, who reads the right ones; it is mended', async () => {
  const files = new KnownFiles(seededRandom(SEED))
  const writer = await cluster().connect()
  await files.put(writer, '/flipped', FILE_BYTES)
  const { partitions } = await writer.fs.locate('/flipped')
  const { blockId, holders } = partitions[0]!
  const victim = cluster().peers.find(({ id }) => id === holders[0])!
  {
    await using file = await open(blockDataPath(victim.dataDirectory, asBlockId(blockId)), 'r+')
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, FILE_BYTES / 2)
    await file.write(Buffer.from([byte[0]! ^ 1]), 0, 1, FILE_BYTES / 2)
  }
  const reader = await cluster().connect(victim)
  expect(await files.isWhole(reader, '/flipped')).toBe(true)
  await waitFor('the bad copy to be mended', async () => {
    const { store } = await victim.status()
    return store?.corruptFound === 1 && store.repaired === 1 && store.damagedCount === 0
  })
  await Promise.all([writer.close(), reader.close()])
})

test('the leader is killed during changes, and the answers that clients got have one order', async () => {
  await using load = new ClusterLoad(cluster(), { name: 'killed', clients: 6, random: seededRandom(SEED) })
  await waitFor('clients at work', () => load.acknowledged() > 20)
  const leader = await cluster().leader()
  await leader.kill()
  const known = load.acknowledged()
  await waitFor('changes again', () => load.acknowledged() > known + 20)
  expect(await load.stop()).toBeGreaterThan(40)
  await load.audit()
  await cluster().heal()
})

test('a peer whose log cannot be synced stops, the others go on, and it comes back', async () => {
  await using load = new ClusterLoad(cluster(), { name: 'eio', clients: 4, random: seededRandom(SEED) })
  const [victim] = await cluster().followers()
  await waitFor('clients at work', () => load.acknowledged() > 10)
  victim!.failSyncs('meta')
  await waitFor('it to stop', () => !victim!.isRunning)
  expect(victim!.takeCrash()).toContain('EIO')
  const known = load.acknowledged()
  await waitFor('the others to go on', () => load.acknowledged() > known + 10)
  await load.stop()
  await load.audit()
  await cluster().heal()
})

test('wall clocks jump by days: nobody votes, nothing expires', async () => {
  const mesh = await cluster().connect()
  const files = new KnownFiles(seededRandom(SEED))
  await files.put(mesh, '/removed', FILE_BYTES)
  await mesh.fs.rm('/removed')
  const { term } = await (await cluster().leader()).status()
  for (const [i, peer] of cluster().peers.entries()) peer.setClock((i % 2 === 0 ? 1 : -1) * 40 * 86_400_000)
  await mesh.fs.mkdir('/another-day')
  expect(await mesh.fs.undelete('/removed')).toMatchObject({ path: '/removed' })
  await files.check(mesh)
  for (const peer of cluster().peers) peer.setClock(0)
  expect((await (await cluster().leader()).status()).term).toBe(term)
  await mesh.close()
})

test('two of three holders die: everything can still be read, and has three copies again', async () => {
  const files = new KnownFiles(seededRandom(SEED))
  const writer = await cluster().connect()
  for (let i = 0; i < 12; i++) await files.put(writer, `/last/${i}`, FILE_BYTES)
  await writer.close()
  const [first, second, third] = shuffled(seededRandom(SEED), cluster().peers) as [
    PeerProcess,
    PeerProcess,
    PeerProcess,
  ]
  const mesh = await cluster().connect(third)
  await Promise.all([first.kill(), second.kill()])
  await files.check(mesh)
  await waitFor('three copies of all', async () => {
    const located = await Promise.all(files.paths.map(path => mesh.fs.locate(path)))
    const dead: readonly string[] = [first.id, second.id]
    return located
      .flatMap(({ partitions }) => partitions)
      .every(({ holders }) => holders.filter(id => !dead.includes(id)).length === 3)
  })
  await files.check(mesh)
  await mesh.close()
})
