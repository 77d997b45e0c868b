import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { asPeerId, pack, unpack, type PeerId } from '../../../src/base/index.ts'
import { slotBatch, SlotTable, type SlotChange, type SlotCommand } from '../../../src/dht/index.ts'

const SLOTS = 4
const context = { index: 1, term: 1, timeMs: 0 }
const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(asPeerId) as [PeerId, PeerId, PeerId, PeerId]

function apply(table: SlotTable, type: SlotCommand['type'], ...changes: SlotChange[]): string {
  const result = table.apply({ type, batch: slotBatch(changes) }, context)
  table.assertInvariants()
  return result.ok ? 'ok' : result.error.code
}

function assigned(...owners: PeerId[]): SlotTable {
  const table = new SlotTable(SLOTS)
  expect(apply(table, 'slots-assign', { slot: 0, epoch: 0, owners })).toBe('ok')
  return table
}

describe('slot table', () => {
  it('moves a slot by begin, promote and retire; writers serve old and new owners on the way', () => {
    const table = assigned(a, b, c)
    expect(apply(table, 'slot-move-begin', { slot: 0, epoch: 1, owners: [a, d, c] })).toBe('ok')
    expect(table.row(0)).toEqual({ epoch: 2, owners: [a, b, c], pending: [a, d, c], retiring: [] })
    expect(table.writersOf(0)).toEqual([a, b, c, d])
    expect(table.moving()).toEqual([0])
    expect(apply(table, 'slot-move-promote', { slot: 0, epoch: 2, owners: [] })).toBe('ok')
    expect(table.row(0)).toEqual({ epoch: 3, owners: [a, d, c], pending: [], retiring: [b] })
    expect(apply(table, 'slot-move-retire', { slot: 0, epoch: 3, owners: [] })).toBe('ok')
    expect(table.row(0)).toEqual({ epoch: 4, owners: [a, d, c], pending: [], retiring: [] })
    expect(table.moving()).toEqual([])
  })

  it('refuses a stale epoch or one it has not seen, and the whole batch with it', () => {
    const table = assigned(a)
    expect(apply(table, 'slots-assign', { slot: 0, epoch: 2, owners: [b] })).toBe('STALE_EPOCH')
    const good = { slot: 1, epoch: 0, owners: [a] }
    expect(apply(table, 'slots-assign', good, { slot: 0, epoch: 0, owners: [b] })).toBe('STALE_EPOCH')
    expect(table.row(1).epoch).toBe(0)
    expect(apply(table, 'slots-assign', good, { slot: 0, epoch: 1, owners: [b] })).toBe('ok')
  })

  it('never removes before it adds: no fewer owners, no promotion without a begin, no retirement without a promotion', () => {
    const table = assigned(a, b)
    expect(apply(table, 'slots-assign', { slot: 0, epoch: 1, owners: [a] })).toBe('BAD_MESSAGE')
    expect(apply(table, 'slot-move-begin', { slot: 0, epoch: 1, owners: [c] })).toBe('BAD_MESSAGE')
    expect(apply(table, 'slot-move-promote', { slot: 0, epoch: 1, owners: [] })).toBe('BAD_MESSAGE')
    expect(apply(table, 'slot-move-retire', { slot: 0, epoch: 1, owners: [] })).toBe('BAD_MESSAGE')
    expect(apply(table, 'slot-move-begin', { slot: 1, epoch: 0, owners: [a] })).toBe('BAD_MESSAGE')
    expect(table.row(0)).toEqual({ epoch: 1, owners: [a, b], pending: [], retiring: [] })
  })

  it('forgets a cancelled move, and takes back an owner that was retiring', () => {
    const table = assigned(a, b)
    apply(table, 'slot-move-begin', { slot: 0, epoch: 1, owners: [a, c] })
    expect(apply(table, 'slot-move-begin', { slot: 0, epoch: 2, owners: [a, d] })).toBe('BAD_MESSAGE')
    expect(apply(table, 'slot-move-cancel', { slot: 0, epoch: 2, owners: [] })).toBe('ok')
    expect(table.row(0)).toEqual({ epoch: 3, owners: [a, b], pending: [], retiring: [] })
    apply(table, 'slot-move-begin', { slot: 0, epoch: 3, owners: [a, c] })
    apply(table, 'slot-move-promote', { slot: 0, epoch: 4, owners: [] })
    apply(table, 'slot-move-begin', { slot: 0, epoch: 5, owners: [b, c] })
    apply(table, 'slot-move-promote', { slot: 0, epoch: 6, owners: [] })
    expect(table.row(0)).toEqual({ epoch: 7, owners: [b, c], pending: [], retiring: [a] })
  })

  it('refuses what makes no sense: unknown slots, owners named twice or not at all, a slot twice in a batch', () => {
    const table = new SlotTable(SLOTS)
    for (const change of [
      { slot: SLOTS, epoch: 0, owners: [a] },
      { slot: -1, epoch: 0, owners: [a] },
      { slot: 0.5, epoch: 0, owners: [a] },
      { slot: 0, epoch: 0, owners: [a, a] },
      { slot: 0, epoch: 0, owners: [] },
      { slot: 0, epoch: 0, owners: Array.from({ length: 17 }, (_, id) => asPeerId(`p${id}`)) },
    ]) {
      expect(apply(table, 'slots-assign', change)).toBe('BAD_MESSAGE')
    }
    const twice = { slot: 0, epoch: 0, owners: [a] }
    expect(apply(table, 'slots-assign', twice, twice)).toBe('BAD_MESSAGE')
    const unnamed = { peers: [], rows: [[0, 0, 7]] }
    expect(table.apply({ type: 'slots-assign', batch: unnamed }, context)).toMatchObject({ ok: false })
    expect(table.apply({ type: 'slots-assign', batch: { peers: [], rows: [[]] } }, context)).toMatchObject({
      ok: false,
    })
  })

  it('fits a first assignment of 4,096 slots to three peers in one entry of 64 KiB', () => {
    const peers = ['A', 'B', 'C'].map(name => asPeerId(`12D3KooW${name.repeat(44)}`))
    const changes = Array.from({ length: 4096 }, (_, slot) => ({ slot, epoch: 0, owners: peers }))
    const command: SlotCommand = { type: 'slots-assign', batch: slotBatch(changes) }
    expect(pack(command).length).toBeLessThan(64 * 1024)
    const table = new SlotTable(4096)
    expect(table.apply(command, context)).toEqual({ ok: true, changed: 4096 })
    expect(pack(table.snapshot()).length).toBeLessThan(64 * 1024)
  })

  it('keeps its invariants under any commands; epochs only grow, owners never get fewer, snapshots keep all', () => {
    const change = fc.record({
      slot: fc.nat(SLOTS - 1),
      ahead: fc.constantFrom(0, 0, 0, 0, 1, -1),
      owners: fc.uniqueArray(fc.constantFrom(a, b, c, d), { maxLength: 4 }),
    })
    const type = fc.constantFrom<SlotCommand['type'][]>(
      'slots-assign',
      'slot-move-begin',
      'slot-move-promote',
      'slot-move-retire',
      'slot-move-cancel',
    )
    const command = fc.record({ type, changes: fc.array(change, { minLength: 1, maxLength: 3 }) })
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), commands => {
        let table = new SlotTable(SLOTS)
        for (const { type, changes } of commands) {
          const before = Array.from({ length: SLOTS }, (_, slot) => table.row(slot))
          const names = type === 'slots-assign' || type === 'slot-move-begin'
          const made = changes.map(({ slot, ahead, owners }) => ({
            slot,
            epoch: table.row(slot).epoch + ahead,
            owners: names ? owners : [],
          }))
          const code = apply(table, type, ...made)
          for (const [slot, old] of before.entries()) {
            const row = table.row(slot)
            if (code !== 'ok') expect(row).toEqual(old)
            expect(row.epoch - old.epoch).toBe(code === 'ok' && made.some(each => each.slot === slot) ? 1 : 0)
            expect(row.owners.length).toBeGreaterThanOrEqual(old.owners.length)
            // Whoever stops being an owner of a moved slot keeps its copies until the retirement.
            if (type === 'slots-assign') continue
            for (const owner of old.owners) expect([...row.owners, ...row.retiring]).toContain(owner)
          }
          const restored = new SlotTable(SLOTS)
          restored.restore(unpack(pack(table.snapshot())))
          restored.assertInvariants()
          for (const slot of before.keys()) expect(restored.row(slot)).toEqual(table.row(slot))
          table = restored
        }
      }),
    )
  })
})
