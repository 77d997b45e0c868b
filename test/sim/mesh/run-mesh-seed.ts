import { asPeerId, below, pick, seededRandom } from '../../../src/base/index.ts'
import type { PeerId, Random } from '../../../src/base/index.ts'
import { raftDefaults } from '../../../src/gossip/config.ts'
import type { RaftOptions } from '../../../src/gossip/config.ts'
import { emptyRaftState, genesisRaftState } from '../../../src/gossip/raft-types.ts'
import { votersTarget } from '../../../src/gossip/voters.machine.ts'
import { check } from '../check.ts'
import { FakeDisk } from '../fake-disk.ts'
import { MemberChecker } from '../member-checker.ts'
import { unleash } from '../nemesis.ts'
import { RaftChecker } from '../raft-checker.ts'
import { Trace } from '../trace.ts'
import { World } from '../world.ts'
import type { Operation } from '../../../src/chaos/index.ts'
import { MeshChecker } from './mesh-checker.ts'
import { MeshClients } from './mesh-clients.ts'
import { MeshPeer } from './mesh-peer.ts'
import type { MeshMutant } from './mesh-peer.ts'
import { SimBlockStore } from './sim-block-store.ts'
import { MESH_PROFILES, mendStorage, unleashOnStorage } from './storage-nemesis.ts'
import type { MeshNemesis } from './storage-nemesis.ts'

export interface MeshSeedOptions {
  /** @default drawn from the seed */
  profile?: MeshNemesis
  mutant?: MeshMutant
  /** Last lines of the trace to keep, for people. @default 0 */
  keepTrace?: number
}

export interface MeshSeedResult {
  seed: number
  profile: string
  peers: number
  traceHash: string
  events: number
  simulatedMs: number
  /** Operations of clients that were answered with yes. */
  done: number
  /** Blocks visible at the end. */
  blocks: number
  deletions: number
  history: readonly Operation[]
  failure: Error | undefined
  trace: readonly string[]
}

const PEERS_MAX = 6
const PEERS_EVER_MAX = 9
const HEAL_LIMIT_MS = 120_000
const LEADER_LIMIT_MS = 10_000
const CHECK_MS = 500
/** At the end, so that the promises are looked at once more when everything has settled. */
const QUIET_MS = 1_000
const REPLICATION = 3

/** One run of whole peers: trouble while clients write and read files (safety), then peace until all is well (liveness). */
export function runMeshSeed(seed: number, options: MeshSeedOptions = {}): MeshSeedResult {
  const trace = new Trace(options.keepTrace ?? 0)
  const run = new MeshSeedRun(seed, trace, options)
  let failure: Error | undefined
  try {
    run.run()
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error))
  }
  return {
    seed,
    profile: run.profile.name,
    peers: run.world.peers().length,
    traceHash: trace.hash,
    events: trace.count,
    simulatedMs: run.world.time.nowMs,
    done: run.clients.done,
    blocks: run.checker.truth.namespace.usage().blocks,
    deletions: run.checker.deletions,
    history: run.clients.history,
    failure,
    trace: trace.lines,
  }
}

class MeshSeedRun {
  readonly world: World
  readonly profile: MeshNemesis
  readonly checker = new MeshChecker()
  readonly clients: MeshClients
  readonly #members = new MemberChecker()
  readonly #log = new RaftChecker()
  readonly #programs = new Map<PeerId, MeshPeer>()
  readonly #stores = new Map<PeerId, SimBlockStore>()
  readonly #disks = new Map<PeerId, FakeDisk>()
  readonly #hosts = new Map<PeerId, string>()
  readonly #random: Random
  readonly #mutant: MeshMutant
  readonly #raftOptions: RaftOptions
  readonly #troubleMs: number
  readonly #flushMs: number
  readonly #peersPerHost: number
  #peersEver = 0
  #lost = false
  #commands = 0
  #thinkMs: number

