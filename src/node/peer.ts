import { availableParallelism, hostname } from 'node:os'
import {
  asBlockId,
  asFileId,
  fromWire,
  raceAbort,
  ShoalError,
  silentLogger,
  sleep,
  systemClock,
  systemRandom,
  toWire,
  withDeadline,
  type FileId,
  type Logger,
  type PeerId,
} from '../base/index.ts'
import {
  DiskBlockStore,
  FileService,
  parseBlockId,
  RepairDriver,
  type FileServicePorts,
  BLOCK_STORE_DEFAULTS,
} from '../dht/index.ts'
import { MembershipDriver, type LeaderView } from '../gossip/index.ts'
import { bootstrap, type Bootstrapped } from './bootstrap.ts'
import { ChaosOrders } from './chaos-orders.ts'
import { LEADER_CALL, MEMBERS_KEEPER, PEER } from './config.ts'
import { DrainWatch } from './drain-watch.ts'
import { handlePlacementOrders } from './placement-orders.ts'
import { DataDirectory } from './data-directory.ts'
import { answerWhy } from './election-view.ts'
import { copyTargets, type CopyTarget } from './executor/copy-targets.ts'
import { isFar } from './far-peers.ts'
import { Executor } from './executor/executor.ts'
import { EventLog } from './jobs/event-log.ts'
import { answerEvents } from './jobs/event-service.ts'
import { answerDetached } from './jobs/detached-service.ts'
import { JobService } from './jobs/job-service.ts'
import { KnownAddresses } from './known-addresses.ts'
import { LeaderRole, repairMember } from './leader-role.ts'
import { leaderChanged } from './log-messages.ts'
import type { MeshAccess } from './mesh-access.ts'
import { memoryBudget } from './memory-budget.ts'
import { DirectoryGuard } from './directory-guard.ts'
import { MeshLog } from './mesh-log.ts'
import { Mesh } from './mesh.ts'
import type { PeerTransport } from './net/index.ts'
import { outputHandler } from './output-commits.ts'
import { storePart } from './part-storage.ts'
import { SessionSweeper } from './session-sweeper.ts'
import type { PeerOptions } from './peer-options.ts'
import { PeerReporter } from './peer-reporter.ts'
import { statusOf } from './peer-status.ts'
import { Relay } from './relay.ts'
import { giveUpFailedStore } from './store-failure.ts'
import { VERSION } from './version.ts'

/** A running peer. Disposing of it stops it gracefully. */
export interface Peer extends AsyncDisposable {
  readonly id: PeerId
  readonly name: string
  readonly meshId: string
  /** Multiaddrs at which it can be joined or attached to. */
  addresses(): string[]
  /** Files and datasets, with this peer as requester. */
  readonly mesh: Mesh
  /** Resolves when the peer is a member, a leader is known, and the mesh has the voters its size asks for. */
  ready(options?: { signal?: AbortSignal; timeoutMs?: number; peers?: number }): Promise<void>
  /** Settles when the peer cannot go on: its disk failed, or the mesh refused it. */
  readonly failed: Promise<ShoalError>
  /** Resolves when it was drained (`shoal drain`): it has taken leave of the mesh and is to be stopped. */
  readonly drained: Promise<void>
  /** Takes leave of the mesh (its copies are made elsewhere), then stops. */
  leave(): Promise<void>
  stop(): Promise<void>
}

/**
 * Starts a peer in this process.
 * @throws DATA_DIR_LOCKED, DATA_DIR_INVALID, PORT_TAKEN, NOT_ADMITTED, MESH_MISMATCH, LOG_CORRUPT
 */
