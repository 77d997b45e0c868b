import { afterEach, describe, expect, it } from 'vitest'
import { RepairDriver, type RepairMember } from '../../../src/dht/index.ts'
import { blockCopy, blockInventory } from '../../../src/dht/messages.ts'
import { bytesOf, chunked, DhtMesh, eventually } from '../../support/dht-mesh.ts'

const FOUR = ['ada', 'bob', 'cyd', 'dan']
const QUICK = { readHeadTimeoutMs: 3_000, readIdleMs: 3_000, readRetryMs: 10 }
const REPAIR = { graceMs: 0, retryMs: 20, tickMs: 10, leaseSweepMs: 20 }

let mesh: DhtMesh
let driver: RepairDriver | undefined
afterEach(async () => {
  driver?.stop()
  driver = undefined
  await mesh[Symbol.asyncDispose]()
})

const members = (): RepairMember[] =>
  mesh.ring().map(peer => ({ ...peer, state: mesh.isDead(peer.peerId) ? 'dead' : 'alive' }))

/** Makes `name` the leader's planner, fed as the process feeds it. */
function lead(name: string): RepairDriver {
  const { ports, service } = mesh.peer(name)
  driver?.stop()
  const started = new RepairDriver(
    { ...ports, askToCopy: (peer, request, options) => service.askToCopy(peer, request, options) },
    REPAIR,
  )
  driver = started
  mesh.listeners.push(command => started.onApplied(command))
  started.start(members())
  return started
}

async function write(path: string, length = 40_000): Promise<Uint8Array> {
  const bytes = new Uint8Array(length).map((_, i) => (i * 31) >> 3)
  await mesh.client('ada').put(path, chunked(bytes), { partitionBytes: 1_000, format: 'binary' })
  return bytes
}

/** Every block of the file is, verified, on exactly the peers that the log names, and as many as wanted live. */
async function isWhole(path: string, wanted: number): Promise<boolean> {
  for (const { blockId, holders, slot } of mesh.namespace.blocksOf(path)) {
    const row = mesh.slots.row(slot)
    if (row.pending.length > 0 || row.retiring.length > 0) return false
    if (holders.filter(holder => !mesh.isDead(holder)).length !== wanted) return false
    for (const holder of holders) {
      if (mesh.isDead(holder)) continue
      if (!row.owners.includes(holder)) return false
      await mesh.peer(holder).store.verify(blockId)
    }
  }
  return true
}

describe('repair driver', () => {
  it('restores three copies of every block after a peer died, and drops nothing', async () => {
    mesh = await DhtMesh.start(FOUR, QUICK)
    const bytes = await write('/f')
    const repair = lead('ada')
    mesh.kill('dan')
    expect(
      mesh.namespace.underReplicated(new Set(['ada', 'bob', 'cyd'].map(n => mesh.peer(n).id))).length,
    ).toBeGreaterThan(0)
    repair.onMembers(members())
    await eventually('three copies of all', () => isWhole('/f', 3), 10_000)
    expect(await mesh.client('bob').health()).toMatchObject({
      underReplicated: 0,
      missing: 0,
      movingSlots: 0,
    })
    expect(await bytesOf(mesh.client('bob').get('/f'))).toEqual(Buffer.from(bytes))
    for (const row of Array.from({ length: 64 }, (_, slot) => mesh.slots.row(slot))) {
      expect([...row.owners].sort()).toEqual(['ada', 'bob', 'cyd'])
    }
  })

  it('tops a degraded file up at once, without any change of members', async () => {
    mesh = await DhtMesh.start(FOUR.slice(0, 3), QUICK)
    lead('ada')
    mesh.network.block('ada', 'cyd')
    await write('/f', 2_500)
    expect(mesh.namespace.blocksOf('/f').map(block => block.holders.length)).toEqual([2, 2, 2])
    mesh.network.heal()
    await eventually('three copies of all', () => isWhole('/f', 3), 10_000)
  })

  it('gives a peer that joins its share and has the former owners delete theirs', async () => {
    mesh = await DhtMesh.start(FOUR.slice(0, 3), QUICK)
    const bytes = await write('/f')
    const repair = lead('ada')
    await mesh.join('dan')
    repair.onMembers(members())
    const { store } = mesh.peer('dan')
    await eventually(
      'dan has a share',
      async () => store.list().length > 0 && (await isWhole('/f', 3)),
      10_000,
    )
    await eventually('surplus copies are gone', () => {
      const stored = FOUR.reduce((sum, name) => sum + mesh.peer(name).store.list().length, 0)
      return stored === 3 * mesh.namespace.blocksOf('/f').length
    })
    expect(await bytesOf(mesh.client('dan').get('/f'))).toEqual(Buffer.from(bytes))
  })

  it('goes on under another leader where the first one stopped', async () => {
    mesh = await DhtMesh.start(FOUR, QUICK)
    await write('/f')
    const first = lead('ada')
    mesh.kill('dan')
    first.onMembers(members())
    await eventually('a move has begun', () => mesh.slots.moving().length > 0)
    first.stop()
    expect(first.status()).toBeUndefined()
    lead('bob')
    await eventually('three copies of all', () => isWhole('/f', 3), 10_000)
  })

  it('waits out the loss of the quorum and then repairs', async () => {
    mesh = await DhtMesh.start(FOUR, QUICK)
    await write('/f', 5_000)
    const repair = lead('ada')
    mesh.quorum = false
    mesh.kill('dan')
    repair.onMembers(members())
    mesh.quorum = true
    await eventually('three copies of all', () => isWhole('/f', 3), 10_000)
  })

  it('ends the lease of a writer that went away, so that its blocks become garbage', async () => {
    mesh = await DhtMesh.start(['ada', 'bob'], QUICK)
    const { service, store } = mesh.peer('ada')
    const { fileId } = await service.writeOpen('/open', chunked(new Uint8Array(10)), { leaseMs: 1_000 })
    lead('bob')
    await eventually('leases are looked at', () => mesh.applied.some(c => c.type === 'expire-leases'))
    expect(mesh.namespace.leaseOf(fileId)).toBeDefined()
    mesh.aheadMs += 120_000
    await eventually('the lease is gone', () => mesh.namespace.leaseOf(fileId) === undefined)
    expect(await service.collectOrphans()).toMatchObject({ unneeded: store.list().length })
    expect(store.list()).toHaveLength(1)
  })

  it('copies only what proves good: from another holder when the first one is corrupt', async () => {
    mesh = await DhtMesh.start(FOUR, QUICK)
    await write('/f', 1_000)
    const { blockId, sizeBytes: bytes, sha256, holders } = mesh.namespace.blocksOf('/f')[0]!
    await mesh.flip(holders[0]!, blockId, 500)
    const target = FOUR.find(name => !holders.some(holder => holder === name))!
    const from = [...holders]
    const { head } = await mesh
      .peer('ada')
      .transport.call(mesh.peer(target).id, blockCopy, { blockId, bytes, sha256, from })
    expect(head).toEqual({ blockId, bytes, sha256, copied: true })
    const again = await mesh
      .peer('ada')
      .transport.call(mesh.peer(target).id, blockCopy, { blockId, bytes, sha256, from })
    expect(again.head.copied).toBe(false)
    const inventory = await mesh.peer('ada').transport.call(mesh.peer(target).id, blockInventory, {})
    expect(inventory.head).toEqual({ blocks: [{ blockId, bytes, sha256 }], more: false })
  })
})
