import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { asFileId, asPeerId, type PeerId } from '../../../src/base/index.ts'
import { plan, planSteps, seedTable, type Plan } from '../../../src/dht/placement.ts'
import { Rendezvous, replicaOwners, slotOf, type RingPeer } from '../../../src/dht/ring.ts'

const SLOTS = 4096
const RF = 3

const peer = (id: number, host = `host${id}`, extra: Partial<RingPeer> = {}): RingPeer => ({
  peerId: asPeerId(`peer${id}`),
  host,
  zone: '',
  weight: 1,
  ...extra,
})
const peers = (count: number, perHost = 1): RingPeer[] =>
  Array.from({ length: count }, (_, id) => peer(id, `host${Math.floor(id / perHost)}`))

function apply(table: readonly PeerId[][], next: readonly RingPeer[], replication = RF) {
  const moves = plan(table, next, replication)
  const result = table.map(owners => [...owners])
  let added = 0
  for (const move of moves) {
    result[move.slot] = move.owners
    added += move.added.length
  }
  return { table: result, moves, added }
}

function loads(table: readonly PeerId[][]): Map<PeerId, number> {
  const counts = new Map<PeerId, number>()
  for (const owners of table) for (const owner of owners) counts.set(owner, (counts.get(owner) ?? 0) + 1)
  return counts
}

function expectBalanced(table: readonly PeerId[][], all: readonly RingPeer[], tolerance = 1.02): void {
  const counts = loads(table)
  const mean = (table.length * RF) / all.length
  for (const { peerId } of all) {
    expect(counts.get(peerId) ?? 0).toBeLessThanOrEqual(Math.ceil(mean * tolerance))
    expect(counts.get(peerId) ?? 0).toBeGreaterThanOrEqual(Math.floor(mean / tolerance))
  }
}

function expectDistinct(
  table: readonly PeerId[][],
  all: readonly RingPeer[],
  key: (peer: RingPeer) => string,
): void {
  const keys = new Map(all.map(each => [each.peerId, key(each)]))
  for (const owners of table) expect(new Set(owners.map(owner => keys.get(owner))).size).toBe(owners.length)
}

describe('ring', () => {
  it('spreads the partitions of a file, and files, evenly over the slots', () => {
    const counts = new Array<number>(64).fill(0)
    for (let file = 0; file < 100; file++) {
      const fileId = asFileId(file.toString(16).padStart(32, '0'))
      for (let index = 0; index < 64; index++) counts[slotOf(fileId, index, 64)]!++
    }
    // 100 expected, standard deviation 10: six of them.
    for (const count of counts) expect(Math.abs(count - 100)).toBeLessThan(60)
  })

  it('puts a block where it always was: the hash is part of the data format', () => {
    expect(slotOf(asFileId('0123456789abcdef0123456789abcdef'), 0)).toBe(595)
    expect(slotOf(asFileId('0123456789abcdef0123456789abcdef'), 1)).toBe(347)
  })

  it('lets peers win slots by weight', () => {
    const all = [peer(1), peer(2, 'b', { weight: 3 }), peer(3, 'c', { weight: 0 })]
    const rendezvous = new Rendezvous()
    let wins = 0
    for (let slot = 0; slot < SLOTS; slot++) {
      const order = rendezvous.order(slot, all)
      expect(order).toHaveLength(2)
      if (order[0]!.weight === 3) wins++
    }
    expect(wins / SLOTS).toBeCloseTo(0.75, 1)
  })

  it('continues the owner order for more copies, and takes its start for fewer', () => {
    const all = peers(6)
    const owners = [all[4]!.peerId, all[2]!.peerId, all[0]!.peerId]
    expect(replicaOwners(7, owners, 1, all)).toEqual(owners.slice(0, 1))
    const five = replicaOwners(7, owners, 5, all)
    expect(five.slice(0, 3)).toEqual(owners)
    expect(new Set(five).size).toBe(5)
    expect(replicaOwners(7, owners, 16, all)).toHaveLength(6)
  })
})

