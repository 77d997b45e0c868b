import { invariant, pick, shuffled } from '../base/index.ts'
import type { PeerId, Random } from '../base/index.ts'
import type { MembershipOptions } from './config.ts'
import { MemberProbes } from './member-probes.ts'
import type { Probe } from './member-probes.ts'
import { estimatedBytes, MemberRumours } from './member-rumours.ts'
import { compareVersions, memberOf, MemberTable, updateOf } from './member-table.ts'
import type { Member, MemberEntry, Version } from './member-table.ts'
import type { MemberInfo, MembershipMessage, MemberState, MemberUpdate } from './messages.ts'
import { enoughAccusers, suspicionTimeoutMs } from './suspicion.ts'

export type MembershipEvent =
  /** Each `tickMs`; a late one tells the machine that its process stood still. */
  | { type: 'tick' }
  | { type: 'message-received'; from: PeerId; message: MembershipMessage }
  /** From the topic `members`. */
  | { type: 'updates-published'; updates: readonly MemberUpdate[] }
  | { type: 'connection-opened'; peer: PeerId }
  | { type: 'connection-closed'; peer: PeerId }
  /** Peers of the mesh to make oneself known to; asked again and again until one is alive. */
  | { type: 'join-requested'; peers: readonly PeerId[] }
  | { type: 'leave-requested' }
  /** Own name, addresses, labels or hints are different now. */
  | { type: 'info-changed'; info: MemberInfo }
  /** The leader makes up its own mind about an accused peer. */
  | { type: 'probe-requested'; peer: PeerId }
  /** The log says that this peer is removed for good. */
  | { type: 'forget-requested'; peer: PeerId }

export type MemberChange = 'joined' | 'alive' | 'suspect' | 'dead' | 'left' | 'updated' | 'forgotten'

export type MembershipEffect =
  | { type: 'send'; to: PeerId; message: MembershipMessage }
  | { type: 'publish'; updates: MemberUpdate[] }
  | { type: 'learn-addresses'; peer: PeerId; addresses: readonly string[] }
  | { type: 'member-changed'; change: MemberChange; member: Member }

export interface MembershipInit {
  self: PeerId
  info: MemberInfo
  /** Must be higher than in earlier lives of this peer; the wall clock at start does, and refutation mends the rest. */
  incarnation: number
  nowMs: number
}

/** An update learnt by exchange may be long out of date; one that is told is not. */
type Via = 'rumour' | 'exchange'

/**
 * Who is in the mesh and seems alive: SWIM (Das, Gupta, Motivala 2002) with the suspicion of Lifeguard (Dadgar,
 * Phillips, Currey 2018), in the shape that memberlist gave it. Reads no clock, sends nothing.
 *
 * Each interval one member is probed; when neither it nor, through helpers, its detour answers, this peer accuses it.
 * A suspect that does not refute in time, by raising its incarnation, is dead. News rides on pings and acks, and is
 * published once by the peer that made it. What was missed is made good by exchanging versions with a random peer;
 * dead members take part in that, so the two sides of a healed partition find each other again.
 *
 * Invariants: the version of a member, (incarnation, state), never goes back here; this peer is alive to itself until it leaves;
 * nobody is accused by a peer that itself stood still; in flight are at most `probesMax + 1` probes.
 */
export class Membership {
  readonly #options: MembershipOptions
  readonly #random: Random
  readonly #self: MemberEntry
  readonly #table = new MemberTable()
  readonly #rumours = new MemberRumours()
  readonly #probes: MemberProbes
  readonly #unpublished = new Map<PeerId, MemberUpdate>()
  #joinPeers: PeerId[] = []
  #lastTickMs: number
  #probeAtMs: number
  #syncAtMs: number
  #deadSyncAtMs: number
  #joinAtMs: number
  #publishAtMs: number
  #strangerAtMs: number
  /** Until then a failed probe proves nothing: acks may still lie unread after a stall. */
  #accuseNobodyUntilMs: number
  #effects: MembershipEffect[] = []
  #nowMs: number

  constructor(init: MembershipInit, options: MembershipOptions, random: Random) {
    const { self, info, incarnation, nowMs } = init
    this.#options = options
    this.#random = random
    this.#self = { peerId: self, incarnation, state: 'alive', info, accusers: [], sinceMs: nowMs }
    this.#table.set(this.#self)
    this.#probes = new MemberProbes(options, random)
    this.#nowMs = nowMs
    this.#lastTickMs = nowMs
    // Peers started together must not probe and exchange in step.
    this.#probeAtMs = nowMs + options.probeIntervalMs * random.next()
    this.#syncAtMs = nowMs + options.syncIntervalMs * random.next()
    this.#deadSyncAtMs = nowMs + options.deadSyncIntervalMs * random.next()
    this.#joinAtMs = nowMs
    this.#publishAtMs = nowMs
    this.#strangerAtMs = nowMs
    this.#accuseNobodyUntilMs = nowMs
    this.#announceSelf()
  }