export async function createPeer(options: PeerOptions): Promise<Peer> {
  const log = options.log ?? silentLogger
  await using stack = new AsyncDisposableStack()
  const directory = stack.use(await DataDirectory.open(options.dataDirectory))
  const base = await bootstrap(directory, options, log)
  stack.use(base.transport)
  const meshLog = stack.use(
    await MeshLog.start({
      transport: base.transport,
      directory: directory.metaPath,
      meshId: base.meshId,
      genesis: base.genesis,
      ...(options.raft === undefined ? {} : { raft: options.raft }),
      ...(options.voters === undefined ? {} : { voters: options.voters }),
      ...(options.metadataSpace === undefined ? {} : { space: options.metadataSpace }),
      log: log.child({ part: 'log' }),
    }),
  )
  if (base.genesis) await directory.writeMesh({ meshId: base.meshId, name: base.name, generation: 1 })
  const { diskReserveBytes } = options
  const chaos = options.allowChaos === true ? stack.use(new ChaosOrders()) : undefined
  chaos?.start(base.transport, log)
  const store = stack.use(
    await DiskBlockStore.open({
      directory: directory.path,
      peer: base.name,
      ...(diskReserveBytes === undefined ? {} : { diskReserveBytes }),
      ...(chaos === undefined ? {} : { fs: chaos.fs }),
    }),
  )
  const known = stack.use(new KnownAddresses(directory.path, log))
  const events = stack.use(
    await EventLog.open({ directory: directory.eventsPath, log: log.child({ part: 'events' }) }),
  )
  const peer = new RunningPeer({ options, directory, base, meshLog, store, known, events, log })
  stack.defer(() => peer.close())
  await peer.start()
  peer.resources = stack.move()
  return peer
}

class RunningPeer implements Peer {
  readonly id: PeerId
  readonly name: string
  readonly meshId: string
  readonly mesh: Mesh
  readonly #options: PeerOptions
  readonly #base: Bootstrapped
  readonly #transport: PeerTransport
  readonly #meshLog: MeshLog
  readonly #membership: MembershipDriver
  readonly #files: FileService
  readonly #ports: FileServicePorts
  readonly #repair: RepairDriver
  readonly #executor: Executor
  readonly #jobs: JobService
  readonly #relay: Relay
  readonly #role: LeaderRole
  readonly #known: KnownAddresses
  readonly #log: Logger
  readonly #closing = new AbortController()
  readonly #failure = Promise.withResolvers<ShoalError>()
  #guard: DirectoryGuard | undefined
  readonly #drained = Promise.withResolvers<void>()
  readonly #drainWatch: DrainWatch
  readonly #sessions: SessionSweeper
  #reporter: PeerReporter | undefined
  readonly #leaderListeners = new Set<() => void>()
  readonly #startedMs = systemClock.nowMs()
  #admitted = false
  #leading: number | undefined
  #announcedTerm = 0
  /** What outlives `close`: log, transport, directory. */
  resources: AsyncDisposableStack | undefined