describe('placement', () => {
  it.each([3, 5, 20, 100])('seeds %i peers evenly and with distinct owners', count => {
    const all = peers(count)
    const table = seedTable(all, SLOTS, RF)
    expectBalanced(table, all)
    expectDistinct(table, all, each => each.peerId)
    expect(plan(table, all, RF)).toEqual([])
  })

  it.each([3, 5, 20, 100])('moves no more than a newcomer should own when one joins %i peers', count => {
    const all = [...peers(count), peer(count)]
    const { table, added } = apply(seedTable(peers(count), SLOTS, RF), all)
    expect(added).toBeLessThanOrEqual(1.3 * ((SLOTS * RF) / all.length))
    expectBalanced(table, all)
    expect(plan(table, all, RF)).toEqual([])
  })

  it.each([5, 20, 100])('moves no more than the departed owned when one of %i peers leaves', count => {
    const before = seedTable(peers(count), SLOTS, RF)
    const all = peers(count).slice(1)
    const { table, added } = apply(before, all)
    const owned = loads(before).get(asPeerId('peer0'))!
    expect(added).toBeGreaterThanOrEqual(owned)
    expect(added).toBeLessThanOrEqual(1.3 * owned)
    expectBalanced(table, all)
    expect(plan(table, all, RF)).toEqual([])
  })

  it('stays within bounds when peers share hosts: 100 peers, four a host, one joins, one leaves', () => {
    const before = peers(100, 4)
    const seeded = seedTable(before, SLOTS, RF)
    expectDistinct(seeded, before, each => each.host)
    const joined = [...before, peer(100, 'host25')]
    const first = apply(seeded, joined)
    expect(first.added).toBeLessThanOrEqual(1.3 * ((SLOTS * RF) / 101))
    expectDistinct(first.table, joined, each => each.host)
    const left = joined.slice(1)
    const second = apply(first.table, left)
    expect(second.added).toBeLessThanOrEqual(1.3 * loads(first.table).get(asPeerId('peer0'))!)
    expectDistinct(second.table, left, each => each.host)
  })

  it('a new host among nine peers on three hosts takes only its share', () => {
    const before = peers(9, 3)
    const all = [...before, peer(9, 'new')]
    const { table, added } = apply(seedTable(before, SLOTS, RF), all)
    expect(added).toBeLessThanOrEqual(1.3 * ((SLOTS * RF) / 10))
    expectDistinct(table, all, each => each.host)
    expectBalanced(table, all)
  })

  it('never shuffles: whoever stays keeps all it can while peers come and go', () => {
    let all = peers(5)
    let table = seedTable(all, SLOTS, RF)
    for (let id = 5; id < 25; id++) {
      const next = id % 3 === 0 ? all.slice(1) : [...all, peer(id)]
      const leaver = all.find(each => !next.includes(each))
      const ideal = leaver === undefined ? (SLOTS * RF) / next.length : loads(table).get(leaver.peerId)!
      const step = apply(table, next)
      expect(step.added).toBeLessThanOrEqual(1.3 * ideal)
      expectBalanced(step.table, next)
      ;({ table } = step)
      all = next
    }
  })

  it('grows from one peer: two copies with two, three with three, then balance', () => {
    let table = seedTable(peers(1), 64, RF)
    expect(table.every(owners => owners.length === 1)).toBe(true)
    for (const count of [2, 3]) {
      const step = apply(table, peers(count))
      expect(step.added).toBe(64)
      expect(step.table.every(owners => owners.length === count)).toBe(true)
      ;({ table } = step)
    }
    expectBalanced(apply(table, peers(6)).table, peers(6), 1.05)
  })

  it('keeps naming a dead owner that nobody can replace, and replaces it in place when somebody can', () => {
    const before = seedTable(peers(3), 64, RF)
    const two = peers(3).slice(1)
    const { table, moves } = apply(before, two)
    expect(moves).toEqual([])
    const after = apply(table, [...two, peer(9)])
    expect(after.added).toBe(64)
    for (const [slot, owners] of after.table.entries()) {
      expect(owners.indexOf(asPeerId('peer9'))).toBe(before[slot]!.indexOf(asPeerId('peer0')))
    }
  })

  it('drains a peer of weight 0, and gives a heavier peer more', () => {
    const before = seedTable(peers(5), SLOTS, RF)
    const drained = peers(5).map(each => (each.peerId === 'peer2' ? { ...each, weight: 0 } : each))
    expect(loads(apply(before, drained).table).get(asPeerId('peer2'))).toBeUndefined()
    const heavy = peers(10).map(each => (each.peerId === 'peer2' ? { ...each, weight: 2 } : each))
    const counts = loads(seedTable(heavy, SLOTS, RF))
    expect(counts.get(asPeerId('peer2'))! / counts.get(asPeerId('peer3'))!).toBeCloseTo(2, 1)
  })

  it('uses as many zones and hosts as there are, in any topology, with balance within what they allow', () => {
    const topology = fc.array(
      fc.record({ host: fc.nat(4), zone: fc.nat(2), weight: fc.constantFrom(1, 1, 1, 2) }),
      { minLength: 1, maxLength: 12 },
    )
    fc.assert(
      fc.property(topology, topology, (first, second) => {
        let table: PeerId[][] = Array.from({ length: 128 }, () => [])
        for (const shape of [first, second]) {
          const all = shape.map(({ host, zone, weight }, id) =>
            peer(id, `h${host}`, { zone: `z${zone}`, weight }),
          )
          const step = apply(table, all)
          const ids = new Set(all.map(each => each.peerId))
          const hosts = new Map(all.map(each => [each.peerId, `${each.zone}/${each.host}`]))
          const hostCount = new Set(hosts.values()).size
          const zoneCount = new Set(all.map(each => each.zone)).size
          const zones = new Map(all.map(each => [each.peerId, each.zone]))
          for (const [slot, owners] of step.table.entries()) {
            expect(new Set(owners).size).toBe(owners.length)
            expect(owners.length).toBeGreaterThanOrEqual(table[slot]!.length)
            const live = owners.filter(owner => ids.has(owner))
            expect(live).toHaveLength(Math.min(RF, all.length))
            expect(new Set(live.map(owner => hosts.get(owner))).size).toBe(Math.min(live.length, hostCount))
            expect(new Set(live.map(owner => zones.get(owner))).size).toBe(Math.min(live.length, zoneCount))
          }
          expect(plan(step.table, all, RF)).toEqual([])
          ;({ table } = step)
        }
      }),
      { numRuns: 60 },
    )
  })

  it.each([
    [5, SLOTS, 12],
    [20, SLOTS, 12],
    [100, SLOTS, 6],
    [1_000, 4 * SLOTS, 1],
  ])(
    'adds at most 1.3 times what it must when any peer of %i joins, leaves, or changes its weight, on any hosts',
    (count, slotCount, numRuns) => {
      const shape = fc.record({
        perHost: fc.constantFrom(1, 1, 2, 4),
        zones: fc.constantFrom(1, 1, 3),
        weights: fc.array(fc.constantFrom(1, 1, 1, 2, 0.5), { minLength: 1, maxLength: 7 }),
        changes: fc.array(
          fc.record({
            what: fc.constantFrom('join', 'leave', 'weigh'),
            who: fc.nat(count - 1),
            weight: fc.constantFrom(0, 0.5, 1, 2, 3),
          }),
          { minLength: 1, maxLength: 4 },
        ),
      })
      fc.assert(
        fc.property(shape, ({ perHost, zones, weights, changes }) => {
          const make = (id: number): RingPeer =>
            peer(id, `host${Math.floor(id / perHost)}`, {
              zone: `zone${Math.floor(id / perHost) % zones}`,
              weight: weights[id % weights.length]!,
            })
          let all = Array.from({ length: count }, (_, id) => make(id))
          let table = seedTable(all, slotCount, RF)
          let next = count
          for (const { what, who, weight } of changes) {
            const at = who % all.length
            if (what === 'join') all = [...all, make(next++)]
            else if (what === 'leave' && all.length > RF + 1) all = all.toSpliced(at, 1)
            else all = all.with(at, { ...all[at]!, weight })
            const { moves, added, ideal } = planned(table, all)
            // Shares are fractions of slots, rounded for each peer.
            expect(added).toBeLessThanOrEqual(1.3 * ideal + all.length)
            table = table.map(owners => [...owners])
            for (const move of moves) table[move.slot] = move.owners
          }
        }),
        { numRuns, seed: 20_261_122 },
      )
    },
    60_000,
  )

  it('counts as ideal what no planner can do without: what the departed owned, or the newcomer’s share', () => {
    const table = seedTable(peers(5), SLOTS, RF)
    const gone = loads(table).get(asPeerId('peer0'))!
    expect(planned(table, peers(5).slice(1)).ideal).toBe(gone)
    expect(planned(table, [...peers(5), peer(5)]).ideal).toBe(Math.floor((SLOTS * RF) / 6))
    expect(planned(table, peers(5))).toEqual({ moves: [], added: 0, ideal: 0 })
  })

  it('plans the same in slices, none of which looks at more than a part of a large mesh', () => {
    const all = peers(200)
    const table = seedTable(all, SLOTS, RF)
    let slices = 0
    const steps = planSteps(table, [...all.slice(5), peer(500)], RF)
    for (;;) {
      const { done, value } = steps.next()
      slices++
      if (done !== true) continue
      expect(value.moves).toEqual(plan(table, [...all.slice(5), peer(500)], RF))
      break
    }
    expect(slices).toBeGreaterThan(5)
  })
})

function planned(table: readonly PeerId[][], all: readonly RingPeer[]): Plan {
  const steps = planSteps(table, all, RF)
  for (;;) {
    const { done, value } = steps.next()
    if (done === true) return value
  }
}
