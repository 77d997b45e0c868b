import { asPeerId, pack, seededRandom } from '../../src/base/index.ts'
import type { PeerId, Random } from '../../src/base/index.ts'
import { membershipDefaults } from '../../src/gossip/config.ts'
import type { MembershipOptions } from '../../src/gossip/config.ts'
import { Membership } from '../../src/gossip/membership.machine.ts'
import type { MemberChange, MembershipEvent, MembershipInit } from '../../src/gossip/membership.machine.ts'
import { MEMBER_STATES, membershipMessageType } from '../../src/gossip/messages.ts'
import type { MemberInfo, MembershipMessage, MemberState, MemberUpdate } from '../../src/gossip/messages.ts'
import type { MemberProgramInit } from './member-program.ts'
import { VirtualTime } from './virtual-time.ts'

export interface CrowdOptions {
  peers: number
  seed: number
  options?: Partial<MembershipOptions>
  /** A planted bug. */
  machine?: NonNullable<MemberProgramInit['machine']>
}

/** What one peer came to believe of another, and when. */
export interface CrowdChange {
  atMs: number
  observer: number
  of: number
  change: MemberChange
}

interface Seat {
  readonly peer: PeerId
  machine: Membership
  state: 'running' | 'paused' | 'crashed'
  /** Counts starts: what was meant for an earlier life does not reach a later one. */
  life: number
  held: MembershipEvent[]
  side: number
}

/** One hop between two peers of a local network. */
const HOP_MIN_MS = 0.2
const HOP_MAX_MS = 2
/** Hops that a published batch takes at most. */
const GOSSIP_HOPS = 4
/** A note's frame: header, fixed part, name of its type. Source: src/node/net/frame-codec.ts. */
const FRAME_BYTES = 15 + membershipMessageType.name.length
/** Peer id, sequence number, signature and topic of a gossip message. */
const GOSSIP_BYTES = 130
/** Socket buffers of a stopped process are finite. */
const HELD_MAX = 5_000

/**
 * Many real membership machines, and nothing else: for what only shows in large meshes, where the whole simulator would
 * take too long. Peers begin with full tables. A crash is one of the machine, which no closed connection tells of: the
 * worst case. Everything is decided by the seed.
 */
export class MemberCrowd {
  readonly time = new VirtualTime()
  readonly random: Random
  readonly changes: CrowdChange[] = []
  /** Share of messages lost, 0 to 1. */
  loss = 0
  /** Copies put on the wire, also of published batches, and their bytes above TLS. */
  messages = 0
  bytes = 0
  /** Bytes are counted: it costs as much as all the rest. */
  metering = false
  /** Which states the changes are kept of. */
  keeps: readonly MemberChange[] = ['suspect', 'dead']
  readonly #seats: Seat[]
  readonly #places = new Map<PeerId, number>()
  readonly #options: CrowdOptions
  /** What each observer (row) believes of each peer: place in MEMBER_STATES, or UNKNOWN. */
  readonly #beliefs: Uint8Array
  #split = false
  /** Until all have said that they are there, which all know: a million messages in a large mesh. */
  #muted = true

