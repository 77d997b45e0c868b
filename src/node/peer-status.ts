import type { Clock, Transport } from '../base/index.ts'
import { replicationHealth, type FileServicePorts, type StoreHealth } from '../dht/index.ts'
import type { MemberRecord, MembershipDriver } from '../gossip/index.ts'
import { listJobs, peerStatus, type PeerStatus } from './log-messages.ts'
import type { MeshLog } from './mesh-log.ts'

export interface StatusParts {
  transport: Transport
  meshLog: MeshLog
  membership: MembershipDriver
  files: Pick<FileServicePorts, 'namespace' | 'slots' | 'peers' | 'isAlive'>
  /** How this peer's own blocks are. */
  blocks(): Promise<StoreHealth>
  meshId: string
  name: string
  workers: number
  version: string
  startedMs: number
  clock: Clock
}

/** Answers how this peer and the mesh are, from local state: with or without a leader. */
export function statusOf(parts: StatusParts): void {
  parts.transport.handle(peerStatus, async () => snapshot(parts, await parts.blocks()))
  parts.transport.handle(listJobs, () => ({ jobs: parts.meshLog.state.jobs.list() }))
}

function snapshot(parts: StatusParts, storeHealth: StoreHealth): PeerStatus {
  const { transport, meshLog, meshId, name, workers, version } = parts
  const log = meshLog.log.status()
  const { state } = meshLog
  const health = replicationHealth(parts.files, 0)
  const { files, directories, blocks, sizeBytes, storedBytes } = state.namespace.usage()
  let slotsOwned = 0
  for (let slot = 0; slot < state.slots.slotCount; slot++) {
    if (state.slots.row(slot).owners.includes(transport.self)) slotsOwned += 1
  }
  return {
    peerId: transport.self,
    name,
    meshId,
    pid: process.pid,
    version,
    upMs: parts.clock.nowMs() - parts.startedMs,
    workers,
    rssBytes: process.memoryUsage.rss(),
    ...(log.leader === undefined ? {} : { leader: log.leader }),
    term: log.term,
    role: log.role,
    voters: log.voters,
    votersTarget: log.votersTarget,
    appliedIndex: log.appliedIndex,
    space: log.space,
    forgot: log.forgot,
    damagedLogs: [...log.damages],
    members: state.members.members().map(member => memberStatus(member, parts, log)),
    files: {
      files,
      directories,
      blocks,
      sizeBytes,
      storedBytes,
      underReplicated: health.underReplicated,
      missing: health.missing,
      short: health.short,
      slotsMoving: health.movingSlots,
      slotsOwned,
    },
    store: storeHealth,
  }
}

function memberStatus(
  member: MemberRecord,
  { membership, transport }: StatusParts,
  log: { leader?: string | undefined; voters: string[] },
): PeerStatus['members'][number] {
  const { peerId, name, labels, addresses, state, draining, weight } = member
  const seen = peerId === transport.self ? 'alive' : membership.member(peerId)?.state
  const role = peerId === log.leader ? 'leader' : log.voters.includes(peerId) ? 'voter' : 'learner'
  const quarantined = membership.isQuarantined(peerId)
  return {
    peerId,
    name,
    host: labels.host,
    ...(labels.zone === '' ? {} : { zone: labels.zone }),
    addresses,
    state,
    liveness: seen ?? 'unknown',
    quarantined,
    draining,
    weight,
    role,
  }
}
