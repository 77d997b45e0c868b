import { asBlockId, systemClock, type Logger, type PeerId, type Transport } from '../base/index.ts'
import type { FileService, RepairDriver, RepairMember } from '../dht/index.ts'
import type { MemberRecord, MembershipDriver } from '../gossip/index.ts'
import type { EventLog } from './jobs/event-log.ts'
import { detachedPorts } from './jobs/detached-ports.ts'
import { JobLeader } from './jobs/job-leader.ts'
import type { JobService } from './jobs/job-service.ts'
import { MembersKeeper } from './members-keeper.ts'
import type { MeshLog } from './mesh-log.ts'
import type { Deliver } from './relay.ts'

export interface LeaderRoleParts {
  transport: Transport
  meshLog: MeshLog
  membership: MembershipDriver
  repair: RepairDriver
  jobs: JobService
  files: FileService
  deliver: Deliver
  /** Of the jobs that this peer leads. */
  events: EventLog
  isAlive(peer: PeerId): boolean
  log: Logger
}

/**
 * What only the leader does: name node (who is a member, who owns which slot, repair) and planner of jobs. Begins when the
 * term's first entry is committed, and ends with the term; nothing of it is carried over.
 */
export class LeaderRole {
  readonly #parts: LeaderRoleParts
  readonly #keeper: MembersKeeper

  constructor(parts: LeaderRoleParts) {
    const { meshLog, membership } = parts
    this.#parts = parts
    this.#keeper = new MembersKeeper({
      self: parts.transport.self,
      records: () => meshLog.state.members.members(),
      member: peer => membership.member(peer),
      mayProposeDown: peer => membership.mayProposeDown(peer),
      probe: peer => membership.probe(peer),
      introduce: record => membership.introduce(record.peerId, record),
      propose: command => meshLog.proposeMember(command),
      log: parts.log.child({ part: 'members' }),
    })
  }

  lead(term: number): void {
    const { transport, meshLog, repair, jobs, files, deliver, events, log } = this.#parts
    // Of an earlier term, when the end of that one was never heard.
    this.resign()
    log.info({ term }, 'this peer leads')
    this.#keeper.start()
    const { membership } = this.#parts
    repair.start(
      meshLog.state.members
        .members()
        .map(member => ({ ...repairMember(member), quarantined: membership.isQuarantined(member.peerId) })),
      term,
    )
    jobs.lead(
      new JobLeader({
        transport,
        term,
        holdersOf: blockId => this.#holdersOf(blockId),
        livePeers: () => this.#livePeers(),
        record: command => meshLog.proposeJob(command),
        listedAsRunning: () =>
          meshLog.state.jobs
            .list()
            .flatMap(({ jobId, status, detached }) =>
              status === 'running' && detached === undefined ? [jobId] : [],
            ),
        detached: detachedPorts({ meshLog, files, log: log.child({ part: 'detached' }) }),
        deliver,
        events,
        clock: systemClock,
        log: log.child({ part: 'jobs' }),
      }),
    )
  }

  resign(): void {
    this.#keeper.stop()
    this.#parts.repair.stop()
    this.#parts.jobs.lead(undefined)
  }

  /**
   * Members that gossip does not take for dead: a suspect may still be fast enough. Who dies and comes back all the time gets
   * no tasks, unless there is nobody else.
   */
  #livePeers(): PeerId[] {
    const { meshLog, membership } = this.#parts
    const live = meshLog.state.members
      .members()
      .filter(member => member.state === 'up' && this.#parts.isAlive(member.peerId))
      .map(member => member.peerId)
    const steady = live.filter(peer => !membership.isQuarantined(peer))
    return steady.length > 0 ? steady : live
  }

  /** Living holders of a committed block, in the order in which tasks should prefer them. */
  #holdersOf(blockId: string): string[] {
    const block = this.#parts.meshLog.state.namespace.blockOf(asBlockId(blockId))
    return (block?.holders ?? []).filter(peer => this.#parts.isAlive(peer))
  }
}

/** A member as placement and repair see it. */
export function repairMember(member: MemberRecord): RepairMember {
  const { peerId, labels, state, draining } = member
  const seen = state === 'up' ? 'alive' : state === 'down' ? 'dead' : 'left'
  const weight = state === 'left' || draining ? 0 : member.weight
  return { peerId, host: labels.host, zone: labels.zone, weight, state: seen }
}