  step(event: MembershipEvent, nowMs: number): MembershipEffect[] {
    this.#nowMs = nowMs
    this.#effects = []
    switch (event.type) {
      case 'tick':
        this.#onTick()
        break
      case 'message-received':
        if (event.from !== this.#self.peerId) this.#onMessage(event.from, event.message)
        break
      case 'updates-published':
        for (const update of event.updates) this.#merge(update, 'rumour')
        break
      case 'connection-opened':
        this.#sync(event.peer)
        break
      case 'connection-closed':
        this.#probe(event.peer)
        break
      case 'join-requested':
        this.#joinPeers = event.peers.filter(peer => peer !== this.#self.peerId)
        for (const peer of this.#joinPeers) this.#sync(peer)
        this.#joinAtMs = nowMs + this.#options.joinRetryMs
        break
      case 'leave-requested':
        this.#leave()
        break
      case 'info-changed':
        this.#self.info = event.info
        this.#self.incarnation++
        this.#announceSelf()
        break
      case 'probe-requested':
        this.#probe(event.peer)
        break
      case 'forget-requested':
        if (event.peer !== this.#self.peerId) this.#forget(event.peer)
        break
    }
    return this.#effects
  }

  /** Everybody this peer has heard of, itself included. */
  members(): Member[] {
    return Array.from(this.#table.values(), memberOf)
  }

  member(peer: PeerId): Member | undefined {
    const entry = this.#table.get(peer)
    return entry === undefined ? undefined : memberOf(entry)
  }

  /** Peers whose own probe of the member's present incarnation failed, this one included; at most `accusersMax`. */
  accusersOf(peer: PeerId): PeerId[] {
    return [...(this.#table.get(peer)?.accusers ?? [])]
  }

  /** Whether the leader, if it is this peer, knows enough to propose PeerDown. See `enoughAccusers`. */
  mayProposeDown(peer: PeerId): boolean {
    const entry = this.#table.get(peer)
    if (entry?.state !== 'dead') return false
    const others = this.#table.live(this.#self.peerId).length
    const own = entry.accusers.includes(this.#self.peerId)
    return enoughAccusers(own, entry.accusers.length - (own ? 1 : 0), others)
  }

  // ---- Rules, each a method of its own so that tests can break one at a time

  /** Versions only go forward, so that all orders of delivery end in the same belief. */
  protected isNews(told: Version, known: Version): boolean {
    return compareVersions(told, known) > 0
  }

  /** An alive update of a higher incarnation is of an earlier life, whose clock ran ahead. */
  protected mustRefute(update: MemberUpdate): boolean {
    return this.isNews(update, this.#self)
  }

  #onTick(): void {
    const now = this.#nowMs
    const options = this.#options
    const lateMs = now - this.#lastTickMs - options.tickMs
    this.#lastTickMs = now
    if (this.#self.state === 'left') return
    if (lateMs > options.stallMs) this.#standStill(lateMs)
    const { needHelp, failed } = this.#probes.due(now)
    for (const probe of needHelp) this.#askHelpers(probe)
    for (const probe of failed) this.#probeFailed(probe)
    this.#judgeSuspects()
    if (now >= this.#probeAtMs) {
      this.#probeAtMs = now + options.probeIntervalMs
      const target = this.#probes.next(this.#table.live(this.#self.peerId))
      if (target !== undefined) this.#probe(target)
    }
    this.#exchange()
    if (now >= this.#publishAtMs) this.#publish()
  }

  /** Own lag is the main source of false accusations: time that this process did not live through does not count. */
  #standStill(lateMs: number): void {
    this.#probes.restart(this.#nowMs)
    this.#accuseNobodyUntilMs = this.#nowMs + this.#options.probeTimeoutMs
    for (const entry of this.#table.values()) {
      if (entry.state === 'suspect') entry.sinceMs = Math.min(this.#nowMs, entry.sinceMs + lateMs)
    }
  }

  #probe(target: PeerId): void {
    const entry = this.#table.get(target)
    if (entry === undefined || entry === this.#self || entry.state === 'left' || this.#self.state === 'left')
      return
    if (this.#probes.inFlight > this.#options.probesMax || this.#probes.isProbing(target)) return
    const { sequence } = this.#probes.start(target, entry.incarnation, this.#nowMs)
    this.#send(target, { type: 'ping', sequence, updates: this.#piggyback(target) })
  }

  #askHelpers(probe: Probe): void {
    const { sequence, target } = probe
    const others = this.#table.live(this.#self.peerId).filter(peer => peer !== target)
    probe.helpers = shuffled(this.#random, others).slice(0, this.#options.helpers)
    for (const helper of probe.helpers) this.#send(helper, { type: 'ping-req', sequence, target })
  }

  #probeFailed(probe: Probe): void {
    const entry = this.#table.get(probe.target)
    if (entry === undefined || entry.incarnation !== probe.incarnation || entry.state === 'left') return
    if (this.#nowMs < this.#accuseNobodyUntilMs || entry.accusers.includes(this.#self.peerId)) return
    if (entry.state === 'alive') this.#enter(entry, 'suspect')
    const enoughSaid = entry.accusers.length > this.#options.confirmations
    if (entry.accusers.length >= this.#options.accusersMax) entry.accusers.pop()
    entry.accusers.push(this.#self.peerId)
    if (!enoughSaid && entry.state === 'suspect') this.#tell(entry)
  }

  #judgeSuspects(): void {
    const members = this.#table.live(this.#self.peerId).length + 1
    for (const entry of this.#table.values()) {
      if (entry.state === 'suspect') {
        const limitMs = suspicionTimeoutMs(members, Math.max(0, entry.accusers.length - 1), this.#options)
        if (this.#nowMs - entry.sinceMs < limitMs) continue
        this.#enter(entry, 'dead')
        this.#tell(entry)
      } else if (entry.state !== 'alive' && this.#nowMs - entry.sinceMs >= this.#options.forgetMs) {
        this.#forget(entry.peerId)
      }
    }
  }

  /** Anti-entropy: with somebody alive, more rarely with somebody dead, and with a join peer while alone. */
  #exchange(): void {
    const now = this.#nowMs
    const options = this.#options
    if (now >= this.#joinAtMs) {
      this.#joinAtMs = now + options.joinRetryMs
      const joinPeer = pick(this.#random, this.#joinPeers)
      if (joinPeer !== undefined && this.#table.live(this.#self.peerId).length === 0) this.#sync(joinPeer)
    }
    if (now >= this.#syncAtMs) {
      this.#syncAtMs = now + options.syncIntervalMs
      const peer = pick(this.#random, this.#table.live(this.#self.peerId))
      if (peer !== undefined) this.#sync(peer)
    }
    if (now >= this.#deadSyncAtMs) {
      this.#deadSyncAtMs = now + options.deadSyncIntervalMs
      const peer = pick(this.#random, this.#table.inState('dead'))
      if (peer !== undefined) this.#sync(peer)
    }
  }

  #onMessage(from: PeerId, message: MembershipMessage): void {
    if (this.#self.state === 'left') return
    switch (message.type) {
      case 'ping':
        this.#hear(from, message.updates)
        this.#send(from, { type: 'ack', sequence: message.sequence, updates: this.#piggyback(from) })
        break
      case 'ack': {
        this.#hear(from, message.updates)
        const relay = this.#probes.acked(message.sequence, from)
        if (relay === undefined) break
        const { asker, askerSequence } = relay
        this.#send(asker, { type: 'ack', sequence: askerSequence, updates: [] })
        break
      }
      case 'ping-req': {
        if (message.target === this.#self.peerId) {
          this.#send(from, { type: 'ack', sequence: message.sequence, updates: this.#piggyback(from) })
          break
        }
        const sequence = this.#probes.relay(message.target, from, message.sequence, this.#nowMs)
        if (sequence === undefined) break
        this.#send(message.target, { type: 'ping', sequence, updates: this.#piggyback(message.target) })
        break
      }
      case 'sync':
        this.#send(from, { type: 'news', ...this.#table.difference(message, message.digest) })
        break
      case 'news':
        this.#onNews(from, message)
        break
    }
  }

  #onNews(from: PeerId, message: Extract<MembershipMessage, { type: 'news' }>): void {
    const known = this.#table.size
    for (const update of message.updates) this.#merge(update, 'exchange')
    if (message.wanted.length > 0) {
      const { updates } = this.#table.records(message.wanted)
      if (updates.length > 0) this.#send(from, { type: 'news', updates, wanted: [], more: false })
    }
    // Only growth is progress: without it two peers could go on asking each other for ever.
    const last = message.updates.at(-1)
    if (!message.more || last === undefined || this.#table.size === known) return
    const { slice, digest } = this.#table.digestAfter(last.peerId)
    this.#send(from, { type: 'sync', ...slice, digest })
  }

  /** Takes in piggybacked updates; a sender that is not alive here gets to know it, and refutes. */
  #hear(from: PeerId, updates: readonly MemberUpdate[]): void {
    for (const update of updates) this.#merge(update, 'rumour')
    const state = this.#table.get(from)?.state
    if ((state !== undefined && state !== 'dead') || this.#nowMs < this.#strangerAtMs) return
    this.#strangerAtMs = this.#nowMs + this.#options.strangerSyncIntervalMs
    this.#sync(from)
  }

  #merge(update: MemberUpdate, via: Via): void {
    if (update.peerId === this.#self.peerId) return this.#refute(update)
    const entry = this.#table.get(update.peerId)
    if (entry === undefined) return this.#meet(update)
    // Death learnt by exchange may be that of the other side of a healed partition: the member gets time to refute.
    const doubtful = via === 'exchange' && update.state === 'dead' && entry.state !== 'dead'
    const told = { incarnation: update.incarnation, state: doubtful ? 'suspect' : update.state } as const
    const isNews = this.isNews(told, entry)
    if (isNews) this.#believe(entry, told, update.info)
    else if (compareVersions(told, entry) < 0) return
    if (this.#addAccusers(entry, update.accusers) || isNews) this.#rumours.add(updateOf(entry, false))
  }

  #believe(entry: MemberEntry, told: Version, info?: MemberInfo): void {
    const reborn = told.incarnation > entry.incarnation
    if (reborn) {
      entry.incarnation = told.incarnation
      entry.accusers = []
      entry.sinceMs = this.#nowMs
    }
    if (info !== undefined) this.#learn(entry, info)
    if (told.state !== entry.state) this.#enter(entry, told.state)
    else if (reborn) this.#changed('updated', entry)
    if (told.state === 'suspect') this.#confirm(entry.peerId)
  }

  /** A few members check each suspicion at once, so that a dead peer soon has accusers and a live one refutes soon. */
  #confirm(suspect: PeerId): void {
    const members = this.#table.live(this.#self.peerId).length
    if (this.#random.next() * members < this.#options.confirmers) this.#probe(suspect)
  }

  #meet(update: MemberUpdate): void {
    const { peerId, incarnation, state, info } = update
    if (info === undefined || this.#table.size >= this.#options.membersMax) return
    const entry: MemberEntry = { peerId, incarnation, state, info, accusers: [], sinceMs: this.#nowMs }
    this.#table.set(entry)
    this.#addAccusers(entry, update.accusers)
    this.#effects.push({ type: 'learn-addresses', peer: peerId, addresses: info.addresses })
    if (state === 'alive' || state === 'suspect') {
      this.#probes.enlist(peerId)
      this.#changed('joined', entry)
    }
    if (state !== 'alive') this.#changed(state, entry)
    this.#rumours.add(updateOf(entry, true))
  }

  #learn(entry: MemberEntry, info: MemberInfo): void {
    const known = entry.info.addresses
    entry.info = info
    if (info.addresses.every(address => known.includes(address))) return
    this.#effects.push({ type: 'learn-addresses', peer: entry.peerId, addresses: info.addresses })
  }

  /** True when there is a new one worth telling on. */
  #addAccusers(entry: MemberEntry, accusers: readonly PeerId[]): boolean {
    if (entry.state !== 'suspect' && entry.state !== 'dead') return false
    const before = entry.accusers.length
    for (const accuser of accusers) {
      if (entry.accusers.length >= this.#options.accusersMax) break
      if (accuser !== entry.peerId && !entry.accusers.includes(accuser)) entry.accusers.push(accuser)
    }
    return entry.accusers.length > before
  }

  #enter(entry: MemberEntry, state: MemberState): void {
    const wasGone = entry.state === 'dead' || entry.state === 'left'
    entry.state = state
    entry.sinceMs = this.#nowMs
    if (state === 'alive' || state === 'left') entry.accusers = []
    if (state === 'left') this.#probes.forget(entry.peerId)
    if (wasGone && (state === 'alive' || state === 'suspect')) this.#probes.enlist(entry.peerId)
    this.#changed(state, entry)
  }

  /** What is said of this peer is either of an earlier life or wrong: a higher incarnation overrides it everywhere. */
  #refute(update: MemberUpdate): void {
    if (this.#self.state === 'left' || !this.mustRefute(update)) return
    this.#self.incarnation = update.incarnation + 1
    this.#announceSelf()
  }

  #leave(): void {
    if (this.#self.state === 'left') return
    const others = shuffled(this.#random, this.#table.live(this.#self.peerId))
    this.#self.state = 'left'
    this.#announceSelf()
    this.#publish()
    const updates = [updateOf(this.#self, true)]
    for (const peer of others.slice(0, this.#options.confirmers)) {
      this.#send(peer, { type: 'news', updates, wanted: [], more: false })
    }
  }

  #forget(peer: PeerId): void {
    const entry = this.#table.get(peer)
    if (entry === undefined) return
    this.#table.delete(peer)
    this.#rumours.drop(peer)
    this.#unpublished.delete(peer)
    this.#probes.forget(peer)
    this.#changed('forgotten', entry)
  }

  #announceSelf(): void {
    this.#tell(this.#self)
  }

  /** News that this peer made itself: it rides on pings and is published once. */
  #tell(entry: MemberEntry): void {
    const update = updateOf(entry, false)
    this.#rumours.add(update)
    this.#unpublished.set(entry.peerId, update)
  }

  #publish(): void {
    this.#publishAtMs = this.#nowMs + this.#options.publishIntervalMs
    for (
      let batches = 0;
      batches < this.#options.publishBatchesMax && this.#unpublished.size > 0;
      batches++
    ) {
      const updates: MemberUpdate[] = []
      let bytes = 0
      for (const update of this.#unpublished.values()) {
        const size = estimatedBytes(update)
        if (bytes > 0 && bytes + size > this.#options.batchBytes) break
        bytes += size
        updates.push(update)
        this.#unpublished.delete(update.peerId)
      }
      this.#effects.push({ type: 'publish', updates })
    }
  }

  #piggyback(to: PeerId): MemberUpdate[] {
    const { retransmitFactor, batchBytes } = this.#options
    const about = this.#table.get(to)
    // Told first of all to the accused itself, which alone can refute it.
    const accused = about !== undefined && about.state !== 'alive' ? [updateOf(about, false)] : []
    const reserved = accused.reduce((bytes, update) => bytes + estimatedBytes(update), 0)
    const transmissions = retransmitFactor * Math.ceil(Math.log10(this.#table.size + 1))
    const rumours = this.#rumours.take(batchBytes, reserved, transmissions)
    return [...accused, ...rumours.filter(update => update.peerId !== to)]
  }

  #sync(peer: PeerId): void {
    if (this.#self.state === 'left' || peer === this.#self.peerId) return
    const { slice, digest } = this.#table.digest(this.#random)
    this.#send(peer, { type: 'sync', ...slice, digest })
  }

  #send(to: PeerId, message: MembershipMessage): void {
    this.#effects.push({ type: 'send', to, message })
  }

  #changed(change: MemberChange, entry: MemberEntry): void {
    this.#effects.push({ type: 'member-changed', change, member: memberOf(entry) })
  }

  /** Throws when the state contradicts itself. */
  assertInvariants(): void {
    const options = this.#options
    const self = this.#self
    invariant(this.#table.get(self.peerId) === self, 'this peer is in its own table')
    invariant(self.state === 'alive' || self.state === 'left', 'this peer is alive to itself until it leaves')
    invariant(self.accusers.length === 0, 'this peer is not accused by itself')
    invariant(this.#probes.inFlight <= options.probesMax + 1, 'probes in flight are bounded')
    invariant(this.#probes.relays <= options.relaysMax, 'forwarded pings are bounded')
    invariant(this.#table.size <= options.membersMax, 'the member table is bounded')
    invariant(this.#rumours.size <= this.#table.size, 'at most one rumour per member')
    invariant(this.#unpublished.size <= this.#table.size, 'at most one unpublished update per member')
    for (const { peerId, state, accusers, sinceMs } of this.#table.values()) {
      const accusable = state === 'suspect' || state === 'dead'
      invariant(accusable || accusers.length === 0, `${peerId} is ${state} and accused`)
      invariant(accusers.length <= options.accusersMax, `${peerId} has more accusers than are kept`)
      invariant(new Set(accusers).size === accusers.length, `${peerId} has an accuser twice`)
      invariant(!accusers.includes(peerId), `${peerId} accuses itself`)
      invariant(sinceMs <= this.#nowMs, `${peerId} entered its state in the future`)
    }
  }
}
