import { randomUUID } from 'node:crypto'
import {
  raceAbort,
  ShoalError,
  shortPeer,
  silentLogger,
  systemClock,
  systemRandom,
  withDeadline,
} from '../base/index.ts'
import type { AbortOptions, Clock, Logger, MeshId, PeerId, Random, Transport } from '../base/index.ts'
import { raftDefaults, replicatedLogDefaults, votersDefaults } from './config.ts'
import type { RaftOptions, ReplicatedLogOptions, VotersOptions } from './config.ts'
import type { SpaceState } from './disk-space.ts'
import { heirOf } from './heir.ts'
import { LeaderHistory } from './leader-history.ts'
import type { LeaderChange } from './leader-history.ts'
import { inSlices } from './in-slices.ts'
import { LogApplier } from './log-applier.ts'
import type { StateMachine } from './log-applier.ts'
import type { LogDamage } from './log-damage.ts'
import { LogProposals, notLeader } from './log-proposals.ts'
import { LogReads } from './log-reads.ts'
import type { LogStore } from './log-store.ts'
import type { DirectRaftMessage } from './messages.ts'
import type { ElectionReport } from './raft-election.ts'
import type { FedPeer } from './raft-leader.ts'
import { RaftMessenger } from './raft-messenger.ts'
import { genesisRaftState } from './raft-types.ts'
import type { Fitness, PersistEffect, RaftEffect, RaftEvent, RaftRole, Snapshot } from './raft-types.ts'
import { RaftMachine } from './raft.machine.ts'
import { SnapshotTaker } from './snapshot-taker.ts'
import { SnapshotTransfer } from './snapshot-transfer.ts'
import { stayingPeers, VotersMachine, votersTarget } from './voters.machine.ts'
import type { LivePeer } from './voters.machine.ts'

export interface LeaderView {
  /** Undefined while nobody is known to lead. */
  leader?: PeerId | undefined
  term: number
  role: RaftRole
  /** This peer leads and knows everything committed before: only now may it plan, place and propose on its own. */
  ready: boolean
}

export interface LogStatus extends LeaderView {
  voters: PeerId[]
  /** False while that voter set is not committed yet. */
  votersCommitted: boolean
  /** Voters wanted for the live peers; fewer means that the mesh is still growing its quorum. */
  votersTarget: number
  commitIndex: number
  appliedIndex: number
  lastIndex: number
  snapshotIndex: number
  /** As the leader sees them; empty elsewhere. */
  fed: FedPeer[]
  /** Room on the disk of the log. */
  space: SpaceState
  /** This peer's log was lost: until the log itself settles that, it neither votes nor counts. */
  forgot: boolean
  /** Logs of this peer that were found damaged and set aside, oldest first. */
  damages: readonly LogDamage[]
}

/** Why who leads leads, as one peer can tell it. */
export interface ElectionStory extends ElectionReport {
  /** Of this peer's monotonic clock, that the times of the report are of. */
  nowMs: number
  changes: LeaderChange[]
}

export interface ReplicatedLogInit {
  transport: Transport
  store: LogStore
  stateMachine: StateMachine
  meshId: MeshId
  /** Found the mesh with this peer as its sole voter, if the store is blank. A joiner must not. @default false */
  genesis?: boolean
  raft?: Partial<RaftOptions>
  voters?: Partial<VotersOptions>
  limits?: Partial<ReplicatedLogOptions>
  clock?: Clock
  /** Milliseconds since the epoch; anchors log time once a term. @default Date.now */
  wallMs?: () => number
  random?: Random
  logger?: Logger
}

export interface WaitOptions extends AbortOptions {
  timeoutMs?: number
}

/** Between two tries to hand over of a leader that should not lead. */
const HAND_OVER_PAUSE_MS = 2_000

const FITNESS: Record<SpaceState, Fitness> = {
  ok: 'fit',
  low: 'reluctant',
  reserve: 'reluctant',
  full: 'unfit',
}

