import {
  asPeerId,
  pack,
  ShoalError,
  shortPeer,
  silentLogger,
  systemClock,
  systemRandom,
  unpack,
} from '../base/index.ts'
import type { Clock, Logger, PeerId, Random, Transport } from '../base/index.ts'
import { membershipDefaults } from './config.ts'
import type { MembershipOptions } from './config.ts'
import { INTRODUCED } from './member-table.ts'
import type { Member } from './member-table.ts'
import { Membership } from './membership.machine.ts'
import type { MemberChange, MembershipEffect, MembershipEvent } from './membership.machine.ts'
import {
  ADDRESS_MAX,
  ADDRESSES_MAX,
  memberInfo,
  MEMBERS_TOPIC,
  membersBatch,
  membershipMessageType,
} from './messages.ts'
import type { MemberInfo, MemberMeta } from './messages.ts'

export interface MembershipDriverInit {
  transport: Transport
  /** What the others are told of this peer. */
  info: MemberInfo
  /** @default wall clock: higher than in any earlier life of this peer, unless its clock went back */
  incarnation?: number
  options?: Partial<MembershipOptions>
  clock?: Clock
  random?: Random
  logger?: Logger
}

export type MemberListener = (change: MemberChange, member: Member) => void

/** Runs `Membership` over a transport: turns messages and time into events, performs the effects in order. */
export class MembershipDriver implements AsyncDisposable {
  readonly #transport: Transport
  readonly #machine: Membership
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #listeners = new Set<MemberListener>()
  readonly #timer: NodeJS.Timeout
  readonly #self: PeerId
  #info: MemberInfo
  #stopped = false

  /** Throws CONFIG_INVALID when the others would refuse what it says of this peer. */
  constructor(init: MembershipDriverInit) {
    const { transport } = init
    const info = tellable(init.info)
    const options: MembershipOptions = { ...membershipDefaults, ...init.options }
    this.#transport = transport
    this.#self = transport.self
    this.#info = info
    this.#clock = init.clock ?? systemClock
    this.#logger = init.logger ?? silentLogger
    const incarnation = init.incarnation ?? Date.now()
    const nowMs = this.#clock.nowMs()
    this.#machine = new Membership(
      { self: transport.self, info, incarnation, nowMs },
      options,
      init.random ?? systemRandom,
    )
    transport.handle(membershipMessageType, ({ from, head }) => {
      this.#step({ type: 'message-received', from, message: head })
    })
    transport.subscribe(MEMBERS_TOPIC, (from, data) => this.#onPublished(from, data))
    transport.onConnection((peer, state) => {
      this.#step({ type: state === 'open' ? 'connection-opened' : 'connection-closed', peer })
    })
    this.#timer = setInterval(() => this.#step({ type: 'tick' }), options.tickMs)
  }

  /** Everybody this peer has heard of, itself included. */
  members(): Member[] {
    return this.#machine.members()
  }

  member(peer: PeerId): Member | undefined {
    return this.#machine.member(peer)
  }

  /** Peers whose own probe of this one failed. */
  accusersOf(peer: PeerId): PeerId[] {
    return this.#machine.accusersOf(peer)
  }

  /** Whether this peer, as leader, knows enough to propose PeerDown; `probe` makes sure it gets to know. */
  mayProposeDown(peer: PeerId): boolean {
    return this.#machine.mayProposeDown(peer)
  }

  /** Whether it died and came back so often lately that it should get no new replicas, tasks or votes. */
  isQuarantined(peer: PeerId): boolean {
    return this.#machine.isQuarantined(peer)
  }

  /** Probes that peer now, whatever its turn. The leader does so for every suspect. */
  probe(peer: PeerId): void {
    this.#step({ type: 'probe-requested', peer })
  }

  /** Told of every change, in order, after it happened; a listener must not throw. */
  onChange(listener: MemberListener): void {
    this.#listeners.add(listener)
  }

