import type { PeerId, Transport } from '../base/index.ts'
import { leaderWhy, type ElectionView } from './log-messages.ts'
import { MESH_LOG } from './config.ts'
import type { MeshLog } from './mesh-log.ts'

export interface ElectionViewParts {
  transport: Transport
  meshLog: MeshLog
  name: string
}

/** Answers why who leads leads; asks the leader, too, which alone knows who voted for it and who follows. */
export function answerWhy(parts: ElectionViewParts): void {
  const { transport, meshLog } = parts
  transport.handle(leaderWhy, async ({ from, signal }) => {
    const here = electionView(parts)
    const leader = meshLog.log.leader()?.peerId
    // A question that came from a peer is one that was passed on already.
    const isOwn = leader === undefined || leader === transport.self
    if (isOwn || isMember(meshLog, from)) return { here }
    const asked = await transport
      .call(leader, leaderWhy, {}, { signal, timeoutMs: MESH_LOG.whyTimeoutMs })
      .catch(() => undefined)
    return asked === undefined ? { here } : { here, leader: asked.head.here }
  })
}

function isMember(meshLog: MeshLog, peer: PeerId): boolean {
  return meshLog.state.members.member(peer) !== undefined
}

function electionView({ transport, meshLog, name }: ElectionViewParts): ElectionView {
  const { role, term, leader, ready, voters, votersCommitted, fed, ...log } = meshLog.log.status()
  const { votedFor, heardLeaderMs, candidacy, nowMs, changes } = meshLog.log.story()
  return {
    peerId: transport.self,
    name,
    role,
    term,
    ...(leader === undefined ? {} : { leader }),
    ready,
    ...(votedFor === undefined ? {} : { votedFor }),
    ...(heardLeaderMs === undefined ? {} : { heardLeaderAgoMs: Math.round(nowMs - heardLeaderMs) }),
    voters,
    votersCommitted,
    commitIndex: log.commitIndex,
    appliedIndex: log.appliedIndex,
    lastIndex: log.lastIndex,
    snapshotIndex: log.snapshotIndex,
    ...(candidacy === undefined
      ? {}
      : {
          candidacy: {
            term: candidacy.term,
            agoMs: Math.round(nowMs - candidacy.atMs),
            granted: candidacy.granted,
            refused: candidacy.refused,
          },
        }),
    followers: fed.map(({ peer, voter, match, state, silentMs, forgot }) => ({
      peerId: peer,
      voter,
      match,
      state,
      silentMs: Math.round(silentMs),
      forgot,
    })),
    changes: changes.map(({ leader: led, ...change }) =>
      led === undefined ? change : { ...change, leader: led },
    ),
  }
}