/**
 * Runs `RaftMachine` over a transport and a store: the replicated log as the rest of a peer sees it. Effects are
 * performed in order; all `persist`s that wait share one flush, and the next flush starts when the last one ends.
 * A failed write or a broken invariant is final: nothing more is said, and `onFatal` is told.
 */
export class ReplicatedLog implements AsyncDisposable {
  readonly #transport: Transport
  readonly #store: LogStore
  readonly #machine: RaftMachine
  readonly #autopilot: VotersMachine
  readonly #limits: ReplicatedLogOptions
  readonly #raft: RaftOptions
  readonly #clock: Clock
  readonly #wallMs: () => number
  readonly #logger: Logger
  readonly #timer: NodeJS.Timeout
  readonly #stopped = new AbortController()
  readonly #proposals: LogProposals
  readonly #reads: LogReads
  readonly #snapshots: SnapshotTransfer
  readonly #applier: LogApplier
  readonly #messenger: RaftMessenger
  readonly #taker: SnapshotTaker

  readonly #history = new LeaderHistory()
  readonly #damages: readonly LogDamage[]
  #space: SpaceState = 'ok'
  #handOverAtMs = -Infinity
  #live: LivePeer[] = []
  #leaderListeners = new Set<(view: LeaderView) => void>()
  #fatalListeners = new Set<(error: ShoalError) => void>()
  #fatal: ShoalError | undefined

  #effects: RaftEffect[] = []
  #performing: Promise<void> | undefined
  #writing = false

  /** Loads the log, restores the newest snapshot, and starts taking part. Rejects with LOG_CORRUPT. */
  static async start(init: ReplicatedLogInit): Promise<ReplicatedLog> {
    const { store, stateMachine, transport } = init
    const stored = await store.load()
    let { state } = stored
    if (stored.snapshot !== undefined)
      await inSlices(stateMachine.restore(stored.snapshot.data), init.clock ?? systemClock)
    const blank = state.entries.length === 0 && state.snapshot === undefined && state.hardState.term <= 1
    if (init.genesis === true && blank && state.life === undefined) {
      state = genesisRaftState([transport.self], (init.wallMs ?? Date.now)())
      const { hardState, entries } = state
      await store.write([{ type: 'persist', seq: 0, hardState, entries }])
    }
    const machine = new RaftMachine({
      self: transport.self,
      state,
      random: init.random ?? systemRandom,
      options: { ...raftDefaults, ...init.raft },
      nowMs: (init.clock ?? systemClock).nowMs(),
    })
    const log = new ReplicatedLog(init, machine, stored.damages ?? [])
    log.#taker.sizeBytes = stored.snapshot?.data.byteLength ?? 0
    return log
  }

