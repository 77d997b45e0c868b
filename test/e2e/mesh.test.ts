import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { attach } from '../../src/node/index.ts'
import { doze } from '../support/doze.ts'
import { bytesOf, textOf } from '../support/file-bytes.ts'
import { PeerStartError } from '../support/peer-process.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

const cluster = useCluster(3)

test('three peers agree on one leader, three voters and each other', async () => {
  const statuses = await Promise.all(cluster().peers.map(peer => peer.status()))
  const [first] = statuses
  for (const status of statuses) {
    expect(status.meshId).toBe(first!.meshId)
    expect(status.leader).toBe(first!.leader)
    expect(status.voters).toHaveLength(3)
    expect(status.members.map(member => member.name).sort()).toEqual(['p1', 'p2', 'p3'])
  }
})

test('a peer that was killed rejoins by itself with its identity, and knows what it missed', async () => {
  const mesh = await cluster().connect(cluster().peers[0])
  const victim = cluster().peers[2]!
  const { id } = victim
  await victim.kill()
  await mesh.fs.mkdir('/while-away')
  await victim.start()
  await cluster().ready()
  expect(victim.id).toBe(id)
  const again = await cluster().connect(victim)
  const entries = await again.fs.ls('/')
  expect(entries.map(entry => entry.name)).toContain('while-away')
})

test('a peer with the wrong secret is not admitted, and the mesh does not see it', async () => {
  const stranger = cluster().prepare({ meshKeyHex: randomBytes(32).toString('hex') })
  const refused = await stranger.start().catch((error: unknown) => error)
  expect(refused).toBeInstanceOf(PeerStartError)
  expect(refused).toMatchObject({ code: 'NOT_ADMITTED' })
  expect((await cluster().peers[0]!.status()).members).toHaveLength(3)
})

test('a client with the wrong secret is not admitted', async () => {
  const attached = attach({ peers: cluster().peers[0]!.addresses, meshKey: randomBytes(32) })
  await expect(attached).rejects.toMatchObject({ code: 'NOT_ADMITTED' })
})

test('without a majority writes and jobs, also one under way, end in NO_QUORUM and stale reads go on; with it again, all goes on', async () => {
  const [survivor, ...others] = cluster().running()
  const mesh = await cluster().connect(survivor)
  await mesh.fs.put('/kept.txt', bytesOf('kept\n'))
  const busy = await cluster().connect(survivor)
  const underWay = Promise.withResolvers<void>()
  using _ = busy.onJobEvent(event => {
    if (event.type === 'progress') underWay.resolve()
  })
  const begun = busy
    .range(0, 60, 1, 60)
    .map(number => {
      doze(1_000)
      return number
    })
    .count()
    .catch((error: unknown) => error)
  await underWay.promise
  await Promise.all(others.map(peer => peer.kill()))
  await waitFor('the survivor to lead no more', async () => (await survivor!.status()).leader === undefined)

  const startMs = performance.now()
  const [write, put, job, read] = await Promise.all([
    mesh.fs.mkdir('/refused').catch((error: unknown) => error),
    mesh.fs.put('/refused.txt', bytesOf('refused\n')).catch((error: unknown) => error),
    mesh
      .range(10)
      .sum()
      .catch((error: unknown) => error),
    textOf(mesh.fs.get('/kept.txt', { consistency: 'stale' })),
  ])
  const tookMs = performance.now() - startMs
  expect([write, put, job]).toMatchObject([
    { code: 'NO_QUORUM' },
    { code: 'NO_QUORUM' },
    { code: 'NO_QUORUM' },
  ])
  expect(read).toBe('kept\n')
  const { asOf } = await mesh.fs.stat('/kept.txt', { consistency: 'stale' })
  // Nobody has led since the others were killed.
  expect(asOf?.ageMs).toBeGreaterThan(3_000)
  expect(asOf?.index).toBeGreaterThan(0)
  // A client is patient for 10 s; then it says so within one try of the leader's.
  expect(tookMs).toBeLessThan(25_000)
  expect(await begun).toMatchObject({ code: 'NO_QUORUM' })

  await cluster().heal()
  expect(await textOf(mesh.fs.get('/kept.txt'))).toBe('kept\n')
  expect(await mesh.range(10).sum()).toBe(45)
  await mesh.fs.mkdir('/accepted')
  expect((await mesh.fs.ls('/')).map(entry => entry.name)).not.toContain('refused.txt')
})

test('peers that are stopped leave nothing that runs, and end with 0', async () => {
  const codes = await Promise.all(
    cluster()
      .running()
      .map(peer => peer.stop()),
  )
  expect(codes).toEqual([0, 0, 0])
})
