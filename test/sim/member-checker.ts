import type { PeerId } from '../../src/base/index.ts'
import { compareVersions } from '../../src/gossip/member-table.ts'
import type { Member } from '../../src/gossip/member-table.ts'
import type { Membership } from '../../src/gossip/membership.machine.ts'
import { check } from './check.ts'

/** What must hold of membership in every run, told by looking at the machines from outside. */
export class MemberChecker {
  /** What each peer believed in its present life. */
  readonly #views = new Map<PeerId, Map<PeerId, Member>>()
  readonly #machines = new Map<PeerId, Membership>()
  /** The highest incarnation that each peer ever gave itself. */
  readonly #issued = new Map<PeerId, number>()
  /** Set while nothing is broken: then nobody may be taken for dead. */
  calm = false

  started(peer: PeerId, machine: Membership): void {
    this.#views.set(peer, new Map())
    this.#machines.set(peer, machine)
  }

  machine(peer: PeerId): Membership {
    return this.#machines.get(peer)!
  }

  stepped(peer: PeerId, machine: Membership): void {
    const view = this.#views.get(peer)!
    for (const member of machine.members()) {
      const before = view.get(member.peerId)
      if (before !== undefined && before.incarnation === member.incarnation && before.state === member.state)
        continue
      view.set(member.peerId, member)
      check(
        before === undefined || compareVersions(member, before) > 0,
        `${peer}: ${member.peerId} went back`,
      )
      if (member.peerId === peer) {
        this.#issued.set(peer, Math.max(member.incarnation, this.#issued.get(peer) ?? 0))
        check(member.state === 'alive' || member.state === 'left', `${peer} takes itself for ${member.state}`)
      } else {
        const issued = this.#issued.get(member.peerId) ?? -1
        check(
          member.incarnation <= issued,
          `${peer}: ${member.peerId} never had incarnation ${member.incarnation}`,
        )
        check(!this.calm || member.state !== 'dead', `${peer} takes ${member.peerId} for dead in a calm mesh`)
      }
    }
  }

  /** Whether every one of `running` sees exactly those alive. */
  agreed(running: readonly PeerId[]): boolean {
    const expected = [...running].sort().join(' ')
    return running.every(peer => {
      const alive = this.machine(peer)
        .members()
        .filter(member => member.state === 'alive')
      return (
        expected ===
        alive
          .map(member => member.peerId)
          .sort()
          .join(' ')
      )
    })
  }
}
