import { asPeerId, below, pick, seededRandom } from '../../src/base/index.ts'
import type { PeerId, Random } from '../../src/base/index.ts'
import { raftDefaults } from '../../src/gossip/config.ts'
import type { RaftOptions } from '../../src/gossip/config.ts'
import { emptyRaftState, genesisRaftState } from '../../src/gossip/raft-types.ts'
import { votersTarget } from '../../src/gossip/voters.machine.ts'
import { check } from './check.ts'
import { FakeDisk } from './fake-disk.ts'
import { MemberChecker } from './member-checker.ts'
import type { MemberProgramInit } from './member-program.ts'
import { PROFILES, unleash } from './nemesis.ts'
import type { Nemesis } from './nemesis.ts'
import { PeerProgram } from './peer-program.ts'
import { RaftChecker } from './raft-checker.ts'
import type { Mutant } from './raft-program.ts'
import { Trace } from './trace.ts'
import { World } from './world.ts'

export interface SeedOptions {
  /** @default drawn from the seed */
  profile?: Nemesis
  /** A planted bug. */
  mutant?: Mutant
  memberMutant?: NonNullable<MemberProgramInit['machine']>
  /** Last lines of the trace to keep, for people. @default 0 */
  keepTrace?: number
}

export interface SeedResult {
  seed: number
  profile: string
  peers: number
  /** Same seed, same hash: nothing but the seed decided the run. */
  traceHash: string
  events: number
  simulatedMs: number
  acked: number
  leaders: number
  /** The first broken promise; undefined when all held. */
  failure: Error | undefined
  trace: readonly string[]
}

const PEERS_MAX = 7
/** After healing: everybody alive agrees, leads or follows, and has everything. Three election timeouts and some. */
const HEAL_LIMIT_MS = 30_000
/** Mean time between the requests of clients while the mesh heals: enough to see it work, not to hold it up. */
const PEACE_PAUSE_MS = 500

/** One run: trouble while clients work (safety), then peace until all is well (liveness). */
export function runSeed(seed: number, options: SeedOptions = {}): SeedResult {
  const trace = new Trace(options.keepTrace ?? 0)
  const run = new SeedRun(seed, trace, options)
  let failure: Error | undefined
  try {
    run.run()
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error))
  }
  return {
    seed,
    profile: run.profile.name,
    peers: run.peers.length,
    traceHash: trace.hash,
    events: trace.count,
    simulatedMs: run.world.time.nowMs,
    acked: run.log.acked.size,
    leaders: run.log.leaderChanges,
    failure,
    trace: trace.lines,
  }
}

class SeedRun {
  readonly world: World
  readonly profile: Nemesis
  readonly peers: PeerId[] = []
  readonly members = new MemberChecker()
  readonly log = new RaftChecker()
  readonly #programs = new Map<PeerId, PeerProgram>()
  readonly #random: Random
  readonly #troubleMs: number
  /** Who changes the voters: nobody, chance, or the real autopilot. */
  readonly #steering: 'none' | 'chance' | 'autopilot'
  #commands = 0

