import { invariant, pick, shuffled } from '../base/index.ts'
import type { PeerId, Random } from '../base/index.ts'
import type { MembershipOptions } from './config.ts'
import { LocalHealth } from './member-health.ts'
import { MemberNews } from './member-news.ts'
import { MemberProbes } from './member-probes.ts'
import type { Probe } from './member-probes.ts'
import { MemberQuarantine } from './member-quarantine.ts'
import { compareVersions, memberOf, MemberTable, recordOf, updateOf } from './member-table.ts'
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

export type MemberChange =
  | 'joined'
  | 'alive'
  | 'suspect'
  | 'dead'
  | 'left'
  | 'updated'
  | 'forgotten'
  /** It died and came back too often: it should get nothing new until it is `released`. */
  | 'quarantined'
  | 'released'

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

/** When a suspect is looked at again, as shares of the shortest suspicion: late enough for most refutations, early enough for the probe. */
const CHECK_FROM = 0.2
const CHECK_TO = 0.55
/** How often those long gone and those in quarantine are looked at. */
const SWEEP_INTERVAL_MS = 1_000
/** How many peers, about, look for a dead one in each `deadSyncIntervalMs`; fewer only when they are fewer. */
const SEEKERS_PER_DEAD = 3

/** An update learnt by exchange may be long out of date; one that is told is not. In bulk it comes to a newcomer. */
type Via = 'rumour' | 'exchange' | 'bulk'

/**
 * Who is in the mesh and seems alive: SWIM (Das, Gupta, Motivala 2002) with Lifeguard (Dadgar, Phillips, Currey 2018),
 * in the shape that memberlist gave it. Reads no clock, sends nothing.
 *
 * Each interval one member is probed; when neither it nor, through helpers, its detour answers, this peer accuses it.
 * A suspect that does not refute in time, by raising its incarnation, is dead. News rides on pings and acks, and is
 * published by the peers that found it out. What was missed is made good by comparing hashes, and versions where they
 * differ, with a random peer; dead members take part in that, so the two sides of a healed partition find each other again.
 * A peer that has reason to doubt itself (`LocalHealth`) gives the others more time; one that returns from the dead again
 * and again is put into quarantine (`MemberQuarantine`). What a peer does in a second does not depend on the size of the mesh.
 *
 * Invariants: the version of a member, (incarnation, state), never goes back here; this peer is alive to itself until it leaves;
 * nobody is accused or declared dead by a peer that itself stood still; in flight are at most `probesMax + 1` probes.
 */
export class Membership {
  readonly #options: MembershipOptions
  readonly #random: Random
  readonly #self: MemberEntry
  readonly #table = new MemberTable()
  readonly #probes: MemberProbes
  readonly #news: MemberNews
  readonly #health: LocalHealth
  readonly #quarantine: MemberQuarantine
  #joinPeers: PeerId[] = []
  #lastTickMs: number
  #probeAtMs: number
  #syncAtMs: number
  #deadSyncAtMs: number
  #joinAtMs: number
  #strangerAtMs: number
  #answerAtMs: number
  #sweepAtMs: number
  /** Until then a failed probe proves nothing: acks may still lie unread after a stall. */
  #accuseNobodyUntilMs: number
  /** When this peer last saw at least as many die lately as live: then the fault may be its own. */
  #lonelyAtMs = -Infinity
  #effects: MembershipEffect[] = []
  #nowMs: number

