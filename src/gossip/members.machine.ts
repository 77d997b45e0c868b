import { invariant, ShoalError, toWire } from '../base/index.ts'
import type { ApplyContext, PeerId, SubMachine, WireError } from '../base/index.ts'
import { membersSnapshot, WEIGHT_DEFAULT } from './messages.ts'
import type { MemberCommand, MemberRecord } from './messages.ts'

export type MemberResult =
  /** `changed` is false when the command found everything as it asks; `member` is absent once it is removed. */
  { ok: true; changed: boolean; member?: MemberRecord } | { ok: false; error: WireError }

/** Members the log admits. A mesh of that size needs several logs anyway. */
const MEMBERS_MAX = 10_000

const STATE_AFTER = { 'peer-up': 'up', 'peer-down': 'down', 'peer-leave': 'left' } as const

/**
 * Who is a member, decided by the replicated log alone; gossip only makes the leader propose.
 * All commands may be repeated. A peer id keeps the data directory it joined with: with another one it has forgotten
 * its vote and its blocks, so it is refused (PEER_AMNESIA) and must come with a new id.
 */
export class Members implements SubMachine<MemberCommand, MemberResult> {
  readonly #members = new Map<PeerId, MemberRecord>()

  apply(command: MemberCommand, context: ApplyContext): MemberResult {
    const { peerId } = command
    switch (command.type) {
      case 'peer-join':
        return this.#join(command, context)
      case 'peer-remove':
        return { ok: true, changed: this.#members.delete(peerId) }
      case 'peer-drain':
        return this.#drain(peerId, command.cancel !== true, command.mayDegrade === true)
      case 'peer-weigh':
        return this.#change(peerId, { weight: command.weight })
      case 'peer-up':
      case 'peer-down':
      case 'peer-leave':
        return this.#enter(peerId, STATE_AFTER[command.type], context)
    }
  }

  /** In the order of their first join. */
  members(): MemberRecord[] {
    return [...this.#members.values()]
  }

  member(peer: PeerId): MemberRecord | undefined {
    return this.#members.get(peer)
  }

  snapshot(): unknown {
    return { version: 2, members: this.members() }
  }

  restore(snapshot: unknown): void {
    const { members } = membersSnapshot.parse(snapshot)
    this.#members.clear()
    for (const member of members) this.#members.set(member.peerId, member)
  }

  assertInvariants(): void {
    invariant(this.#members.size <= MEMBERS_MAX, 'the number of members is bounded')
    let last = -1
    for (const [peer, member] of this.#members) {
      invariant(member.peerId === peer, `member ${peer} is kept under its own id`)
      invariant(member.joinedIndex > last, 'members are in the order of their joins')
      last = member.joinedIndex
    }
  }

  #join(command: Extract<MemberCommand, { type: 'peer-join' }>, context: ApplyContext): MemberResult {
    const { peerId, name, addresses, labels, directoryId, weight } = command
    const known = this.#members.get(peerId)
    if (known === undefined) {
      if (this.#members.size >= MEMBERS_MAX)
        return refused(new ShoalError('BUSY', { what: 'members', limit: MEMBERS_MAX }))
      const { index, timeMs } = context
      const state = 'up'
      const member = {
        peerId,
        name,
        addresses,
        labels,
        directoryId,
        weight: weight ?? WEIGHT_DEFAULT,
        draining: false,
        state,
        sinceMs: timeMs,
        joinedIndex: index,
      } as const
      this.#members.set(peerId, member)
      return { ok: true, changed: true, member }
    }
    if (known.directoryId !== directoryId) {
      const text = `${peerId} is a member of this mesh with another data directory; remove its identity key to join as a new peer`
      return refused(new ShoalError('PEER_AMNESIA', { peer: peerId }, text))
    }
    this.#members.set(peerId, { ...known, name, addresses, labels, weight: weight ?? known.weight })
    return {
      ...this.#enter(peerId, 'up', context),
      ok: true,
      changed: true,
      member: this.#members.get(peerId)!,
    }
  }

  #enter(peer: PeerId, state: MemberRecord['state'], context: ApplyContext): MemberResult {
    const known = this.#members.get(peer)
    if (known === undefined) return stranger(peer)
    if (known.state === state) return { ok: true, changed: false, member: known }
    // A peer that was drained and is started again is meant to take part again.
    const { draining, mayDegrade, ...rest } = known
    const mark =
      known.state === 'left'
        ? { draining: false }
        : { draining, ...(mayDegrade === undefined ? {} : { mayDegrade }) }
    const member = { ...rest, ...mark, state, sinceMs: context.timeMs }
    this.#members.set(peer, member)
    return { ok: true, changed: true, member }
  }

  #drain(peer: PeerId, draining: boolean, mayDegrade: boolean): MemberResult {
    const known = this.#members.get(peer)
    if (known === undefined) return stranger(peer)
    const { mayDegrade: before = false, ...rest } = known
    const after = draining && mayDegrade
    if (known.draining === draining && before === after) return { ok: true, changed: false, member: known }
    const member = { ...rest, draining, ...(after ? { mayDegrade: true } : {}) }
    this.#members.set(peer, member)
    return { ok: true, changed: true, member }
  }

  #change(peer: PeerId, change: Pick<MemberRecord, 'weight'>): MemberResult {
    const known = this.#members.get(peer)
    if (known === undefined) return stranger(peer)
    const member = { ...known, ...change }
    const changed = member.weight !== known.weight
    if (changed) this.#members.set(peer, member)
    return { ok: true, changed, member }
  }
}

function stranger(peer: PeerId): MemberResult {
  const reason = 'it is no member of this mesh'
  return refused(new ShoalError('NOT_ADMITTED', { peer, reason }, `${peer}: ${reason}; it has to join first`))
}

function refused(error: ShoalError): MemberResult {
  return { ok: false, error: toWire(error) }
}
