import type { PeerId } from '../base/index.ts'
import type { RepairMember } from './repair-types.ts'
import { Rendezvous } from './ring.ts'

/** The members as repair sees them: who lives, who may own slots, who may be given something new. */
export class RepairMembers {
  readonly #members = new Map<PeerId, RepairMember>()
  /** When each dead peer was first seen dead by this machine. */
  readonly #deadSinceMs = new Map<PeerId, number>()
  /** Peers that were dead and live again, since the last plan. */
  #returned = new Set<PeerId>()
  readonly #rendezvous = new Rendezvous()
  #owningCount = 0

  update(members: readonly RepairMember[], nowMs: number): void {
    this.#members.clear()
    for (const member of members) {
      this.#members.set(member.peerId, member)
      if (member.state === 'dead') {
        if (!this.#deadSinceMs.has(member.peerId)) this.#deadSinceMs.set(member.peerId, nowMs)
      } else if (this.#deadSinceMs.delete(member.peerId) && member.state === 'alive') {
        this.#returned.add(member.peerId)
      }
    }
    this.#owningCount = members.filter(member => member.state === 'alive' && member.weight > 0).length
  }

  get size(): number {
    return this.#members.size
  }

  /** Living peers that may own slots: more copies than these cannot be asked for. */
  get owningCount(): number {
    return this.#owningCount
  }

  all(): RepairMember[] {
    return [...this.#members.values()]
  }

  isAlive(peer: PeerId): boolean {
    return this.#members.get(peer)?.state === 'alive'
  }

  isQuarantined(peer: PeerId): boolean {
    return this.#members.get(peer)?.quarantined === true
  }

  /** Milliseconds since this machine first saw it dead; undefined while it is not. */
  deadForMs(peer: PeerId, nowMs: number): number | undefined {
    const sinceMs = this.#deadSinceMs.get(peer)
    return sinceMs === undefined ? undefined : nowMs - sinceMs
  }

  /** Peers back from the dead since this was last asked. */
  takeReturned(): ReadonlySet<PeerId> {
    const returned = this.#returned
    this.#returned = new Set()
    return returned
  }

  /**
   * Who is to take a copy at once when no living owner can: none that is out of the question, on another zone or host than the source where
   * there is one, the best of the ring among those.
   */
  substitute(slot: number, source: PeerId, isOut: (peer: PeerId) => boolean): PeerId | undefined {
    const near = this.#members.get(source)
    const takers = this.all().filter(
      member => member.state === 'alive' && member.quarantined !== true && !isOut(member.peerId),
    )
    const order = this.#rendezvous.order(slot, takers)
    const apart =
      order.find(member => member.zone !== near?.zone) ?? order.find(member => member.host !== near?.host)
    return (apart ?? order[0])?.peerId
  }
}