  constructor(seed: number, trace: Trace, options: MeshSeedOptions) {
    // The plan has its own source, so that a change of the machines does not change what is planned.
    this.#random = seededRandom(seed ^ 0x570fa9e)
    this.world = new World(seed, trace)
    this.profile = options.profile ?? MESH_PROFILES[below(this.#random, MESH_PROFILES.length)]!
    this.#mutant = options.mutant ?? {}
    this.#troubleMs = 15_000 + below(this.#random, 25_000)
    this.#flushMs = pick(this.#random, [1, 10, 50])!
    this.#peersPerHost = pick(this.#random, [1, 1, 2])!
    this.#raftOptions = this.#drawRaftOptions()
    this.#thinkMs = pick(this.#random, [100, 300, 1_000])!
    const count = 1 + below(this.#random, PEERS_MAX)
    for (let index = 0; index < count; index++) this.#add()
    this.clients = new MeshClients({
      world: this.world,
      checker: this.checker,
      count: 2 + below(this.#random, 3),
      thinkMs: () => this.#thinkMs,
      peerOf: peer => this.#programs.get(peer)!,
    })
  }

  run(): void {
    const { world, profile, checker } = this
    this.#look()
    // Trouble begins when there is a mesh to trouble.
    world.time.runUntil(3_000)
    const leader = (): PeerId | undefined => pick(world.random, this.#leaders())
    unleash(world, profile.links, this.#troubleMs, leader)
    const victims = {
      world,
      checker,
      stores: this.#stores,
      disks: this.#disks,
      mayLosePeer: (peer: PeerId) => this.#mayLosePeer(peer),
      losePeer: (peer: PeerId) => this.#losePeer(peer),
      join: () => this.#add(),
    }
    unleashOnStorage(victims, profile, this.#troubleMs)
    this.clients.start()
    world.time.runUntil(this.#troubleMs)
    mendStorage(victims)
    world.heal()
    this.#thinkMs = 1_000
    check(
      world.time.runUntilTrue(() => this.#leaders().length === 1, LEADER_LIMIT_MS, 250),
      `no single leader ${LEADER_LIMIT_MS} ms after healing: ${this.#state()}`,
    )
    let why: string | undefined
    check(
      world.time.runUntilTrue(() => (why = this.#unhealed()) === undefined, HEAL_LIMIT_MS, 500),
      `not healed in ${HEAL_LIMIT_MS} ms: ${why}\n  ${this.#state()}`,
    )
    this.clients.stop()
    const { ackedIndex } = this.#log
    const level = (): boolean =>
      world.running().every(peer => this.#log.machine(peer).appliedIndex >= ackedIndex)
    check(world.time.runUntilTrue(level, LEADER_LIMIT_MS, 250), `somebody lags behind: ${this.#state()}`)
    this.#log.nothingLost(world.running())
    world.time.runUntil(world.time.nowMs + QUIET_MS)
    this.clients.assertLinearizable()
  }

  /** Safety is looked at all the time. */
  #look(): void {
    const { world, checker } = this
    const look = (): void => {
      checker.assertPromises(world.time.nowMs)
      for (const peer of world.running()) {
        const { log } = this.#programs.get(peer)!
        checker.assertSameState(peer, log.state, log.stateIndex)
      }
      world.time.after(CHECK_MS, look)
    }
    world.time.after(CHECK_MS, look)
  }

  #add(): void {
    if (this.#peersEver >= PEERS_EVER_MAX) return
    const index = this.#peersEver++
    const self = asPeerId(`p${index}`)
    const disk = new FakeDisk(index === 0 ? genesisRaftState([self], 1_000) : emptyRaftState())
    const store = new SimBlockStore(this.#mutant.store)
    const host = `host-${Math.floor(index / this.#peersPerHost)}`
    this.#disks.set(self, disk)
    this.#stores.set(self, store)
    this.#hosts.set(self, host)
    this.checker.addStore(self, store)
    // Addresses of peers that it was told when it was set up; one of them will do.
    const join = this.world.peers().length > 0 ? this.world.peers() : [asPeerId('p1')]
    this.world.add(self, around => {
      const program = new MeshPeer(around, {
        members: { join, checker: this.#members },
        raft: {
          disk,
          checker: this.#log,
          options: this.#raftOptions,
          flushMs: this.#flushMs,
          autopilot: true,
        },
        store,
        checker: this.checker,
        mutant: this.#mutant,
        host,
        flushMs: this.#flushMs,
        nextCommand: () => ++this.#commands,
      })
      this.#programs.set(self, program)
      return program
    })
  }

  /** One machine a run: never one without which what was acknowledged has no majority of disks left. */
  #mayLosePeer(peer: PeerId): boolean {
    if (this.#lost || this.world.peers().length < 4) return false
    return this.world.peers().every(other => {
      const { voters } = this.#log.machine(other)
      return !voters.includes(peer) || voters.length >= 3
    })
  }

  #losePeer(peer: PeerId): void {
    this.#lost = true
    this.checker.loses(peer)
    this.checker.removeStore(peer)
    this.world.destroy(peer)
    this.#stores.delete(peer)
    this.#disks.delete(peer)
  }

  #drawRaftOptions(): RaftOptions {
    const random = this.#random
    const small = random.next() < 0.6
    return {
      ...raftDefaults,
      snapshotEntries: small ? 20 + below(random, 60) : 10_000,
      trailingEntries: small ? below(random, 10) : 1_000,
      snapshotTimeoutMs: 3_000,
    }
  }

  #leaders(): PeerId[] {
    return this.world.running().filter(peer => this.#log.machine(peer).ready)
  }

  #unhealed(): string | undefined {
    const running = this.world.running()
    const [leader, ...others] = this.#leaders()
    if (leader === undefined || others.length > 0) return 'no single leader'
    const { voters, term } = this.#log.machine(leader)
    if (!this.#members.agreed(running)) return 'membership does not agree'
    if (voters.length < votersTarget(running.length)) return `only ${voters.length} voters`
    for (const peer of running) {
      const machine = this.#log.machine(peer)
      if (machine.leader !== leader || machine.term !== term) return `${peer} does not follow ${leader}`
      if (machine.appliedIndex < this.#log.ackedIndex - 100) return `${peer} lags behind`
    }
    return this.checker.unhealed(new Set(running), REPLICATION, this.#hosts, this.world.time.nowMs)
  }

  #state(): string {
    const lines = this.world.peers().map(peer => {
      const { role, term, commitIndex, appliedIndex, voters, leader } = this.#log.machine(peer)
      return `${peer} ${this.world.stateOf(peer)} ${role} term ${term} leader ${leader} commit ${commitIndex} applied ${appliedIndex} voters ${voters.join()}`
    })
    return `acked ${this.#log.ackedIndex}\n  ${lines.join('\n  ')}`
  }
}
