import type { PeerId } from '../base/index.ts'
import type { FileServicePorts } from './file-ports.ts'
import type { UnderReplicatedBlock } from './namespace-types.ts'

export interface ReplicationHealth {
  /** Visible blocks with fewer living holders than their file wants, or than there are living peers. */
  underReplicated: number
  /** Of those, blocks without any living holder: their files cannot be read whole now. */
  missing: number
  /** Beside those: blocks on every living peer, of which there are fewer than copies wanted. */
  short: number
  /** Slots that change owners. */
  movingSlots: number
  /** The worst of them, missing ones first. */
  worst: UnderReplicatedBlock[]
}

/** How safe the files are, from the local replicated state and who is alive. */
export function replicationHealth(
  ports: Pick<FileServicePorts, 'namespace' | 'slots' | 'peers' | 'isAlive'>,
  worstMax = 100,
): ReplicationHealth {
  const living = ports.peers().filter(peer => ports.isAlive(peer.peerId))
  const live: ReadonlySet<PeerId> = new Set(living.map(peer => peer.peerId))
  const namespace = ports.namespace()
  return {
    ...namespace.replicaCounts(live),
    movingSlots: ports.slots().moving().length,
    worst: namespace.underReplicated(live, worstMax),
  }
}
