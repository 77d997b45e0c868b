import { expect, test } from 'vitest'
import { asPeerId, below, seededRandom, shuffled, type PeerId } from '../../../src/base/index.ts'
import { HolderGroups } from '../../../src/dht/holder-groups.ts'

const PEERS = Array.from({ length: 6 }, (_, i) => asPeerId(`peer-${i}`))
const ROUNDS = 200

test('counts of too few, missing and short blocks are those of looking at every block', () => {
  const random = seededRandom(7)
  let short = 0
  for (let round = 0; round < ROUNDS; round++) {
    const groups = new HolderGroups()
    const blocks = Array.from({ length: 20 }, () => {
      const holders = shuffled(random, PEERS).slice(0, below(random, 5))
      return { holders, replication: 1 + below(random, 5) }
    })
    for (const { holders, replication } of blocks) groups.show(groups.take(holders), 0, replication, 1)
    const live: ReadonlySet<PeerId> = new Set(shuffled(random, PEERS).slice(0, 1 + below(random, 6)))
    const expected = { underReplicated: 0, missing: 0, short: 0 }
    for (const { holders, replication } of blocks) {
      const living = holders.filter(peer => live.has(peer)).length
      if (living === 0) expected.missing++
      if (living < replication && living < live.size) expected.underReplicated++
      if (living < replication && living === live.size) expected.short++
    }
    expect(groups.counts(live)).toEqual(expected)
    short += expected.short
  }
  expect(short).toBeGreaterThan(0)
})

test('a block on both of two living peers is short of a third copy, and no more than that', () => {
  const groups = new HolderGroups()
  groups.show(groups.take(PEERS.slice(0, 3)), 0, 3, 1)
  expect(groups.counts(new Set(PEERS.slice(0, 2)))).toEqual({ underReplicated: 0, missing: 0, short: 1 })
  expect(groups.counts(new Set(PEERS.slice(0, 3)))).toEqual({ underReplicated: 0, missing: 0, short: 0 })
})
