import type { PeerId, Random } from '../../src/base/index.ts'
import { membershipDefaults } from '../../src/gossip/config.ts'
import type { MembershipOptions } from '../../src/gossip/config.ts'
import type { Member } from '../../src/gossip/member-table.ts'
import { Membership } from '../../src/gossip/membership.machine.ts'
import type { MembershipEvent, MembershipInit } from '../../src/gossip/membership.machine.ts'
import type { MemberInfo, MembershipMessage, MemberUpdate } from '../../src/gossip/messages.ts'
import type { MemberChecker } from './member-checker.ts'
import type { Program, Surroundings } from './world.ts'

export interface MemberProgramInit {
  /** Asked to take this peer in. */
  join: readonly PeerId[]
  checker: MemberChecker
  /** @default 0: every life starts as if the peer had never lived, the worst case */
  incarnation?: number
  options?: Partial<MembershipOptions>
  /** A planted bug. */
  machine?: new (init: MembershipInit, options: MembershipOptions, random: Random) => Membership
  onChange?: (change: string, member: Member) => void
}

/** The real membership machine of one peer in the simulator. */
export class MemberProgram implements Program {
  readonly machine: Membership
  readonly #around: Surroundings
  readonly #init: MemberProgramInit

  constructor(around: Surroundings, init: MemberProgramInit) {
    this.#around = around
    this.#init = init
    const { self, random } = around
    const incarnation = init.incarnation ?? 0
    const options = { ...membershipDefaults, ...init.options }
    const Machine = init.machine ?? Membership
    this.machine = new Machine(
      { self, info: infoOf(self), incarnation, nowMs: around.nowMs() },
      options,
      random,
    )
    init.checker.started(self, this.machine)
    this.step({ type: 'join-requested', peers: init.join })
  }

  tick(): void {
    this.step({ type: 'tick' })
  }

  receive(from: PeerId, payload: MemberPayload): void {
    if (payload.kind === 'direct') this.step({ type: 'message-received', from, message: payload.message })
    else this.step({ type: 'updates-published', updates: payload.updates })
  }

  connection(peer: PeerId, state: 'open' | 'closed'): void {
    this.step({ type: state === 'open' ? 'connection-opened' : 'connection-closed', peer })
  }

  /** Nothing of membership is on disk. */
  crashed(): void {}

  step(event: MembershipEvent): void {
    const { self } = this.#around
    const effects = this.machine.step(event, this.#around.nowMs())
    if (event.type !== 'tick' || effects.length > 0) this.#around.trace([event, effects])
    this.machine.assertInvariants()
    this.#init.checker.stepped(self, this.machine)
    for (const effect of effects) {
      if (effect.type === 'send') this.#around.send(effect.to, { kind: 'direct', message: effect.message })
      else if (effect.type === 'publish') this.#around.gossip({ kind: 'topic', updates: effect.updates })
      else if (effect.type === 'member-changed') this.#init.onChange?.(effect.change, effect.member)
    }
  }
}

export type MemberPayload =
  | { kind: 'direct'; message: MembershipMessage }
  | { kind: 'topic'; updates: MemberUpdate[] }

function infoOf(peer: PeerId): MemberInfo {
  return { name: peer, addresses: [`/memory/${peer}`], labels: { host: `host-${peer}`, zone: '' }, meta: {} }
}