  constructor(init: MembershipInit, options: MembershipOptions, random: Random) {
    const { self, info, incarnation, nowMs } = init
    this.#options = options
    this.#random = random
    this.#self = {
      peerId: self,
      incarnation,
      state: 'alive',
      info,
      accusers: [],
      sinceMs: nowMs,
      checkAtMs: Infinity,
    }
    this.#table.add(this.#self)
    this.#probes = new MemberProbes(options, random)
    this.#news = new MemberNews(options, nowMs)
    this.#health = new LocalHealth(options.healthFactorMax)
    this.#quarantine = new MemberQuarantine(options)
    this.#nowMs = nowMs
    this.#lastTickMs = nowMs
    // Peers started together must not probe and exchange in step.
    this.#probeAtMs = nowMs + options.probeIntervalMs * random.next()
    this.#syncAtMs = nowMs + options.syncIntervalMs * random.next()
    this.#deadSyncAtMs = nowMs + options.deadSyncIntervalMs * random.next()
    this.#joinAtMs = nowMs
    this.#strangerAtMs = nowMs
    this.#answerAtMs = nowMs
    this.#sweepAtMs = nowMs
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
        // To one not known alive there is much to say; with the others there seldom is.
        if (this.#table.isLive(event.peer)) this.#compare(event.peer)
        else this.#sync(event.peer)
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
        this.#table.raise(this.#self, this.#self.incarnation + 1)
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
    const others = this.#othersAlive()
    const own = entry.accusers.includes(this.#self.peerId)
    return enoughAccusers(own, entry.accusers.length - (own ? 1 : 0), others)
  }

  /** Whether it died and came back so often lately that it should get nothing new, as this peer has seen it. */
  isQuarantined(peer: PeerId): boolean {
    return this.#quarantine.has(peer)
  }

  /** By how much this peer stretches its own time-outs: 1 while it has no reason to doubt itself. */
  get healthFactor(): number {
    return this.#health.factor
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

  /** Higher than all that was said of this peer, so that it overrides it everywhere. */
  protected refutingIncarnation(update: MemberUpdate): number {
    return update.incarnation + 1
  }

  /** After a stall a failed probe or a silent suspect proves nothing: the answers may lie unread. */
  protected mayJudge(): boolean {
    return this.#nowMs >= this.#accuseNobodyUntilMs
  }

  /** How much of a late tick counts as a stall of this process. */
  protected standStillMs(lateMs: number): number {
    return lateMs
  }

  /** By which own time-outs are stretched. */
  protected timeFactor(): number {
    return this.#health.factor
  }

  /** Nobody is buried on hearsay, or on one old probe: the refutation may have gone lost on the way here. */
  protected mustCheck(): boolean {
    return true
  }

  /** Death learnt by exchange may be that of the other side of a healed partition: the member gets time to refute. */
  protected mustDoubtDeath(via: Via): boolean {
    return via !== 'rumour'
  }

  /** Whether one gone for so long is to be remembered no more. */
  protected mustForget(goneMs: number): boolean {
    return goneMs >= this.#options.forgetMs
  }

  /** One dead member in a large mesh is not called by everybody at once. */
  protected maySeekDead(dead: number, living: number): boolean {
    return this.#random.next() * living < dead * SEEKERS_PER_DEAD
  }

  /** A return counts against a member unless this peer had been cut off from most others since it took it for dead. */
  protected countsAsTurn(diedAtMs: number): boolean {
    return this.#lonelyAtMs < diedAtMs
  }

  protected endedQuarantines(nowMs: number): PeerId[] {
    return this.#quarantine.release(nowMs)
  }

  #onTick(): void {
    const now = this.#nowMs
    const options = this.#options
    const lateMs = now - this.#lastTickMs - options.tickMs
    this.#lastTickMs = now
    if (this.#self.state === 'left') return
    if (this.standStillMs(lateMs) > options.stallMs) this.#standStill(lateMs)
    const { needHelp, failed, nacks } = this.#probes.due(now)
    for (const probe of needHelp) this.#askHelpers(probe)
    for (const probe of failed) this.#probeFailed(probe)
    for (const { asker, askerSequence } of nacks) this.#send(asker, { type: 'nack', sequence: askerSequence })
    this.#judgeSuspects()
    if (now >= this.#sweepAtMs) this.#sweep()
    if (now >= this.#probeAtMs) {
      this.#probeAtMs = now + options.probeIntervalMs * this.timeFactor()
      const target = this.#probes.next(
        () => this.#table.live(this.#self.peerId),
        peer => this.#table.isLive(peer),
      )
      if (target !== undefined) this.#probe(target)
    }
    this.#exchange()
    this.#publish(this.#news.due(now))
  }

  /** Own lag is the main source of false accusations: time that this process did not live through does not count. */
  #standStill(lateMs: number): void {
    this.#health.worsen()
    const factor = this.timeFactor()
    this.#probes.restart(this.#nowMs, factor)
    this.#accuseNobodyUntilMs = this.#nowMs + this.#options.probeTimeoutMs * factor
    for (const entry of this.#table.entriesIn('suspect')) {
      entry.checkAtMs += lateMs
      entry.sinceMs = Math.min(this.#nowMs, entry.sinceMs + lateMs)
    }
  }

  #probe(target: PeerId): void {
    const entry = this.#table.get(target)
    if (entry === undefined || entry === this.#self || entry.state === 'left' || this.#self.state === 'left')
      return
    if (this.#probes.inFlight > this.#options.probesMax || this.#probes.isProbing(target)) return
    const { sequence } = this.#probes.start(target, entry.incarnation, this.#nowMs, this.timeFactor())
    this.#send(target, { type: 'ping', sequence, updates: this.#piggyback(target) })
  }

  #askHelpers(probe: Probe): void {
    const { sequence, target } = probe
    const unfit = (peer: PeerId): boolean => peer === target || peer === this.#self.peerId
    const alive = this.#table.inState('alive').filter(peer => !unfit(peer))
    // A suspect may not be there to help; better than nobody.
    const others = alive.length > 0 ? alive : this.#table.inState('suspect').filter(peer => !unfit(peer))
    probe.helpers = shuffled(this.#random, others).slice(0, this.#options.helpers)
    for (const helper of probe.helpers) this.#send(helper, { type: 'ping-req', sequence, target })
  }

  #probeFailed(probe: Probe): void {
    // Helpers that say nothing at all hint at a fault of this peer or of its links.
    this.#health.worsen((probe.helpers?.length ?? 0) - probe.nacked.size)
    const entry = this.#table.get(probe.target)
    if (entry === undefined || entry.incarnation !== probe.incarnation || entry.state === 'left') return
    if (!this.mayJudge() || entry.accusers.includes(this.#self.peerId)) return
    if (entry.state === 'alive') this.#enter(entry, 'suspect')
    const enoughSaid = entry.accusers.length > this.#options.confirmations
    if (entry.accusers.length >= this.#options.accusersMax) entry.accusers.pop()
    entry.accusers.push(this.#self.peerId)
    if (!enoughSaid) this.#tell(entry)
  }

  #judgeSuspects(): void {
    if (this.#table.entriesIn('suspect').size === 0 || !this.mayJudge()) return
    const members = this.#table.liveCount
    for (const entry of this.#table.entriesIn('suspect')) {
      const limitMs = suspicionTimeoutMs(members, Math.max(0, entry.accusers.length - 1), this.#options)
      if (this.#nowMs >= entry.checkAtMs) {
        entry.checkAtMs = this.#checkTime()
        if (this.mustCheck()) this.#probe(entry.peerId)
      }
      if (this.#nowMs - entry.sinceMs < limitMs) continue
      this.#enter(entry, 'dead')
      // Everybody comes to this by itself, all about now: those who accuse it are enough to publish it.
      if (entry.accusers.includes(this.#self.peerId)) this.#tell(entry)
      else this.#news.passOn(updateOf(entry))
    }
  }

  /** What need not be looked at in each tick: those gone for long, and quarantines that end. */
  #sweep(): void {
    this.#sweepAtMs = this.#nowMs + SWEEP_INTERVAL_MS
    for (const state of ['dead', 'left'] as const) {
      for (const entry of this.#table.entriesIn(state)) {
        if (this.mustForget(this.#nowMs - entry.sinceMs)) this.#forget(entry.peerId)
      }
    }
    for (const peer of this.endedQuarantines(this.#nowMs)) {
      const entry = this.#table.get(peer)
      if (entry !== undefined) this.#changed('released', entry)
    }
  }

  /** Anti-entropy: with somebody alive, more rarely with somebody dead, and with a join peer while alone. */
  #exchange(): void {
    const now = this.#nowMs
    const options = this.#options
    if (now >= this.#joinAtMs) {
      this.#joinAtMs = now + options.joinRetryMs
      const joinPeer = pick(this.#random, this.#joinPeers)
      if (joinPeer !== undefined && this.#othersAlive() === 0) this.#sync(joinPeer)
    }
    if (now >= this.#syncAtMs) {
      this.#syncAtMs = now + options.syncIntervalMs
      const peer = pick(this.#random, this.#table.live(this.#self.peerId))
      if (peer !== undefined) this.#compare(peer)
    }
    if (now >= this.#deadSyncAtMs) {
      this.#deadSyncAtMs = now + options.deadSyncIntervalMs
      const dead = this.#table.inState('dead')
      const peer = pick(this.#random, dead)
      if (peer !== undefined && this.maySeekDead(dead.length, this.#table.liveCount)) this.#seekDead(peer)
    }
  }

  /**
   * It may have come back. If not, it may have died while those who know that now were themselves cut off, and then it has
   * too few accusers for the leader to act on: nobody probes the dead in turn.
   */
  #seekDead(peer: PeerId): void {
    this.#compare(peer)
    const { accusers } = this.#table.get(peer)!
    if (accusers.length <= this.#options.confirmations && !accusers.includes(this.#self.peerId))
      this.#probe(peer)
  }

  #onMessage(from: PeerId, message: MembershipMessage): void {
    if (this.#self.state === 'left') return
    switch (message.type) {
      case 'ping':
        this.#hear(from, message.updates)
        this.#send(from, {
          type: 'ack',
          sequence: message.sequence,
          updates: this.#piggyback(from, this.#accusedBy(message.updates)),
        })
        break
      case 'ack': {
        this.#hear(from, message.updates)
        const { prompt, relay } = this.#probes.acked(message.sequence, from)
        if (prompt) this.#health.improve()
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
      case 'nack':
        this.#probes.nacked(message.sequence, from)
        break
      case 'compare':
        // A peer that returns is compared with by many at once: one answer at a time brings it up to date.
        if (this.#nowMs < this.#answerAtMs || message.hash === this.#table.hash()) break
        this.#answerAtMs = this.#nowMs + this.#options.strangerSyncIntervalMs
        this.#sync(from)
        break
      case 'sync':
        this.#send(from, { type: 'news', ...this.#table.difference(message, message.digest, this.#nowMs) })
        break
      case 'news':
        this.#onNews(from, message)
        break
    }
  }

  #onNews(from: PeerId, message: Extract<MembershipMessage, { type: 'news' }>): void {
    const known = this.#table.size
    const bulk = message.more || message.updates.length * 2 > known
    for (const update of message.updates) this.#merge(update, bulk ? 'bulk' : 'exchange')
    if (message.wanted.length > 0) {
      const { updates } = this.#table.records(message.wanted, this.#nowMs)
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
    if (entry === undefined) return this.#meet(update, via)
    this.#news.heard(update)
    const doubtful = update.state === 'dead' && entry.state !== 'dead' && this.mustDoubtDeath(via)
    const told = { incarnation: update.incarnation, state: doubtful ? 'suspect' : update.state } as const
    const isNews = this.isNews(told, entry)
    if (isNews) this.#believe(entry, told, update.info)
    else if (compareVersions(told, entry) < 0) return
    if (this.#addAccusers(entry, update.accusers) || isNews) this.#news.passOn(updateOf(entry))
  }

  #believe(entry: MemberEntry, told: Version, info?: MemberInfo): void {
    const reborn = told.incarnation > entry.incarnation
    if (reborn) {
      this.#table.raise(entry, told.incarnation)
      entry.accusers = []
    }
    if (info !== undefined) this.#learn(entry, info)
    if (told.state !== entry.state) this.#enter(entry, told.state)
    else if (reborn) {
      entry.sinceMs = this.#nowMs
      this.#changed('updated', entry)
    }
    if (told.state === 'suspect') this.#confirm(entry)
  }

  /** A few members check each suspicion at once, so that a dead peer soon has accusers and a live one refutes soon. */
  #confirm(suspect: MemberEntry): void {
    if (this.#random.next() * this.#othersAlive() < this.#options.confirmers) this.#probe(suspect.peerId)
  }

  /** The moment, before its time is over, at which this peer looks itself; not the same for all of a large mesh. */
  #checkTime(): number {
    const { confirmations } = this.#options
    const shortestMs = suspicionTimeoutMs(this.#table.liveCount, confirmations, this.#options)
    return this.#nowMs + shortestMs * (CHECK_FROM + this.#random.next() * (CHECK_TO - CHECK_FROM))
  }

  #meet(update: MemberUpdate, via: Via): void {
    const { peerId, incarnation, state, info, goneMs = 0 } = update
    const isGone = state === 'dead' || state === 'left'
    // Remembered by others a moment longer than here; taken in, it would wander for ever.
    if (info === undefined || (isGone && this.mustForget(goneMs)) || !this.#makeRoom()) return
    const sinceMs = isGone ? this.#nowMs - goneMs : this.#nowMs
    const entry: MemberEntry = {
      peerId,
      incarnation,
      state,
      info,
      accusers: [],
      sinceMs,
      checkAtMs: Infinity,
    }
    if (state === 'suspect') entry.checkAtMs = this.#checkTime()
    this.#table.add(entry)
    this.#addAccusers(entry, update.accusers)
    this.#effects.push({ type: 'learn-addresses', peer: peerId, addresses: info.addresses })
    if (!isGone) {
      this.#probes.enlist(peerId)
      this.#changed('joined', entry)
    }
    if (state !== 'alive') this.#changed(state, entry)
    // Others have known for long what is learnt by exchange; and a newcomer must not tell all of all.
    const record = recordOf(entry, this.#nowMs)
    if (via === 'rumour') this.#news.passOn(record)
    else if (via === 'exchange') this.#news.mention(record)
  }

  /** False when there is none: all that are known are alive. */
  #makeRoom(): boolean {
    if (this.#table.size < this.#options.membersMax) return true
    const longest = this.#table.longestGone()
    if (longest === undefined) return false
    this.#forget(longest.peerId)
    return true
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
    const { peerId, state: before, sinceMs } = entry
    const returns = state === 'alive' || state === 'suspect'
    this.#table.enter(entry, state, this.#nowMs)
    if (state === 'suspect') entry.checkAtMs = this.#checkTime()
    if (state === 'alive' || state === 'left') entry.accusers = []
    if (state === 'left') this.#probes.forget(peerId)
    if (state === 'dead') this.#noticeLoneliness()
    if (returns && (before === 'dead' || before === 'left')) this.#probes.enlist(peerId)
    this.#changed(state, entry)
    if (!returns || before !== 'dead' || !this.countsAsTurn(sinceMs)) return
    if (this.#quarantine.turned(peerId, this.#nowMs)) this.#changed('quarantined', entry)
  }

  #noticeLoneliness(): void {
    const { flapWindowMs } = this.#options
    let lately = 0
    for (const { sinceMs } of this.#table.entriesIn('dead')) {
      if (this.#nowMs - sinceMs < flapWindowMs) lately++
    }
    if (lately >= this.#table.liveCount) this.#lonelyAtMs = this.#nowMs
  }

  /** What is said of this peer is either of an earlier life or wrong: a higher incarnation overrides it everywhere. */
  #refute(update: MemberUpdate): void {
    if (this.#self.state === 'left' || !this.mustRefute(update)) return
    this.#table.raise(this.#self, this.refutingIncarnation(update))
    // It was slow to answer, or so it seemed to others.
    if (update.state === 'suspect' || update.state === 'dead') this.#health.worsen()
    this.#announceSelf()
  }

  #leave(): void {
    if (this.#self.state === 'left') return
    const others = shuffled(this.#random, this.#table.live(this.#self.peerId))
    this.#table.enter(this.#self, 'left', this.#nowMs)
    this.#announceSelf()
    this.#publish(this.#news.publishNow(this.#nowMs))
    const updates = [recordOf(this.#self, this.#nowMs)]
    for (const peer of others.slice(0, this.#options.confirmers)) {
      this.#send(peer, { type: 'news', updates, wanted: [], more: false })
    }
  }

  #forget(peer: PeerId): void {
    const entry = this.#table.get(peer)
    if (entry === undefined) return
    this.#table.delete(entry)
    this.#news.forget(peer)
    this.#quarantine.forget(peer)
    this.#probes.forget(peer)
    this.#changed('forgotten', entry)
  }

  #announceSelf(): void {
    this.#tell(this.#self)
  }

  /** What this peer found out itself. */
  #tell(entry: MemberEntry): void {
    this.#news.announce(updateOf(entry))
  }

  #publish(batches: readonly MemberUpdate[][]): void {
    for (const updates of batches) this.#effects.push({ type: 'publish', updates })
  }

  #piggyback(to: PeerId, accusedSelf = false): MemberUpdate[] {
    const about = this.#table.get(to)
    // Told first of all to the accused itself, which alone can refute it.
    const first = about !== undefined && about.state !== 'alive' ? [updateOf(about)] : []
    // It may have been refuted long ago, and the refutation been lost on the way to this one.
    if (accusedSelf) first.unshift(updateOf(this.#self))
    return this.#news.ride(to, first, this.#table.size)
  }

  #accusedBy(updates: readonly MemberUpdate[]): boolean {
    return updates.some(({ peerId, state }) => peerId === this.#self.peerId && state !== 'alive')
  }

  #othersAlive(): number {
    return this.#table.liveCount - (this.#table.isLive(this.#self.peerId) ? 1 : 0)
  }

  #compare(peer: PeerId): void {
    if (peer !== this.#self.peerId) this.#send(peer, { type: 'compare', hash: this.#table.hash() })
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
    invariant(
      this.#health.factor >= 1 && this.#health.factor <= options.healthFactorMax,
      'the local health is bounded',
    )
    invariant(this.#quarantine.size < this.#table.size, 'only members turn, and never this peer itself')
    invariant(this.#table.hash() >= 0, 'the hash of the table fits the wire')
    this.#news.assertInvariants(this.#table.size)
    this.#quarantine.assertInvariants()
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
