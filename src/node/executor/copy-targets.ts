import { createHash } from 'node:crypto'
import type { PeerId } from '../../base/index.ts'

export interface CopyTarget {
  peerId: PeerId
  host: string
}

/**
 * Peers for the further copies of a kept partition, best first: those on other hosts than this one, among equals in an order that
 * differs from partition to partition, so that copies are spread.
 */
export function copyTargets(self: PeerId, living: readonly CopyTarget[], key: string): PeerId[] {
  const host = living.find(({ peerId }) => peerId === self)?.host
  const rank = (peer: CopyTarget): string => {
    const order = createHash('sha256').update(`${key} ${peer.peerId}`).digest('hex')
    return `${peer.host === host ? 1 : 0} ${order}`
  }
  return living
    .filter(({ peerId }) => peerId !== self)
    .map(peer => ({ peerId: peer.peerId, rank: rank(peer) }))
    .sort((a, b) => (a.rank < b.rank ? -1 : 1))
    .map(({ peerId }) => peerId)
}
