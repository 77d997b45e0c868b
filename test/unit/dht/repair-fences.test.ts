import { afterEach, describe, expect, it } from 'vitest'
import { asFileId, asPeerId, ShoalError } from '../../../src/base/index.ts'
import { blockIdOf, Namespace, slotBatch } from '../../../src/dht/index.ts'
import { CopyThrottle } from '../../../src/dht/copy-throttle.ts'
import { blockCopy, blockDelete } from '../../../src/dht/messages.ts'
import { Repair } from '../../../src/dht/repair.machine.ts'
import { chunked, DhtMesh } from '../../support/dht-mesh.ts'
import { member, members, RepairMesh } from '../../support/repair-mesh.ts'

const FILE = asFileId('a'.repeat(32))
const BLOCK = blockIdOf(FILE, 0, '1')
const [ADA, BOB, CYD] = [asPeerId('ada'), asPeerId('bob'), asPeerId('cyd')]

let mesh: DhtMesh | undefined
afterEach(async () => {
  await mesh?.[Symbol.asyncDispose]()
  mesh = undefined
})

async function oneBlock(names: string[]) {
  mesh = await DhtMesh.start(names)
  await mesh.client('ada').put('/f', chunked(new Uint8Array(1_000)), { format: 'binary' })
  return { mesh, block: mesh.namespace.blocksOf('/f')[0]! }
}

describe('orders of a leader that leads no more', () => {
  it('a copy asked for at an epoch that the slot has left is refused, at the present one it is made', async () => {
    const { mesh, block } = await oneBlock(['ada', 'bob', 'cyd', 'dan'])
    const { blockId, slot, sizeBytes: bytes, sha256, holders } = block
    const target = ['ada', 'bob', 'cyd', 'dan'].find(name => !holders.some(holder => holder === name))!
    const asked = mesh.slots.row(slot).epoch
    const owners = [asPeerId(target), ...holders.slice(0, 2)]
    mesh.apply({ type: 'slot-move-begin', batch: slotBatch([{ slot, epoch: asked, owners }]) })
    const copy = (epoch: number) =>
      mesh.peer(holders[0]!).transport.call(asPeerId(target), blockCopy, {
        blockId,
        bytes,
        sha256,
        from: [...holders],
        fence: { slot, epoch },
      })
    await expect(copy(asked)).rejects.toMatchObject({
      code: 'STALE_EPOCH',
      details: { slot, epoch: asked, seen: asked + 1 },
    })
    expect(mesh.peer(target).store.has(blockId)).toBe(false)
    await expect(copy(asked + 1)).resolves.toMatchObject({ head: { copied: true } })
  })

  it('a drop decided before the log named the peer as owner again deletes nothing', async () => {
    const { mesh, block } = await oneBlock(['ada', 'bob', 'cyd'])
    const { blockId, holders } = block
    for (const holder of holders) {
      const { head } = await mesh
        .peer('ada')
        .transport.call(holder, blockDelete, { blockId, appliedIndex: 1 })
      expect(head.deleted).toBe(false)
      expect(mesh.peer(holder).store.has(blockId)).toBe(true)
    }
  })

  it('a drop that the peer’s own log has not reached yet deletes nothing', async () => {
    const { mesh, block } = await oneBlock(['ada', 'bob', 'cyd'])
    const { blockId, holders } = block
    const former = holders[2]!
    mesh.apply({ type: 'report-holders', blocks: [{ blockId, remove: [former] }] })
    const ahead = mesh.peer(former).ports.appliedIndex() + 1
    const { head } = await mesh
      .peer('ada')
      .transport.call(former, blockDelete, { blockId, appliedIndex: ahead })
    expect(head.deleted).toBe(false)
    expect(mesh.peer(former).store.has(blockId)).toBe(true)
  })

  it('a report of another term changes no holders', () => {
    const namespace = new Namespace({ slotCount: 8 })
    const at = (index: number, term: number) => ({ index, term, timeMs: index })
    namespace.apply({ type: 'begin-file', path: '/f', fileId: FILE, leaseMs: 1_000 }, at(1, 1))
    const block = { index: 0, blockId: BLOCK, sizeBytes: 1, sha256: 'ab'.repeat(32), holders: [ADA, BOB] }
    namespace.apply({ type: 'add-blocks', fileId: FILE, blocks: [block] }, at(2, 1))
    namespace.apply({ type: 'commit-file', fileId: FILE, blockCount: 1 }, at(3, 1))
    const report = {
      type: 'report-holders',
      term: 1,
      blocks: [{ blockId: BLOCK, add: [CYD], remove: [ADA] }],
    } as const
    const stale = { ...report, blocks: [{ blockId: BLOCK, add: [CYD], remove: [ADA] }] }
    expect(namespace.apply(stale, at(4, 2))).toMatchObject({
      ok: false,
      error: { code: 'STALE_LEADER', details: { term: 1, seen: 2 } },
    })
    expect(namespace.blocksOf('/f')[0]!.holders).toEqual([ADA, BOB])
    expect(namespace.apply(stale, at(5, 1))).toMatchObject({ ok: true, changed: 1 })
    expect(namespace.blocksOf('/f')[0]!.holders).toEqual([BOB, CYD])
  })

  it('the planner signs its reports with its term and its copies with the slot’s epoch', () => {
    const base = new RepairMesh()
    base.setMembers(members(3))
    base.settle(1_000)
    base.put(5)
    const planner = new Repair(
      { slotCount: 32, graceMs: 0 },
      { slots: base.slots, blocks: base.namespace },
      7,
    )
    base.loseCopies(asPeerId('peer1'))
    const effects = planner.step({ type: 'members-changed', members: [0, 1, 2].map(member) }, 0)
    const copy = effects.find(effect => effect.type === 'copy')
    if (copy === undefined) throw new Error('nothing is copied')
    expect(copy.epoch).toBe(base.slots.row(copy.slot).epoch)
    const after = planner.step({ type: 'copy-finished', blockId: copy.blockId, to: copy.to }, 1)
    expect(after).toContainEqual(
      expect.objectContaining({ command: expect.objectContaining({ type: 'report-holders', term: 7 }) }),
    )
  })
})

