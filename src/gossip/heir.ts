import type { PeerId } from '../base/index.ts'
import type { FedPeer } from './raft-leader.ts'
import type { LivePeer } from './voters.machine.ts'

/** Whom a leader hands over to: a voter with the whole log that means to stay and has room; the one heard last. */
export function heirOf(
  fed: readonly FedPeer[],
  live: readonly LivePeer[],
  lastIndex: number,
): PeerId | undefined {
  const staying = new Set(
    live.flatMap(peer => (peer.draining === true || peer.quarantined === true ? [] : [peer.peerId])),
  )
  return fed
    .filter(peer => peer.voter && peer.match === lastIndex && !peer.forgot && !peer.unfit)
    .filter(peer => staying.has(peer.peer))
    .sort((a, b) => a.silentMs - b.silentMs)[0]?.peer
}
