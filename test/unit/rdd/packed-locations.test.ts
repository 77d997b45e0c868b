import { expect, test } from 'vitest'
import { pack } from '../../../src/base/index.ts'
import { JOBS } from '../../../src/rdd/config.ts'
import { packLocations, unpackLocations } from '../../../src/rdd/packed-locations.ts'

const ID_CHARS = 52

function locations(maps: number, holders: number): { shuffle: string; node: number; peers: string[] } {
  const peers = Array.from({ length: maps }, (_, map) => `${(map * 7) % holders}`.padStart(ID_CHARS, 'p'))
  return { shuffle: 's/fingerprint', node: 3, peers }
}

test('what is packed comes out the same, also with more than 256 holders and with none', () => {
  for (const [maps, holders] of [
    [0, 1],
    [1, 1],
    [1_000, 5],
    [5_000, 700],
  ] as const) {
    const given = locations(maps, holders)
    expect(unpackLocations(packLocations(given))).toEqual(given)
  }
})

test('a reader of as many map outputs as an RDD may have can be told where they are in one message head', () => {
  const { byteLength } = pack(packLocations(locations(JOBS.partitionsMax, 1_000)))
  expect(byteLength).toBeLessThan(300 * 1024)
})

test('a place that names nobody is refused', () => {
  const packed = { shuffle: 's', node: 1, holders: ['a'], at: Uint8Array.of(0, 0, 1, 0) }
  expect(() => unpackLocations(packed)).toThrow('map output 1')
})
