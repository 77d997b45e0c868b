import { asPeerId, pick } from '../../../src/base/index.ts'
import type { PeerId } from '../../../src/base/index.ts'
import type { RaftOptions } from '../../../src/gossip/config.ts'
import { majorityOf } from '../../../src/gossip/raft-quorum.ts'
import { emptyRaftState, genesisRaftState } from '../../../src/gossip/raft-types.ts'
import { votersTarget } from '../../../src/gossip/voters.machine.ts'
import { checkDrain } from '../../../src/node/drain.ts'
import { FakeDisk } from '../fake-disk.ts'
import { MemberChecker } from '../member-checker.ts'
import { RaftChecker } from '../raft-checker.ts'
import type { Trace } from '../trace.ts'
import { World } from '../world.ts'
import { MeshChecker } from './mesh-checker.ts'
import { MeshPeer } from './mesh-peer.ts'
import type { MeshMutant } from './mesh-peer.ts'
import { SimBlockStore } from './sim-block-store.ts'
import { run } from './task.ts'

export interface SimMeshInit {
  seed: number
  trace?: Trace
  raft: RaftOptions
  /** Longest time of one flush. */
  flushMs: number
  peersPerHost: number
  mutant?: MeshMutant
}

const PEERS_EVER_MAX = 9
/** Between "I leave" and the end of the process: the news goes out. */
const LEAVE_MS = 200
const REPLICATION = 3

/** Whole peers in one world, their disks, and the checkers that look at all of them. */
export class SimMesh {
  readonly world: World
  readonly checker = new MeshChecker()
  readonly log = new RaftChecker()
  readonly members = new MemberChecker()
  readonly stores = new Map<PeerId, SimBlockStore>()
  readonly disks = new Map<PeerId, FakeDisk>()
  readonly #hosts = new Map<PeerId, string>()
  readonly #programs = new Map<PeerId, MeshPeer>()
  readonly #init: SimMeshInit
  #peersEver = 0
  #lost = false
  #commands = 0

  constructor(init: SimMeshInit) {
    this.#init = init
    this.world = new World(init.seed, init.trace)
  }

  peer(peer: PeerId): MeshPeer {
    return this.#programs.get(peer)!
  }

