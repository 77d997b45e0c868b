import { toWire, type Logger, type PeerId } from '../base/index.ts'
import type { Member, MemberCommand, MemberRecord, MemberResult } from '../gossip/index.ts'
import { MEMBERS_KEEPER } from './config.ts'

export interface MembersKeeperPorts {
  self: PeerId
  /** As the log has them. */
  records(): MemberRecord[]
  /** As gossip sees one. */
  member(peer: PeerId): Member | undefined
  /** This peer's own probe failed and enough others say the same. */
  mayProposeDown(peer: PeerId): boolean
  probe(peer: PeerId): void
  /** Has gossip look for a member that it has never heard of. */
  introduce(record: MemberRecord): void
  propose(command: MemberCommand): Promise<MemberResult>
  log: Logger
}

/**
 * On the leader: turns what gossip has found out into log entries, which alone decide who is a member. A dead peer goes
 * down when this peer's own probe and enough others accuse it; one that is alive again comes up.
 */
export class MembersKeeper {
  readonly #ports: MembersKeeperPorts
  readonly #underWay = new Set<PeerId>()
  #timer: NodeJS.Timeout | undefined

  constructor(ports: MembersKeeperPorts) {
    this.#ports = ports
  }

  start(): void {
    this.#timer = setInterval(() => this.#compare(), MEMBERS_KEEPER.intervalMs)
    this.#timer.unref()
    this.#compare()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #compare(): void {
    for (const record of this.#ports.records()) {
      if (this.#underWay.has(record.peerId)) continue
      const command = this.#commandFor(record)
      if (command !== undefined) void this.#propose(command)
    }
  }

  #commandFor(record: MemberRecord): MemberCommand | undefined {
    const { peerId, state } = record
    if (peerId === this.#ports.self) return state === 'up' ? undefined : { type: 'peer-up', peerId }
    const seen = this.#ports.member(peerId)?.state
    switch (seen) {
      case 'alive':
        return state === 'up' ? undefined : { type: 'peer-up', peerId }
      case 'left':
        return state === 'left' ? undefined : { type: 'peer-leave', peerId }
      case 'suspect':
      case 'dead':
        if (state !== 'up') return undefined
        if (seen === 'dead' && this.#ports.mayProposeDown(peerId)) return { type: 'peer-down', peerId }
        // Its own probe must have failed too; ask for one now, whatever the peer's turn.
        this.#ports.probe(peerId)
        return undefined
      case undefined:
        if (state === 'up') this.#ports.introduce(record)
        return undefined
    }
  }

  async #propose(command: MemberCommand): Promise<void> {
    this.#underWay.add(command.peerId)
    try {
      await this.#ports.propose(command)
      this.#ports.log.info({ peer: command.peerId, command: command.type }, 'the log has a member change')
    } catch (error) {
      this.#ports.log.debug({ error: toWire(error) }, 'a member change was not committed')
    } finally {
      this.#underWay.delete(command.peerId)
    }
  }
}