  constructor(seed: number, trace: Trace, options: SeedOptions) {
    // The plan has its own source, so that a change of the machines does not change what is planned.
    this.#random = seededRandom(seed ^ 0x5eed)
    this.world = new World(seed, trace)
    this.profile = options.profile ?? PROFILES[below(this.#random, PROFILES.length)]!
    this.#troubleMs = 10_000 + below(this.#random, 30_000)
    const count = 1 + below(this.#random, PEERS_MAX)
    const founders = Array.from({ length: 1 + below(this.#random, Math.min(5, count)) }, (_, index) =>
      asPeerId(`p${index}`),
    )
    this.#steering = pick(this.#random, ['none', 'chance', 'autopilot'])!
    const raftOptions = this.#raftOptions()
    // A slow disk with appends of a single entry would only measure how long a backlog takes.
    const flushMs = pick(this.#random, raftOptions.appendEntriesMax > 3 ? [1, 10, 150] : [1, 10])!
    for (let index = 0; index < count; index++) {
      const self = asPeerId(`p${index}`)
      const disk = new FakeDisk(
        index < founders.length ? genesisRaftState(founders, 1_000) : emptyRaftState(),
      )
      const join = index === 0 ? [asPeerId('p1')] : [founders[0]!]
      const raft = {
        disk,
        checker: this.log,
        options: raftOptions,
        flushMs,
        autopilot: this.#steering === 'autopilot',
        ...(options.mutant && { mutant: options.mutant }),
      }
      this.peers.push(
        this.world.add(self, around => {
          const members = {
            join,
            checker: this.members,
            ...(options.memberMutant && { machine: options.memberMutant }),
          }
          const program = new PeerProgram(around, { raft, members })
          this.#programs.set(self, program)
          return program
        }),
      )
    }
  }

  run(): void {
    const { world } = this
    this.members.calm = this.profile.name === 'calm'
    unleash(world, this.profile, this.#troubleMs, () => pick(world.random, this.#leaders()))
    this.#clients(50 + below(this.#random, 200))
    if (this.#steering === 'chance') this.#voterChanges(500 + below(this.#random, 2_000))
    world.time.runUntil(this.#troubleMs)
    world.heal()
    check(
      world.time.runUntilTrue(() => this.#healed(), HEAL_LIMIT_MS, 250),
      `not healed in ${HEAL_LIMIT_MS} ms: ${this.#state()}`,
    )
    this.log.nothingLost(world.running())
  }

  /** Small limits, so that snapshots, compaction and flow control happen within seconds. */
  #raftOptions(): RaftOptions {
    const random = this.#random
    const small = random.next() < 0.5
    return {
      ...raftDefaults,
      snapshotEntries: small ? 15 + below(random, 30) : 10_000,
      trailingEntries: small ? below(random, 10) : 1_000,
      appendEntriesMax: pick(random, [1, 3, 256])!,
      inflightMax: pick(random, [1, 2, 8])!,
      snapshotTimeoutMs: 3_000,
    }
  }

  #clients(everyMs: number): void {
    const { world } = this
    const act = (): void => {
      const running = world.running()
      // Mostly whoever takes itself for the leader, sometimes anybody.
      const leaders = this.#leaders()
      const peer = pick(world.random, world.random.next() < 0.9 && leaders.length > 0 ? leaders : running)
      if (peer !== undefined) {
        const { raft } = this.#programs.get(peer)!
        if (world.random.next() < 0.7)
          for (let n = below(world.random, 4); n >= 0; n--) raft.propose(++this.#commands)
        else raft.read()
      }
      const pauseMs = world.time.nowMs < this.#troubleMs ? everyMs : PEACE_PAUSE_MS
      world.time.after(pauseMs * 2 * world.random.next(), act)
    }
    world.time.after(everyMs, act)
  }

  /** Whoever leads adds or removes some voter; more often than any autopilot would. */
  #voterChanges(everyMs: number): void {
    const { world } = this
    const act = (): void => {
      if (world.time.nowMs >= this.#troubleMs) return
      for (const peer of world.running()) {
        const machine = this.log.machine(peer)
        if (machine.role !== 'leader') continue
        const changed = pick(world.random, this.peers)!
        const voters = machine.voters.includes(changed)
          ? machine.voters.filter(voter => voter !== changed)
          : [...machine.voters, changed]
        if (voters.length > 0 && voters.length <= 5)
          this.#programs.get(peer)!.raft.step({ type: 'voters-proposed', voters })
      }
      world.time.after(everyMs * 2 * world.random.next(), act)
    }
    world.time.after(everyMs, act)
  }

  #leaders(): PeerId[] {
    return this.world.running().filter(peer => this.log.machine(peer).role === 'leader')
  }

  #healed(): boolean {
    const running = this.world.running()
    const leaders = running.filter(peer => this.log.machine(peer).ready)
    if (leaders.length !== 1 || !this.members.agreed(running)) return false
    const leader = this.log.machine(leaders[0]!)
    if (this.#steering === 'autopilot' && leader.voters.length < votersTarget(running.length)) return false
    return running.every(peer => {
      const machine = this.log.machine(peer)
      // Clients go on working, so the last entries may still be on their way.
      return (
        machine.leader === leaders[0] &&
        machine.appliedIndex >= this.log.ackedIndex &&
        machine.term === leader.term
      )
    })
  }

  #state(): string {
    const lines = this.peers.map(peer => {
      const { role, term, commitIndex, appliedIndex, log, voters, leader } = this.log.machine(peer)
      const alive = this.members
        .machine(peer)
        .members()
        .filter(member => member.state === 'alive').length
      return `${peer} ${this.world.stateOf(peer)} ${role} term ${term} leader ${leader} commit ${commitIndex} applied ${appliedIndex} last ${log.lastIndex} voters ${voters.join()} sees ${alive} alive`
    })
    return `acked ${this.log.ackedIndex}\n  ${lines.join('\n  ')}`
  }
}