  /** Multiaddrs ending in `/p2p/<peer id>` of any peers of the mesh. Returns at once; retries until one is alive. */
  join(addresses: readonly string[]): void {
    const peers = new Set<PeerId>()
    for (const address of addresses) {
      const peer = asPeerId(address.slice(address.lastIndexOf('/') + 1))
      peers.add(peer)
      if (address.includes('/')) this.#transport.addAddresses(peer, [address])
    }
    this.#step({ type: 'join-requested', peers: [...peers] })
  }

  /**
   * The log calls a peer a member that nobody has heard of since this process began, as after all were down at once. From
   * here on it is probed like any other, and found dead if it is.
   */
  introduce(peerId: PeerId, info: Omit<MemberInfo, 'meta'>): void {
    if (peerId === this.#self || this.#machine.member(peerId) !== undefined) return
    const { name, addresses, labels } = info
    const update = {
      peerId,
      incarnation: INTRODUCED,
      state: 'alive' as const,
      accusers: [],
      info: { name, addresses, labels, meta: {} },
    }
    this.#step({ type: 'updates-published', updates: [update] })
  }

  /** Tells the mesh that this peer goes on purpose; afterwards it takes no part until it is started again. */
  leave(): void {
    this.#step({ type: 'leave-requested' })
  }

  /** Hints changed; call rarely (each call is news for the whole mesh). */
  setMeta(meta: MemberMeta): void {
    this.#setInfo({ ...this.#info, meta })
  }

  setAddresses(addresses: readonly string[]): void {
    this.#setInfo({ ...this.#info, addresses: [...addresses] })
  }

  /** The log removed this peer for good. */
  forget(peer: PeerId): void {
    this.#step({ type: 'forget-requested', peer })
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    return Promise.resolve()
  }

  #setInfo(info: MemberInfo): void {
    this.#info = tellable(info)
    this.#step({ type: 'info-changed', info: this.#info })
  }

  #onPublished(from: PeerId, data: Uint8Array): void {
    if (from === this.#self) return
    let value: unknown
    try {
      value = unpack(data)
    } catch {
      value = undefined
    }
    const batch = membersBatch.safeParse(value)
    if (batch.success) this.#step({ type: 'updates-published', updates: batch.data.updates })
    else this.#logger.debug({ from: shortPeer(from) }, 'dropped a malformed batch of member updates')
  }

  #step(event: MembershipEvent): void {
    if (this.#stopped) return
    for (const effect of this.#machine.step(event, this.#clock.nowMs())) this.#perform(effect)
  }

  #perform(effect: MembershipEffect): void {
    switch (effect.type) {
      case 'send':
        this.#transport.send(effect.to, membershipMessageType, effect.message)
        break
      case 'publish':
        this.#transport.publish(MEMBERS_TOPIC, pack({ updates: effect.updates }))
        break
      case 'learn-addresses':
        this.#transport.addAddresses(effect.peer, effect.addresses)
        break
      case 'member-changed': {
        const { peerId, name, incarnation } = effect.member
        this.#logger.info({ peer: shortPeer(peerId), name, incarnation }, `member ${effect.change}`)
        for (const listener of this.#listeners) listener(effect.change, effect.member)
        break
      }
    }
  }
}

/** A host may have more addresses than are told; names and labels that are too long are the operator's mistake. */
function tellable(info: MemberInfo): MemberInfo {
  const addresses = info.addresses.filter(address => address.length <= ADDRESS_MAX).slice(0, ADDRESSES_MAX)
  const checked = memberInfo.safeParse({ ...info, addresses })
  if (checked.success) return checked.data
  const issue = checked.error.issues[0]
  const option = issue?.path.join('.') ?? 'member info'
  const reason = issue?.message ?? 'not valid'
  throw new ShoalError(
    'CONFIG_INVALID',
    { option, reason },
    `${option} of this peer cannot be told to others: ${reason}`,
  )
}
