import { randomBytes } from 'node:crypto'
import { afterEach, expect, it } from 'vitest'
import { bytesOf, chunked, DhtMesh } from '../../support/dht-mesh.ts'

const BLOCK_BYTES = 64 * 1024
const NAMES = ['ada', 'bob', 'cyd', 'dan', 'eve', 'fay']

let mesh: DhtMesh
afterEach(async () => mesh?.[Symbol.asyncDispose]())

/** Peers whose disks take so many blocks each, and say so. */
async function smallDisks(blocksMax: number): Promise<DhtMesh> {
  mesh = await DhtMesh.start(NAMES, { blocksInFlight: 1, replicaStallMs: 3_000, lateReplicaMs: 3_000 })
  for (const { fs, store } of mesh.peers.values()) {
    fs.statfs = async () => {
      await Promise.resolve()
      // The stores of this mesh have no reserve: less than nothing is full.
      const blocksLeft = blocksMax - store.list().length
      return { bavail: blocksLeft > 0 ? blocksLeft * BLOCK_BYTES : -1, bsize: 1 }
    }
  }
  return mesh
}

it('a file that is larger than any disk is stored, and read back, over all of them', async () => {
  await smallDisks(6)
  const bytes = randomBytes(12 * BLOCK_BYTES)
  const client = mesh.client('ada')
  const options = { format: 'binary', partitionBytes: BLOCK_BYTES, replication: 2 } as const
  await client.put('/large', chunked(bytes), options)
  expect((await bytesOf(mesh.client('bob').get('/large'))).equals(bytes)).toBe(true)
  const held = NAMES.map(name => mesh.peer(name).store.list().length)
  for (const [index, blocks] of held.entries()) expect(blocks, NAMES[index]).toBeLessThanOrEqual(6)
  expect(held.reduce((sum, blocks) => sum + blocks)).toBeGreaterThanOrEqual(24)
})

it('one that is larger than all of them is refused, visible nowhere, and names the disks', async () => {
  await smallDisks(2)
  const client = mesh.client('ada')
  const options = { format: 'binary', partitionBytes: BLOCK_BYTES, replication: 2 } as const
  const refused = client.put('/huge', chunked(randomBytes(20 * BLOCK_BYTES)), options)
  await expect(refused).rejects.toMatchObject({ code: 'UNDER_REPLICATED', message: /full|free|space|room/i })
  await expect(client.stat('/huge')).rejects.toMatchObject({ code: 'NOT_FOUND' })
})