  constructor(parts: {
    options: PeerOptions
    directory: DataDirectory
    base: Bootstrapped
    meshLog: MeshLog
    store: DiskBlockStore
    known: KnownAddresses
    events: EventLog
    log: Logger
  }) {
    const { options, directory, base, meshLog, store, known, events, log } = parts
    const { transport } = base
    this.#options = options
    this.#base = base
    this.#transport = transport
    this.#meshLog = meshLog
    this.#known = known
    this.#log = log
    this.id = transport.self
    this.name = base.name
    this.meshId = base.meshId
    this.#membership = new MembershipDriver({
      transport,
      info: { name: base.name, addresses: transport.addresses(), labels: this.#labels(), meta: {} },
      ...(options.membership === undefined ? {} : { options: options.membership }),
      logger: log.child({ part: 'members' }),
    })
    const filePorts = (this.#ports = this.#filePorts(store))
    this.#files = new FileService(filePorts, {
      ...options.files,
      ...(options.copyBytesPerSecond === undefined ? {} : { copyBytesPerSecond: options.copyBytesPerSecond }),
    })
    giveUpFailedStore({ self: this.id, store, meshLog, log, signal: this.#closing.signal })
    this.#repair = new RepairDriver(
      {
        ...filePorts,
        askToCopy: (peer, request, copyOptions) => this.#files.askToCopy(peer, request, copyOptions),
      },
      options.repair,
    )
    this.#relay = new Relay({ transport, leader: meshLog.leader })
    this.#jobs = new JobService({ transport, notLeader: () => this.#leaderHint() })
    this.#executor = new Executor(
      {
        transport,
        leader: () => meshLog.log.leader()?.peerId,
        isFar: peer => isFar(meshLog.state.members.member(this.id), meshLog.state.members.member(peer)),
        readBlock: (blockId, range, holders, signal) => this.#readBlock(blockId, range, holders, signal),
        putPart: (part, source) => storePart(this.#files, part, source),
        copyTargets: key => copyTargets(this.id, this.#livingMembers(), key),
        deliver: this.#relay.deliver,
        peers: () => this.#livePeers(),
        log: log.child({ part: 'executor' }),
      },
      {
        name: base.name,
        workers: options.workers ?? availableParallelism(),
        ...(options.packages === undefined ? {} : { packages: options.packages }),
        dataDirectory: directory.path,
        outputDirectory: directory.outputPath,
        ...memoryBudget(options),
        cacheDiskBytes: options.cacheDiskBytes ?? PEER.cacheDiskBytes,
        broadcastBytes:
          options.memoryBytes === undefined
            ? PEER.broadcastBytes
            : Math.floor(options.memoryBytes / PEER.memoryForBroadcasts),
        diskReserveBytes: options.diskReserveBytes ?? BLOCK_STORE_DEFAULTS.diskReserveBytes,
      },
    )
    this.#role = new LeaderRole({
      transport,
      meshLog,
      membership: this.#membership,
      repair: this.#repair,
      jobs: this.#jobs,
      files: this.#files,
      deliver: this.#relay.deliver,
      events,
      isAlive: peer => this.#isAlive(peer),
      log,
    })
    answerEvents({ transport, events, leads: () => this.#jobs.leading?.term })
    this.#drainWatch = new DrainWatch({
      self: this.id,
      ...handlePlacementOrders({
        transport,
        meshLog,
        files: filePorts,
        graceMs: options.repair?.graceMs,
        bytesPerSecond: options.copyBytesPerSecond,
      }),
      readBarrier: barrier => meshLog.readBarrier(barrier),
      leads: () => meshLog.log.status().role === 'leader',
      handOver: () => meshLog.log.handOver({ timeoutMs: 1_000 }),
      onDrained: () => {
        this.#membership.leave()
        // So that the word gets round.
        setTimeout(() => this.#drained.resolve(), PEER.leaveLingerMs)
      },
      log: log.child({ part: 'drain' }),
    })
    this.mesh = new Mesh(this.#access(), log)
    this.#sessions = new SessionSweeper({
      files: this.mesh.fs,
      knows: session => this.#jobs.leading?.knowsSession(session),
      log,
    })
  }

  get drained(): Promise<void> {
    return this.#drained.promise
  }

  get failed(): Promise<ShoalError> {
    return this.#failure.promise
  }

  /** A log that cannot be written where nothing is any more is not what the operator wants to hear of. */
  async #onFatal(error: ShoalError): Promise<void> {
    const lost = await this.#guard?.look()
    this.#failure.resolve(lost ?? error)
  }

  async start(): Promise<void> {
    const { state, log } = this.#meshLog
    const known = await this.#known.read()
    this.#guard = await DirectoryGuard.start({ path: this.#options.dataDirectory })
    void this.#guard.lost.then(error => this.#failure.resolve(error))
    log.onFatal(error => void this.#onFatal(error))
    this.#meshLog.onApplied(command => {
      if (command.part === 'gossip') this.#onMembersChanged()
      if (command.part === 'dht') this.#repair.onApplied(command.command)
      if (command.part === 'dht' && command.command.type === 'commit-file')
        this.#onFile(command.command.fileId)
    })
    this.#meshLog.onRestored(() => this.#onMembersChanged())
    this.#transport.setWantedPeers(() =>
      state.members
        .members()
        .filter(member => member.state !== 'left')
        .map(member => member.peerId),
    )
    this.#transport.onConnection((peer, change) => {
      if (change === 'closed') this.#jobs.leading?.suspect(peer)
    })
    this.#membership.onChange(change => {
      if (change === 'quarantined' || change === 'released') this.#onMembersChanged()
    })
    this.#onMembersChanged()
    this.#relay.start()
    this.#jobs.start()
    await this.#executor.start()
    this.#files.start()
    outputHandler(this.#transport, this.#meshLog)
    answerDetached({ transport: this.#transport, meshLog: this.#meshLog })
    answerWhy({ transport: this.#transport, meshLog: this.#meshLog, name: this.name })
    const statusParts = {
      transport: this.#transport,
      meshLog: this.#meshLog,
      membership: this.#membership,
      files: this.#ports,
      blocks: () => this.#files.health.status(),
      version: VERSION,
      meshId: this.meshId,
      name: this.name,
      workers: this.#options.workers ?? availableParallelism(),
      startedMs: this.#startedMs,
      clock: systemClock,
    }
    statusOf(statusParts)
    this.#reporter = new PeerReporter({
      ...statusParts,
      runningTasks: () => this.#executor.runningTasks,
      spilledBytes: () => this.#executor.spilledBytes,
      shuffleTraffic: () => this.#executor.shuffleTraffic,
      kept: () => this.#executor.kept,
      memoryBytes: this.#options.memoryBytes,
    })
    this.#reporter.start()
    this.#meshLog.onLeader(view => this.#onLeader(view))
    const seeds = [...(this.#options.join ?? []), ...known]
    for (const member of state.members.members()) {
      if (member.peerId !== this.id) seeds.push(...member.addresses)
    }
    if (seeds.length > 0) this.#membership.join(seeds)
    this.mesh.start()
    this.#drainWatch.start()
    this.#sessions.start()
    this.#transport.handlersComplete()
    void this.#askToBeMember()
  }

  addresses(): string[] {
    return this.#transport.addresses()
  }

  async ready(options: { signal?: AbortSignal; timeoutMs?: number; peers?: number } = {}): Promise<void> {
    using deadline = withDeadline('the mesh to be ready', options.timeoutMs ?? 60_000, options.signal)
    const failed = this.failed.then(error => Promise.reject(error))
    failed.catch(() => {})
    while (!this.#isReady(options.peers ?? 1)) await raceAbort(Promise.race([sleep(25), failed]), deadline)
  }

  #isReady(peers: number): boolean {
    const { leader, voters, votersTarget, votersCommitted } = this.#meshLog.log.status()
    const { members } = this.#meshLog.state
    const up = members.members().filter(member => member.state === 'up').length
    const grown = votersCommitted && voters.length >= votersTarget
    return this.#admitted && leader !== undefined && up >= peers && grown
  }

  async leave(): Promise<void> {
    this.#membership.leave()
    await sleep(PEER.leaveLingerMs)
    await this.stop()
  }

  async stop(): Promise<void> {
    if (this.#closing.signal.aborted) return
    await this.#meshLog.log.handOver({ timeoutMs: 1_000 })
    await this.close()
    await this.resources?.disposeAsync()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort(new ShoalError('CANCELLED', { what: 'this peer, which is stopping' }))
    this.#guard?.[Symbol.dispose]()
    this.#drainWatch[Symbol.dispose]()
    this.#reporter?.[Symbol.dispose]()
    this.#sessions.stop()
    await this.mesh.closeJobs()
    this.#role.resign()
    await this.#executor.close()
    await this.#files[Symbol.asyncDispose]()
    await this.#membership[Symbol.asyncDispose]()
  }

  #labels(): { host: string; zone: string } {
    return { host: this.#options.host ?? hostname(), zone: this.#options.zone ?? '' }
  }

  #livingMembers(): CopyTarget[] {
    return this.#meshLog.state.members
      .members()
      .filter(({ peerId, state, draining }) => state === 'up' && !draining && this.#isAlive(peerId))
      .map(({ peerId, labels: { host } }) => ({ peerId, host }))
  }

  /** Until the log says so this peer is a guest: it feeds on nothing and holds nothing. */
  async #askToBeMember(): Promise<void> {
    const { signal } = this.#closing
    let pauseMs: number = MEMBERS_KEEPER.joinRetryMinMs
    for (;;) {
      try {
        const result = await this.#meshLog.proposeMember(
          {
            type: 'peer-join',
            peerId: this.id,
            name: this.name,
            addresses: this.#transport.addresses(),
            labels: this.#labels(),
            ...(this.#options.weight === undefined ? {} : { weight: this.#options.weight }),
            directoryId: this.#base.directoryId,
          },
          { signal },
        )
        if (result.ok) {
          this.#admitted = true
          return
        }
        this.#failure.resolve(fromWire(result.error))
        return
      } catch (error) {
        if (signal.aborted) return
        this.#log.debug({ error: toWire(error) }, 'not admitted yet')
        // Jittered: a mesh that comes up as a whole must not ask its leader all at once.
        await sleep(pauseMs * (0.5 + systemRandom.next()), { signal }).catch(() => {})
        pauseMs = Math.min(pauseMs * 2, MEMBERS_KEEPER.joinRetryMaxMs)
      }
    }
  }

  #onMembersChanged(): void {
    const members = this.#meshLog.state.members.members()
    const others = members.filter(({ peerId }) => peerId !== this.id)
    const isQuarantined = (peer: PeerId): boolean => this.#membership.isQuarantined(peer)
    for (const { peerId, addresses } of others) this.#transport.addAddresses(peerId, addresses)
    this.#known.save(others.flatMap(({ state, addresses }) => (state === 'left' ? [] : addresses)))
    this.#meshLog.log.setPeers(
      members
        .filter(member => member.state === 'up')
        .map(({ peerId, labels: { host, zone }, draining }) => ({
          peerId,
          host,
          zone,
          draining,
          quarantined: isQuarantined(peerId),
        })),
    )
    this.#repair.onMembers(
      members.map(member => ({ ...repairMember(member), quarantined: isQuarantined(member.peerId) })),
    )
  }

  #onLeader(view: LeaderView): void {
    const leads = view.ready ? view.term : undefined
    if (leads !== this.#leading) {
      this.#leading = leads
      if (leads === undefined) this.#role.resign()
      else this.#role.lead(leads)
    }
    if (view.leader !== undefined && view.term > this.#announcedTerm) {
      this.#announcedTerm = view.term
      this.#log.info({ leader: view.leader, term: view.term }, 'a leader serves')
      for (const listener of this.#leaderListeners) listener()
      for (const { peer, role } of this.#transport.connections()) {
        if (role === 'client') this.#transport.send(peer, leaderChanged, { term: view.term })
      }
    }
  }

  /** Of an entry that may have been refused, for all that one knows here. */
  #onFile(fileId: FileId): void {
    const keeper = this.#jobs.leading?.detached
    const path = keeper === undefined ? undefined : this.#meshLog.state.namespace.pathOf(fileId)
    if (path !== undefined) keeper?.onFile(path)
  }

  #leaderHint(): { leader?: PeerId; term: number } {
    const { leader, term } = this.#meshLog.log.status()
    return leader === undefined || leader === this.id ? { term } : { leader, term }
  }

  #livePeers(): PeerId[] {
    const members = this.#meshLog.state.members.members()
    return members.map(({ peerId }) => peerId).filter(peer => this.#isAlive(peer))
  }

  #isAlive(peer: PeerId): boolean {
    if (peer === this.id) return true
    const seen = this.#membership.member(peer)?.state
    return seen === 'alive' || seen === 'suspect'
  }

  async *#readBlock(
    blockId: string,
    range: { start: number; end: number },
    holders: string[],
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const { namespace } = this.#meshLog.state
    const id = asBlockId(blockId)
    const name = parseBlockId(id)
    const block = namespace.blockOf(id)
    const path = name === undefined ? undefined : namespace.pathOf(asFileId(name.fileId))
    if (block === undefined || path === undefined) {
      throw new ShoalError(
        'BLOCK_UNAVAILABLE',
        { path: blockId, block: name?.index ?? 0, tried: holders },
        `block ${blockId} belongs to no file any more: its file was removed or replaced while the job ran`,
      )
    }
    yield* this.#files.readBlock(path, block, { ...range, signal })
  }

  #filePorts(store: DiskBlockStore): FileServicePorts {
    const { state, log } = this.#meshLog
    return {
      transport: this.#transport,
      store,
      propose: (command, { isStoring = false, ...options } = {}) =>
        this.#meshLog.proposeDht(command, {
          ...options,
          ...(isStoring && { waitMs: LEADER_CALL.storingWaitMs }),
        }),
      readBarrier: options => this.#meshLog.readBarrier(options),
      namespace: () => state.namespace,
      slots: () => state.slots,
      peers: () =>
        state.members
          .members()
          .filter(member => member.state !== 'left')
          .map(member => ({
            ...repairMember(member),
            quarantined: this.#membership.isQuarantined(member.peerId),
          })),
      isAlive: peer => this.#isAlive(peer),
      nameOf: peer => state.members.member(peer)?.name ?? peer.slice(-6),
      appliedIndex: () => log.status().appliedIndex,
      asOf: () => log.asOf(),
      clock: systemClock,
      random: systemRandom,
      log: this.#log.child({ part: 'files' }),
    }
  }

  /** The mesh as this very process sees it: its own relay. */
  #access(): MeshAccess {
    const transport = this.#transport
    return {
      requester: () => ({ client: this.id, relay: this.id, epoch: 0 }),
      callLeader: (type, head, options = {}) => this.#meshLog.leader.call(type, head, options),
      callPeer: (peer, type, head, options) => transport.call(peer, type, head, options),
      callAttached: (type, head, options) => transport.call(this.id, type, head, options),
      handle: (type, handler) => transport.handle(type, handler),
      onLeaderChange: listener => {
        this.#leaderListeners.add(listener)
      },
      // One does not lose oneself.
      onReattached: () => {},
    }
  }
}
