import { below, pick, seededRandom } from '../../../src/base/index.ts'
import type { PeerId, Random } from '../../../src/base/index.ts'
import type { Operation } from '../../../src/chaos/index.ts'
import { raftDefaults } from '../../../src/gossip/config.ts'
import type { RaftOptions } from '../../../src/gossip/config.ts'
import { check } from '../check.ts'
import { unleash } from '../nemesis.ts'
import { Trace } from '../trace.ts'
import { MeshClients } from './mesh-clients.ts'
import type { MeshMutant } from './mesh-peer.ts'
import { SimMesh } from './sim-mesh.ts'
import { mayLowerReplication, MESH_PROFILES, mendStorage, unleashOnStorage } from './storage-nemesis.ts'
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
const HEAL_LIMIT_MS = 120_000
const LEADER_LIMIT_MS = 10_000
const CHECK_MS = 500
/** At the end, so that the promises are looked at once more when everything has settled. */
const QUIET_MS = 1_000

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
    peers: run.mesh.world.peers().length,
    traceHash: trace.hash,
    events: trace.count,
    simulatedMs: run.mesh.world.time.nowMs,
    done: run.clients.done,
    blocks: run.mesh.checker.truth.namespace.usage().blocks,
    deletions: run.mesh.checker.deletions,
    history: run.clients.history,
    failure,
    trace: trace.lines,
  }
}

class MeshSeedRun {
  readonly mesh: SimMesh
  readonly profile: MeshNemesis
  readonly clients: MeshClients
  readonly #random: Random
  readonly #troubleMs: number
  #thinkMs: number

  constructor(seed: number, trace: Trace, options: MeshSeedOptions) {
    // The plan has its own source, so that a change of the machines does not change what is planned.
    this.#random = seededRandom(seed ^ 0x570fa9e)
    this.profile = options.profile ?? MESH_PROFILES[below(this.#random, MESH_PROFILES.length)]!
    this.#troubleMs = 15_000 + below(this.#random, 25_000)
    this.mesh = new SimMesh({
      seed,
      trace,
      flushMs: pick(this.#random, [1, 10, 50])!,
      peersPerHost: pick(this.#random, [1, 1, 2])!,
      raft: this.#drawRaftOptions(),
      ...(options.mutant && { mutant: options.mutant }),
    })
    this.#thinkMs = pick(this.#random, [100, 300, 1_000])!
    const count = Math.max(this.profile.peersMin ?? 1, 1 + below(this.#random, PEERS_MAX))
    for (let index = 0; index < count; index++) this.mesh.add()
    this.clients = new MeshClients({
      world: this.mesh.world,
      checker: this.mesh.checker,
      count: 2 + below(this.#random, 3),
      thinkMs: () => this.#thinkMs,
      mayLowerReplication: mayLowerReplication(this.profile),
      peerOf: peer => this.mesh.peer(peer),
    })
  }

  run(): void {
    const { mesh, profile } = this
    const { world } = mesh
    this.#look()
    // Trouble begins when there is a mesh to trouble.
    world.time.runUntil(3_000)
    const leader = (): PeerId | undefined => pick(world.random, mesh.leaders())
    unleash(world, profile.links, this.#troubleMs, leader)
    unleashOnStorage(mesh, profile, this.#troubleMs)
    this.clients.start()
    world.time.runUntil(this.#troubleMs)
    mendStorage(mesh)
    world.heal()
    this.#thinkMs = 1_000
    check(
      world.time.runUntilTrue(() => mesh.leaders().length === 1, LEADER_LIMIT_MS, 250),
      `no single leader ${LEADER_LIMIT_MS} ms after healing: ${mesh.describe()}`,
    )
    let why: string | undefined
    check(
      world.time.runUntilTrue(() => (why = mesh.unhealed()) === undefined, HEAL_LIMIT_MS, 500),
      `not healed in ${HEAL_LIMIT_MS} ms: ${why}\n  ${mesh.describe()}`,
    )
    this.clients.stop()
    const { ackedIndex } = mesh.log
    const level = (): boolean =>
      world.running().every(peer => mesh.log.machine(peer).appliedIndex >= ackedIndex)
    check(world.time.runUntilTrue(level, LEADER_LIMIT_MS, 250), `somebody lags behind: ${mesh.describe()}`)
    mesh.log.nothingLost(world.running())
    world.time.runUntil(world.time.nowMs + QUIET_MS)
    this.clients.assertLinearizable()
  }

  /** Safety is looked at all the time. */
  #look(): void {
    const { world, checker } = this.mesh
    const look = (): void => {
      checker.assertPromises(world.time.nowMs)
      for (const peer of world.running()) {
        const { log } = this.mesh.peer(peer)
        checker.assertSameState(peer, log.state, log.stateIndex)
      }
      world.time.after(CHECK_MS, look)
    }
    world.time.after(CHECK_MS, look)
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
}
