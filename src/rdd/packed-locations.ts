import { ShoalError } from '../base/errors.ts'
import type { NodeId } from './plan.ts'
import type { ShuffleLocations } from './task.ts'

/**
 * Where the map outputs of a shuffle are, as it travels with tasks: two bytes a map output instead of the holder's
 * name, so that 100,000 of them, the most that an RDD may have, fit into a message head.
 */
export interface PackedLocations {
  shuffle: string
  node: NodeId
  holders: string[]
  at: Uint8Array
}

export function packLocations({ shuffle, node, peers }: ShuffleLocations): PackedLocations {
  const places = new Map<string, number>()
  const at = new Uint8Array(peers.length * 2)
  peers.forEach((peer, map) => {
    let place = places.get(peer)
    if (place === undefined) places.set(peer, (place = places.size))
    at[map * 2] = place & 0xff
    at[map * 2 + 1] = place >> 8
  })
  return { shuffle, node, holders: [...places.keys()], at }
}

/** @throws BAD_MESSAGE when a map output has no holder */
export function unpackLocations({ shuffle, node, holders, at }: PackedLocations): ShuffleLocations {
  const peers = Array.from({ length: at.byteLength / 2 }, (_, map) => {
    const peer = holders[at[map * 2]! + at[map * 2 + 1]! * 256]
    if (peer === undefined) {
      const reason = `map output ${map} of ${shuffle} has no holder`
      throw new ShoalError('BAD_MESSAGE', { type: 'rdd.task.run', reason }, reason)
    }
    return peer
  })
  return { shuffle, node, peers }
}