describe('slots in motion', () => {
  it('the table refuses to set more than a quarter of them in motion, whoever asks', () => {
    const base = new RepairMesh()
    base.setMembers(members(4))
    base.settle(1_000)
    const begin = (slots: number[]) =>
      base.slots.apply(
        {
          type: 'slot-move-begin',
          batch: slotBatch(
            slots.map(slot => ({
              slot,
              epoch: base.slots.row(slot).epoch,
              owners: base.slots
                .row(slot)
                .owners.map(owner => (owner === 'peer0' ? asPeerId('peer9') : owner)),
            })),
          ),
        },
        { index: 1, term: 1, timeMs: 1 },
      )
    const all = Array.from({ length: 32 }, (_, slot) => slot)
    expect(begin(all.slice(0, 9))).toMatchObject({
      ok: false,
      error: { code: 'BUSY', details: { limit: 8 } },
    })
    expect(begin(all.slice(0, 8))).toMatchObject({ ok: true })
    expect(begin([8])).toMatchObject({ ok: false, error: { code: 'BUSY' } })
    expect(base.slots.moving()).toEqual(all.slice(0, 8))
    base.slots.assertInvariants()
  })
})

describe('the throttle of copies', () => {
  it('lets a second’s worth pass, then the configured rate, whatever the size of chunks', () => {
    let nowMs = 0
    const throttle = new CopyThrottle(1_000, { nowMs: () => nowMs })
    expect(throttle.take(1_000)).toBe(0)
    let passed = 0
    for (const bytes of [10, 700, 1, 2_500, 300, 5]) {
      nowMs += throttle.take(bytes)
      passed += bytes
      expect(passed).toBeLessThanOrEqual(nowMs + 1)
      expect(passed).toBeGreaterThanOrEqual(nowMs - 10)
    }
    nowMs += 60_000
    expect(throttle.take(1_000)).toBe(0)
    expect(throttle.take(1_000)).toBe(1_000)
  })

  it('stops at once when the copy is called off', async () => {
    const throttle = new CopyThrottle(1, { nowMs: () => 0 })
    const stop = new AbortController()
    const paced = throttle.paced(chunked(new Uint8Array(10_000)), stop.signal)
    const next = paced.next()
    stop.abort(new ShoalError('CANCELLED', { what: 'the copy' }))
    await expect(next).rejects.toMatchObject({ code: 'CANCELLED' })
  })
})