  /** A new peer starts; the first one makes the mesh. Undefined when there were enough already. */
  add(): PeerId | undefined {
    if (this.#peersEver >= PEERS_EVER_MAX) return undefined
    const { flushMs, mutant = {}, peersPerHost, raft } = this.#init
    const index = this.#peersEver++
    const self = asPeerId(`p${index}`)
    const disk = new FakeDisk(index === 0 ? genesisRaftState([self], 1_000) : emptyRaftState())
    const store = new SimBlockStore(mutant.store)
    const host = `host-${Math.floor(index / peersPerHost)}`
    this.disks.set(self, disk)
    this.stores.set(self, store)
    this.#hosts.set(self, host)
    this.checker.addStore(self, store)
    // Addresses of peers that it was told when it was set up; one of them will do.
    const join = this.world.peers().length > 0 ? this.world.peers() : [asPeerId('p1')]
    this.world.add(self, around => {
      const program = new MeshPeer(around, {
        members: { join, checker: this.members },
        raft: { disk, checker: this.log, options: raft, flushMs, autopilot: true },
        store,
        checker: this.checker,
        mutant,
        host,
        flushMs,
        nextCommand: () => ++this.#commands,
        onDrained: () => this.#depart(self),
      })
      this.#programs.set(self, program)
      return program
    })
    return self
  }

  /** One machine a run: never one without which what was acknowledged has no majority of disks left. */
  mayLosePeer(peer: PeerId): boolean {
    if (this.#lost || this.world.peers().length < 4) return false
    const draining = this.checker.truth.members.members().some(each => each.draining && each.state === 'up')
    return this.#logSurvivesWithout(peer) && (!draining || this.#takersWithout(peer) >= 2)
  }

  losePeer(peer: PeerId): void {
    this.#lost = true
    this.checker.loses(peer)
    this.#removeDisks(peer)
    this.world.destroy(peer)
  }

  /** Few enough damaged logs at a time: until what they promised is settled, a majority of sound ones must be left. */
  mayLoseLog(peer: PeerId): boolean {
    return this.#logSurvivesWithout(peer)
  }

  /** The process dies, and its next start finds the log damaged and sets it aside. */
  loseLog(peer: PeerId): void {
    this.world.crash(peer)
    this.log.loses(peer)
    this.disks.get(peer)!.lose()
    this.world.start(peer)
  }

  /** An operator's order at this peer; undefined when it would be refused. */
  drain(at: PeerId): PeerId | undefined {
    const { state } = this.peer(at).log
    const records = state.members.members()
    const members = records.filter(each => each.state === 'up' && !each.draining)
    const member = pick(this.world.random, members)
    if (member === undefined) return undefined
    try {
      checkDrain(records, member, false)
    } catch {
      return undefined
    }
    const { peerId } = member
    // Of those that the log calls up one may be lost already.
    if (this.#takersWithout(peerId) < REPLICATION) return undefined
    run(this.peer(at).log.propose({ part: 'gossip', command: { type: 'peer-drain', peerId } }))
    return peerId
  }

  leaders(): PeerId[] {
    return this.world.running().filter(peer => this.log.machine(peer).ready)
  }

  /** Undefined when all is as it should be; else what is not yet. */
  unhealed(): string | undefined {
    const running = this.world.running()
    const [leader, ...others] = this.leaders()
    if (leader === undefined || others.length > 0) return 'no single leader'
    const { voters, term } = this.log.machine(leader)
    if (!this.members.agreed(running)) return 'membership does not agree'
    if (voters.length < votersTarget(running.length)) return `only ${voters.length} voters`
    for (const peer of running) {
      const machine = this.log.machine(peer)
      if (machine.leader !== leader || machine.term !== term) return `${peer} does not follow ${leader}`
      if (machine.appliedIndex < this.log.ackedIndex - 100) return `${peer} lags behind`
    }
    return this.checker.unhealed(new Set(running), REPLICATION, this.#hosts, this.world.time.nowMs)
  }

  describe(): string {
    const lines = this.world.peers().map(peer => {
      const { role, term, commitIndex, appliedIndex, voters, leader } = this.log.machine(peer)
      return `${peer} ${this.world.stateOf(peer)} ${role} term ${term} leader ${leader} commit ${commitIndex} applied ${appliedIndex} voters ${voters.join()}`
    })
    return `acked ${this.log.ackedIndex}\n  ${lines.join('\n  ')}`
  }

  /** Everything of it is elsewhere, it says: it leaves for good, with its disks. */
  #depart(peer: PeerId): void {
    this.world.trace.add(this.world.time.nowMs, peer, 'leaves')
    this.checker.departs(peer)
    this.#removeDisks(peer)
    this.world.time.after(LEAVE_MS, () => this.world.destroy(peer))
  }

  /** Machines that are to stay, besides this one. */
  #takersWithout(peer: PeerId): number {
    const { members } = this.checker.truth
    const stays = (each: PeerId): boolean => each !== peer && members.member(each)?.draining === false
    return this.world.peers().filter(stays).length
  }

  #removeDisks(peer: PeerId): void {
    this.checker.removeStore(peer)
    this.stores.delete(peer)
    this.disks.delete(peer)
  }

  /** Whatever anybody takes for the voters, a majority of them has its log, without this peer. */
  #logSurvivesWithout(peer: PeerId): boolean {
    const sound = (voter: PeerId): boolean => {
      const disk = this.disks.get(voter)
      return voter !== peer && disk !== undefined && !disk.forgot
    }
    return this.world.peers().every(other => {
      const { voters } = this.log.machine(other)
      if (!voters.includes(peer)) return true
      return voters.filter(sound).length >= majorityOf(voters)
    })
  }
}
