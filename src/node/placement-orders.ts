import { fromWire, type PeerId, type Transport } from '../base/index.ts'
import type { FileServicePorts } from '../dht/index.ts'
import { deathPlan, type DeathPlanParts } from './death-plan.ts'
import { checkDrain, drainProgress, memberCalled, type DrainParts } from './drain.ts'
import type { MeshLog } from './mesh-log.ts'
import {
  drainPeer,
  drainStatus,
  planIfPeerDies,
  weighPeer,
  type DrainProgress,
} from './placement-messages.ts'

export interface PlacementOrdersParts extends Omit<DeathPlanParts, 'files' | 'peers'> {
  transport: Transport
  meshLog: MeshLog
  files: FileServicePorts
}

/** Answers drains, weights and plans at whichever peer a client is attached to. */
export function handlePlacementOrders(parts: PlacementOrdersParts): DrainParts {
  const { transport, meshLog, files } = parts
  const drain: DrainParts = {
    records: () => meshLog.state.members.members(),
    voters: () => meshLog.log.status().voters,
    files,
  }
  const find = (peer: string) => memberCalled(drain.records(), peer)
  const progress = async (peer: PeerId, signal: AbortSignal): Promise<DrainProgress> =>
    await drainProgress(drain, peer, signal)
  transport.handle(drainPeer, async ({ head: { peer, cancel, degraded }, signal }) => {
    await files.readBarrier({ signal })
    const member = find(peer)
    if (cancel !== true) checkDrain(drain.records(), member, degraded === true)
    const { peerId } = member
    const mark = cancel === true ? { cancel } : { mayDegrade: degraded === true }
    const result = await meshLog.proposeMember({ type: 'peer-drain', peerId, ...mark }, { signal })
    if (!result.ok) throw fromWire(result.error)
    return await progress(peerId, signal)
  })
  transport.handle(drainStatus, async ({ head, signal }) => await progress(find(head.peer).peerId, signal))
  transport.handle(weighPeer, async ({ head: { peer, weight }, signal }) => {
    const { peerId, name } = find(peer)
    const result = await meshLog.proposeMember({ type: 'peer-weigh', peerId, weight }, { signal })
    if (!result.ok) throw fromWire(result.error)
    return { peerId, name, weight }
  })
  transport.handle(planIfPeerDies, async ({ head, signal }) => {
    const { peerId } = find(head.peer)
    return await deathPlan({ ...parts, peers: () => files.peers() }, peerId, signal)
  })
  return drain
}