  constructor(options: CrowdOptions) {
    const { peers, seed } = options
    this.#options = options
    this.random = seededRandom(seed)
    this.#beliefs = new Uint8Array(peers * peers).fill(UNKNOWN)
    this.#seats = Array.from({ length: peers }, (_, place) => {
      const peer = asPeerId(`12D3KooW${String(place).padStart(44, 'x')}`)
      this.#places.set(peer, place)
      return { peer, machine: this.#machineOf(place, peer, 1), state: 'running', life: 0, held: [], side: 0 }
    })
    const updates = this.#seats.map(({ peer }, place): MemberUpdate => {
      return { peerId: peer, incarnation: 1, state: 'alive', accusers: [], info: infoOf(place) }
    })
    for (let place = 0; place < peers; place++) {
      this.step(place, {
        type: 'message-received',
        from: this.peer((place + 1) % peers),
        message: newsOf(updates),
      })
      this.#tick(place)
    }
    this.run(2 * membershipDefaults.publishIntervalMs)
    this.#muted = false
  }

  get size(): number {
    return this.#seats.length
  }

  peer(place: number): PeerId {
    return this.#seats[place]!.peer
  }

  machine(place: number): Membership {
    return this.#seats[place]!.machine
  }

  stateOf(place: number): Seat['state'] {
    return this.#seats[place]!.state
  }

  belief(observer: number, of: number): MemberState | undefined {
    return MEMBER_STATES[this.#beliefs[observer * this.size + of]!]
  }

  step(place: number, event: MembershipEvent): void {
    const { machine } = this.#seats[place]!
    for (const effect of machine.step(event, this.time.nowMs)) {
      if (effect.type === 'send') this.#send(place, effect.to, effect.message)
      else if (effect.type === 'publish') this.#publish(place, effect.updates)
      else if (effect.type === 'member-changed') {
        const of = this.#places.get(effect.member.peerId)!
        const forgotten = effect.change === 'forgotten'
        this.#beliefs[place * this.size + of] = forgotten
          ? UNKNOWN
          : MEMBER_STATES.indexOf(effect.member.state)
        if (this.keeps.includes(effect.change))
          this.changes.push({ atMs: this.time.nowMs, observer: place, of, change: effect.change })
      }
    }
  }

  run(ms: number): void {
    this.time.runUntil(this.time.nowMs + ms)
  }

  /** Simulated milliseconds until it holds; undefined when it does not in time. */
  until(condition: () => boolean, timeoutMs: number): number | undefined {
    const startMs = this.time.nowMs
    return this.time.runUntilTrue(condition, timeoutMs, 100) ? this.time.nowMs - startMs : undefined
  }

  /** Every running peer takes each running one for alive, and each crashed one for dead. */
  agreed(): boolean {
    return this.#seats.every(({ state }, observer) => {
      if (state !== 'running') return true
      return this.#seats.every((seat, of) => {
        const belief = this.belief(observer, of)
        return of === observer || belief === (seat.state === 'crashed' ? 'dead' : 'alive')
      })
    })
  }

  /** How many running peers take that one for that. */
  believers(of: number, state: MemberState): number {
    let count = 0
    for (let observer = 0; observer < this.size; observer++) {
      if (observer !== of && this.stateOf(observer) === 'running' && this.belief(observer, of) === state)
        count++
    }
    return count
  }

  crash(place: number): void {
    const seat = this.#seats[place]!
    seat.state = 'crashed'
    seat.life++
    seat.held = []
  }

  /** In a new life, which knows one other peer. */
  restart(place: number): void {
    const seat = this.#seats[place]!
    const known = this.#seats.findIndex(({ state }, other) => state === 'running' && other !== place)
    const before = seat.machine.member(seat.peer)!.incarnation
    seat.state = 'running'
    seat.machine = this.#machineOf(place, seat.peer, before + 1)
    this.#beliefs.fill(UNKNOWN, place * this.size, (place + 1) * this.size)
    this.step(place, { type: 'join-requested', peers: [this.peer(known)] })
    this.#tick(place)
  }

  /** Stands still for so long; what comes meanwhile waits. */
  pause(place: number, ms: number): void {
    const seat = this.#seats[place]!
    if (seat.state !== 'running') return
    seat.state = 'paused'
    const { life } = seat
    this.time.after(ms, () => {
      if (seat.life !== life) return
      seat.state = 'running'
      const { held } = seat
      seat.held = []
      this.step(place, { type: 'tick' })
      for (const event of held) this.step(place, event)
    })
  }

  /** The first ones are cut off from the others. */
  split(count: number): void {
    this.#split = true
    for (const [place, seat] of this.#seats.entries()) seat.side = place < count ? 1 : 0
  }

  mend(): void {
    this.#split = false
  }

  assertInvariants(): void {
    for (const { machine } of this.#seats) machine.assertInvariants()
  }

  #machineOf(place: number, peer: PeerId, incarnation: number): Membership {
    const init: MembershipInit = { self: peer, info: infoOf(place), incarnation, nowMs: this.time.nowMs }
    const Machine = this.#options.machine ?? Membership
    return new Machine(init, { ...membershipDefaults, ...this.#options.options }, this.random)
  }

  #tick(place: number): void {
    const seat = this.#seats[place]!
    const { life } = seat
    const tickMs = this.#options.options?.tickMs ?? membershipDefaults.tickMs
    const tick = (): void => {
      if (seat.life !== life) return
      if (seat.state === 'running') this.step(place, { type: 'tick' })
      this.time.after(tickMs, tick)
    }
    this.time.after(this.random.next() * tickMs, tick)
  }

  #send(from: number, to: PeerId, message: MembershipMessage): void {
    this.messages++
    if (this.metering) this.bytes += FRAME_BYTES + pack(message).length
    const place = this.#places.get(to)
    if (place === undefined || this.random.next() < this.loss) return
    this.#arrive(from, place, 1, { type: 'message-received', from: this.peer(from), message })
  }

  #publish(from: number, updates: MemberUpdate[]): void {
    if (this.#muted) return
    const bytes = this.metering ? GOSSIP_BYTES + pack({ updates }).length : 0
    for (let place = 0; place < this.size; place++) {
      if (place === from) continue
      this.messages++
      this.bytes += bytes
      // Somebody forwards it to each; who is lost to one of them hears it from another.
      if (this.random.next() < this.loss ** 2) continue
      this.#arrive(from, place, 1 + this.random.next() * (GOSSIP_HOPS - 1), {
        type: 'updates-published',
        updates,
      })
    }
  }

  #arrive(from: number, to: number, hops: number, event: MembershipEvent): void {
    const seat = this.#seats[to]!
    const { life } = seat
    this.time.after(hops * (HOP_MIN_MS + this.random.next() * (HOP_MAX_MS - HOP_MIN_MS)), () => {
      if (seat.life !== life || (this.#split && seat.side !== this.#seats[from]!.side)) return
      if (seat.state === 'running') this.step(to, event)
      else if (seat.state === 'paused' && seat.held.length < HELD_MAX) seat.held.push(event)
    })
  }
}

const UNKNOWN = MEMBER_STATES.length

function newsOf(updates: MemberUpdate[]): MembershipMessage {
  return { type: 'news', updates, wanted: [], more: false }
}

/** What a peer on a machine with one address tells of itself. */
function infoOf(place: number): MemberInfo {
  return {
    name: `peer-${place}`,
    addresses: [`/ip4/10.0.${Math.floor(place / 250)}.${place % 250}/tcp/4001`],
    labels: { host: `host-${place}`, zone: '' },
    meta: {},
  }
}