  private constructor(init: ReplicatedLogInit, machine: RaftMachine, damages: readonly LogDamage[]) {
    this.#damages = damages
    this.#raft = { ...raftDefaults, ...init.raft }
    this.#transport = init.transport
    this.#store = init.store
    this.#machine = machine
    this.#autopilot = new VotersMachine({ ...votersDefaults, ...init.voters })
    this.#limits = { ...replicatedLogDefaults, ...init.limits }
    this.#clock = init.clock ?? systemClock
    this.#wallMs = init.wallMs ?? Date.now
    this.#logger = init.logger ?? silentLogger
    this.#proposals = new LogProposals(this.#limits, proposals => {
      this.#step({ type: 'proposed', proposals, wallMs: this.#wallMs() })
    })
    this.#reads = new LogReads(this.#limits, {
      ask: id => this.#step({ type: 'read-requested', id }),
      noQuorum: () => this.#noQuorum(),
      // Never the same twice, not even after a restart: an answer to an earlier life would be a stale read.
      prefix: randomUUID(),
    })
    this.#snapshots = new SnapshotTransfer({
      transport: init.transport,
      store: init.store,
      meshId: init.meshId,
      limits: this.#limits,
      timeoutMs: this.#raft.snapshotTimeoutMs,
      signal: this.#stopped.signal,
      term: () => this.#machine.term,
      received: (from, term, snapshot) => {
        this.#step({ type: 'received', from, message: { type: 'snapshot', term, snapshot } })
      },
    })
    this.#applier = new LogApplier({
      stateMachine: init.stateMachine,
      appliedIndex: machine.appliedIndex,
      clock: this.#clock,
      signal: this.#stopped.signal,
    })
    this.#taker = new SnapshotTaker({
      stateMachine: init.stateMachine,
      applier: this.#applier,
      store: init.store,
      logger: this.#logger,
      signal: this.#stopped.signal,
      inlineBytes: this.#limits.snapshotInlineBytes,
      timeoutMs: this.#limits.snapshotMakeTimeoutMs,
      since: index => {
        const base = machine.snapshotMeta
        const from = base?.index ?? 0
        return { base, entries: machine.log.slice(from + 1, index - from, Infinity) }
      },
      metaAt: index => machine.snapshotMetaAt(index),
      taken: (index, data) => this.#step({ type: 'snapshot-taken', index, data }),
    })
    this.#messenger = new RaftMessenger({
      transport: init.transport,
      meshId: init.meshId,
      logger: this.#logger,
      received: (from, message) => this.#receive(from, message),
      connectionClosed: peer => this.#step({ type: 'connection-closed', peer }),
    })
    this.#timer = setInterval(() => this.#onTick(), this.#raft.tickMs)
    if (machine.forgot) {
      const { reason, folder } = damages.at(-1) ?? { reason: 'its log was lost', folder: '' }
      this.#logger.error(
        { reason, folder },
        'the log is damaged and was set aside: fetching it anew, without a vote',
      )
    }
    init.store.onSpace?.(space => this.#onSpace(space))
  }

  // ---- What a peer does with it

  /**
   * Appends a command and waits until it is committed and applied here. Only the leader can; elsewhere it rejects
   * with NOT_LEADER, whose details say whom to ask. UNKNOWN_OUTCOME means it may yet be committed or not: commands
   * must be safe to repeat. Others: BUSY, TOO_LARGE.
   */
  async propose(command: Uint8Array, options: WaitOptions = {}): Promise<{ index: number; result: unknown }> {
    options.signal?.throwIfAborted()
    this.#throwIfStopped()
    const { leader, term, role, self } = this.#machine
    if (role !== 'leader') throw notLeader(leader, term)
    if (this.#space === 'full') throw diskFull(self)
    const settled = this.#proposals.add(command, options)
    if (!this.#writing) this.#proposals.flushSoon()
    return await settled
  }

  /**
   * The log index that a linearizable read must have applied, at any peer. Rejects with NO_QUORUM when no leader
   * with a majority is found in time.
   */
  async readIndex(options: WaitOptions = {}): Promise<number> {
    options.signal?.throwIfAborted()
    this.#throwIfStopped()
    return await this.#reads.read(options)
  }

  /** Waits until this peer has applied the entry of that index. */
  async waitApplied(index: number, options: WaitOptions = {}): Promise<void> {
    this.#throwIfStopped()
    await this.#applier.wait(index, options.timeoutMs ?? this.#limits.proposeTimeoutMs, options)
  }

  /** How old what is applied here may be: see `RaftMachine.heardLeaderMs`. */
  asOf(): { index: number; ageMs?: number } {
    const heardMs = this.#machine.heardLeaderMs
    const index = this.#applier.index
    return heardMs === undefined ? { index } : { index, ageMs: Math.max(0, this.#clock.nowMs() - heardMs) }
  }

  leader(): { peerId: PeerId; term: number } | undefined {
    const { leader, term } = this.#machine
    return leader === undefined ? undefined : { peerId: leader, term }
  }

  role(): RaftRole {
    return this.#machine.role
  }

  status(): LogStatus {
    const machine = this.#machine
    return {
      ...this.#leaderView(),
      voters: [...machine.voters],
      votersCommitted: !machine.configPending,
      votersTarget: votersTarget(stayingPeers(this.#live)),
      commitIndex: machine.commitIndex,
      appliedIndex: this.#applier.index,
      lastIndex: machine.log.lastIndex,
      snapshotIndex: machine.snapshotMeta?.index ?? 0,
      fed: machine.progress(),
      space: this.#space,
      forgot: machine.forgot,
      damages: this.#damages,
    }
  }

  /** What this peer remembers of elections. */
  story(): ElectionStory {
    return {
      ...this.#machine.election(),
      nowMs: this.#clock.nowMs(),
      changes: this.#history.changes(),
    }
  }

  /** The live peers of the mesh with this one: those that may vote or learn. */
  setPeers(live: readonly LivePeer[]): void {
    this.#live = [...live]
    this.#step({ type: 'peers-changed', peers: live.map(peer => peer.peerId) })
  }

  /** Called at once and after each change of leader, term, own role or readiness. Returns what ends it. */
  onLeader(listener: (view: LeaderView) => void): () => void {
    this.#leaderListeners.add(listener)
    listener(this.#leaderView())
    return () => this.#leaderListeners.delete(listener)
  }

  /** The log cannot go on: the process must end, for it no longer knows what is on its disk. */
  onFatal(listener: (error: ShoalError) => void): void {
    this.#fatalListeners.add(listener)
    if (this.#fatal !== undefined) listener(this.#fatal)
  }

  /** Asks the best of the other voters to lead, before a planned end. False when none took over in time. */
  async handOver(options: WaitOptions = {}): Promise<boolean> {
    if (this.#machine.role !== 'leader') return true
    const { lastIndex } = this.#machine.log
    const fed = this.#machine.progress()
    // When it must be, also to one that would rather not.
    const heir =
      heirOf(fed, this.#live, lastIndex) ??
      fed.find(peer => peer.voter && peer.match === lastIndex && !peer.forgot)?.peer
    if (heir === undefined) return false
    const over = Promise.withResolvers<void>()
    using deadline = withDeadline('handing leadership over', options.timeoutMs ?? 1_000, options.signal)
    const stop = this.onLeader(({ role }) => {
      if (role !== 'leader') over.resolve()
    })
    try {
      this.#step({ type: 'transfer-requested', to: heir })
      await raceAbort(over.promise, deadline)
      return true
    } catch {
      return false
    } finally {
      stop()
    }
  }

  /** Stops taking part; what is being written is finished. Pending proposals end as UNKNOWN_OUTCOME. */
  async close(): Promise<void> {
    if (this.#stopped.signal.aborted) return
    this.#stop(new ShoalError('CANCELLED', { what: 'the replicated log' }, 'this peer is stopping'))
    this.#store.stopWaiting?.()
    await this.#performing
    await this.#store.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // ---- Events in

  #receive(from: PeerId, message: DirectRaftMessage): void {
    // The disk stands still: what is dropped here is sent again.
    if (this.#effects.length >= this.#limits.effectsMax) return
    if (message.type === 'append') {
      // The bytes are views of a network buffer, which must not live as long as the log.
      for (const entry of message.entries) if (entry.kind === 'command') entry.data = entry.data.slice()
    }
    this.#step({ type: 'received', from, message })
  }

  #onTick(): void {
    this.#step({ type: 'ticked' })
    if (this.#stopped.signal.aborted) return
    const machine = this.#machine
    const { awakeMs } = machine
    if (!machine.ready) {
      this.#autopilot.step({ type: 'leadership-lost' }, awakeMs)
      return
    }
    this.#handOverIfUnfit(this.#clock.nowMs())
    const view = {
      self: machine.self,
      mayChange: !machine.configPending,
      voters: machine.voters,
      lastIndex: machine.log.lastIndex,
      fed: machine.progress(),
      live: this.#live,
    }
    for (const { voters, reason } of this.#autopilot.step({ type: 'ticked', view }, awakeMs)) {
      this.#logger.info({ voters, was: view.voters }, `voters change: ${reason}`)
      this.#step({ type: 'voters-proposed', voters })
    }
  }

  /** A leader that is to go, or whose disk is nearly full, asks another voter to lead. */
  #handOverIfUnfit(nowMs: number): void {
    const machine = this.#machine
    const draining = this.#live.some(({ peerId, draining }) => peerId === machine.self && draining === true)
    if ((this.#space === 'ok' && !draining) || nowMs < this.#handOverAtMs) return
    const heir = heirOf(machine.progress(), this.#live, machine.log.lastIndex)
    if (heir === undefined) return
    this.#handOverAtMs = nowMs + HAND_OVER_PAUSE_MS
    this.#logger.warn({ heir, space: this.#space, draining }, 'handing leadership over')
    this.#step({ type: 'transfer-requested', to: heir })
  }

  #onSpace(space: SpaceState): void {
    if (space === 'ok') this.#logger.info({}, 'the disk of the log has room again')
    else this.#logger.warn({ space }, SPACE_TEXTS[space])
    this.#space = space
    this.#step({ type: 'fitness-changed', fitness: FITNESS[space] })
  }

  #step(event: RaftEvent): void {
    if (this.#stopped.signal.aborted) return
    try {
      for (const effect of this.#machine.step(event, this.#clock.nowMs())) {
        if (this.#writing && effect.type === 'send' && effect.urgent === true) this.#perform(effect)
        else this.#effects.push(effect)
      }
    } catch (error) {
      this.#fail(internal('the election and log machine', error))
      return
    }
    if (this.#effects.length > 0) this.#performing ??= this.#performAll()
  }

  // ---- Effects out

  /** Never rejects: what goes wrong here is fatal. */
  async #performAll(): Promise<void> {
    // Whoever stepped has finished first; a step inside the loop finds `#performing` set.
    await Promise.resolve()
    try {
      while (this.#effects.length > 0) {
        const effects = this.#effects
        this.#effects = []
        const firstPersist = effects.findIndex(effect => effect.type === 'persist')
        await this.#performEach(firstPersist === -1 ? effects : effects.slice(0, firstPersist))
        if (firstPersist === -1) continue
        // Persisting earlier than asked is always right, so all that wait share one flush.
        const rest = effects.slice(firstPersist)
        await this.#write(rest.filter(effect => effect.type === 'persist'))
        await this.#performEach(rest)
      }
    } catch (error) {
      this.#fail(error instanceof ShoalError ? error : internal('the replicated log', error))
    } finally {
      this.#performing = undefined
    }
  }

  async #write(batch: PersistEffect[]): Promise<void> {
    this.#writing = true
    try {
      await this.#store.write(batch)
    } catch (error) {
      if (this.#stopped.signal.aborted) return
      throw diskFailed(this.#transport.self, error)
    } finally {
      this.#writing = false
    }
    this.#step({ type: 'persisted', seq: batch.at(-1)!.seq })
    this.#proposals.flush()
  }

  async #performEach(effects: readonly RaftEffect[]): Promise<void> {
    for (const effect of effects) {
      if (this.#stopped.signal.aborted) {
        this.#effects = []
        return
      }
      if (effect.type === 'apply') await this.#applier.apply(effect.entries, this.#proposals.awaited)
      else if (effect.type === 'restore') await this.#restore(effect.snapshot)
      else this.#perform(effect)
    }
  }

  async #restore(snapshot: Snapshot): Promise<void> {
    await this.#applier.restore(snapshot)
    this.#taker.sizeBytes = snapshot.data.byteLength
  }

  #perform(effect: Exclude<RaftEffect, { type: 'apply' | 'restore' }>): void {
    switch (effect.type) {
      case 'persist':
        break // Done already, for all of them at once.
      case 'send':
        this.#messenger.send(effect.to, effect.message)
        break
      case 'publish':
        this.#messenger.publish(effect.topic, effect.message)
        break
      case 'send-snapshot':
        void this.#sendSnapshot(effect.to, effect.term)
        break
      case 'take-snapshot':
        this.#taker.take(effect.index)
        break
      case 'proposal-committed':
        this.#proposals.committed(effect.id, {
          index: effect.index,
          result: this.#applier.resultOf(effect.index),
        })
        break
      case 'proposal-refused':
        this.#proposals.refused(effect.id, effect.code, effect.leader, effect.term, this.#raft.entryBytesMax)
        break
      case 'read-ready':
        this.#reads.answered(effect.id, effect.index)
        break
      case 'read-refused':
        this.#reads.answered(effect.id, undefined)
        break
      case 'voters-committed':
        this.#logger.info({ voters: effect.voters, index: effect.index }, 'voters changed')
        break
      case 'voters-refused':
        this.#logger.debug({ voters: effect.voters }, `voters stay: ${effect.reason}`)
        break
      case 'role-changed':
        this.#history.note({ atMs: this.#wallMs(), ...roleOf(effect), reason: effect.reason })
        this.#tellLeader(effect)
        break
    }
  }

  #tellLeader(view: LeaderView): void {
    const { role, term, leader, ready } = view
    const name = leader === undefined ? 'nobody' : shortPeer(leader)
    this.#logger.info({ role, term, leader, ready }, `term ${term}: ${name} leads, this peer is ${role}`)
    for (const listener of this.#leaderListeners) listener({ role, term, leader, ready })
  }

  #leaderView(): LeaderView {
    const { leader, term, role, ready } = this.#machine
    return { leader, term, role, ready }
  }

  #noQuorum(): ShoalError<'NO_QUORUM'> {
    const { leader, term, voters } = this.#machine
    const details = { term, voters: [...voters] }
    return new ShoalError(
      'NO_QUORUM',
      leader === undefined ? details : { ...details, lastLeader: leader },
      `no leader with a majority of the ${voters.length} voters answered: try again when more peers are back`,
    )
  }

  async #sendSnapshot(to: PeerId, term: number): Promise<void> {
    const ok = await this.#snapshots.send(to, term).catch((error: unknown) => {
      this.#logger.debug({ to, error: String(error) }, 'a snapshot did not arrive')
      return false
    })
    this.#step({ type: 'snapshot-sent', to, ok })
  }

  // ---- The end

  #fail(error: ShoalError): void {
    if (this.#stopped.signal.aborted) return
    this.#fatal = error
    this.#logger.error({ error: error.message, code: error.code }, 'the replicated log stops')
    this.#stop(error)
    for (const listener of this.#fatalListeners) listener(error)
  }

  #stop(reason: ShoalError): void {
    this.#stopped.abort(reason)
    clearInterval(this.#timer)
    this.#effects = []
    this.#proposals.failAll(reason)
    this.#reads.failAll(reason)
    this.#applier.failAll(reason)
  }

  #throwIfStopped(): void {
    this.#stopped.signal.throwIfAborted()
  }
}

const SPACE_TEXTS: Record<Exclude<SpaceState, 'ok'>, string> = {
  low: 'the disk of the log is nearly full: a voter with more room should lead',
  reserve: 'the disk of the log is full: its reserve was given up for metadata; make room',
  full: 'the disk of the log is full, and nothing can be written: this peer is read-only until there is room',
}

function roleOf({ role, term, leader }: LeaderView): Pick<LeaderView, 'role' | 'term' | 'leader'> {
  return { role, term, leader }
}

function diskFull(peer: PeerId): ShoalError<'DISK_FULL'> {
  return new ShoalError(
    'DISK_FULL',
    { peer, freeBytes: 0 },
    `the disk of ${peer}, which leads, is full, and no other voter can take over: make room on it; it goes on by itself`,
  )
}

function internal(what: string, error: unknown): ShoalError<'INTERNAL'> {
  const reason = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return new ShoalError('INTERNAL', { reason }, `${what} failed: ${String(error)}`, { cause: error })
}

function diskFailed(peer: PeerId, error: unknown): ShoalError {
  const operation = 'write the replicated log'
  const reason = error instanceof Error ? error.message : String(error)
  return new ShoalError(
    'DISK_FAILED',
    { peer, operation, reason },
    `${peer} could not ${operation}: ${reason}. It stops, because what is on its disk is no longer known; repair the disk and start it again.`,
    { cause: error },
  )
}
