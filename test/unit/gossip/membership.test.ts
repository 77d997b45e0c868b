import { describe, expect, it } from 'vitest'
import { asPeerId, seededRandom } from '../../../src/base/index.ts'
import type { PeerId } from '../../../src/base/index.ts'
import { membershipDefaults } from '../../../src/gossip/config.ts'
import { INTRODUCED } from '../../../src/gossip/member-table.ts'
import { Membership } from '../../../src/gossip/membership.machine.ts'
import { MemberChecker } from '../../sim/member-checker.ts'
import { MemberProgram } from '../../sim/member-program.ts'
import { World } from '../../sim/world.ts'

interface Change {
  atMs: number
  at: PeerId
  change: string
  of: PeerId
}

/** A running mesh of real membership machines on a fake network; every step is checked. */
class Mesh {
  readonly world: World
  readonly checker = new MemberChecker()
  readonly changes: Change[] = []
  readonly peers: PeerId[]
  readonly #programs = new Map<PeerId, MemberProgram>()

  constructor(count: number, seed = 1) {
    this.world = new World(seed)
    const first = asPeerId('p0')
    this.peers = Array.from({ length: count }, (_, index) =>
      this.world.add(`p${index}`, around => {
        const onChange = (change: string, member: { peerId: PeerId }): void => {
          this.changes.push({ atMs: this.world.time.nowMs, at: around.self, change, of: member.peerId })
        }
        const program = new MemberProgram(around, { join: [first], checker: this.checker, onChange })
        this.#programs.set(around.self, program)
        return program
      }),
    )
    expect(this.world.time.runUntilTrue(() => this.checker.agreed(this.peers), 10_000)).toBe(true)
    this.changes.length = 0
  }

  program(peer: PeerId): MemberProgram {
    return this.#programs.get(peer)!
  }

  stateAt(at: PeerId, of: PeerId): string | undefined {
    return this.checker.machine(at).member(of)?.state
  }

  /** The first moment at which every other running peer says so. */
  untilAll(state: string, of: PeerId, timeoutMs: number): number {
    const startMs = this.world.time.nowMs
    const others = this.world.running().filter(peer => peer !== of)
    const reached = this.world.time.runUntilTrue(
      () => others.every(at => this.stateAt(at, of) === state),
      timeoutMs,
    )
    expect(reached, `everybody sees ${of} ${state} within ${timeoutMs} ms`).toBe(true)
    return this.world.time.nowMs - startMs
  }

  run(ms: number): void {
    this.world.time.runUntil(this.world.time.nowMs + ms)
  }

  changesTo(change: string): Change[] {
    return this.changes.filter(each => each.change === change)
  }
}

describe('membership', () => {
  it('a killed peer is suspect, then dead, at everybody within 12 s', () => {
    for (const [count, seed] of [
      [2, 1],
      [3, 2],
      [5, 3],
      [7, 4],
    ] as const) {
      const mesh = new Mesh(count, seed)
      const victim = mesh.peers[1]!
      mesh.world.crash(victim)
      mesh.untilAll('dead', victim, 12_000)
      for (const at of mesh.world.running()) {
        const heard = mesh.changes
          .filter(each => each.at === at && each.of === victim)
          .map(each => each.change)
        expect(heard.at(-1)).toBe('dead')
      }
      expect(mesh.changesTo('suspect').length).toBeGreaterThan(0)
    }
  })

  it('in a calm mesh nobody is ever suspected', () => {
    const mesh = new Mesh(7)
    mesh.checker.calm = true
    mesh.run(120_000)
    expect(mesh.changes).toEqual([])
  })

  it('a peer cut off from one other is saved by helpers: no suspicion', () => {
    const mesh = new Mesh(5)
    mesh.world.network.cutBoth(mesh.peers[1]!, mesh.peers[2]!)
    mesh.run(60_000)
    expect(mesh.changes).toEqual([])
  })

  it('a peer that is heard but not reached directly is no reason to accuse it either', () => {
    const mesh = new Mesh(5)
    mesh.world.network.cut(mesh.peers[1]!, mesh.peers[2]!)
    mesh.run(60_000)
    expect(mesh.changes).toEqual([])
  })

  it('a suspect that is alive refutes with a higher incarnation and never dies', () => {
    const mesh = new Mesh(5)
    const accused = mesh.peers[3]!
    const updates = [
      { peerId: accused, incarnation: 0, state: 'suspect' as const, accusers: [mesh.peers[1]!] },
    ]
    mesh.program(mesh.peers[1]!).step({ type: 'updates-published', updates })
    expect(mesh.stateAt(mesh.peers[1]!, accused)).toBe('suspect')
    mesh.untilAll('alive', accused, 2_000)
    mesh.run(30_000)
    expect(mesh.changesTo('dead')).toEqual([])
    expect(mesh.checker.machine(accused).member(accused)!.incarnation).toBeGreaterThan(0)
  })

  it('independent accusers shorten the suspicion: a lone accuser waits three times as long', () => {
    const killed = new Mesh(7)
    const victim = killed.peers[2]!
    killed.world.crash(victim)
    const togetherMs = killed.untilAll('dead', victim, 20_000)
    expect(togetherMs).toBeLessThan(8_000)

    // Cut off from everybody and alone in thinking so, a peer waits the longest before it declares the first one dead.
    const cut = new Mesh(7)
    const lonely = cut.peers[2]!
    const others = cut.peers.filter(peer => peer !== lonely)
    cut.world.network.partition([lonely], others)
    const startMs = cut.world.time.nowMs
    cut.world.time.runUntilTrue(() => others.some(other => cut.stateAt(lonely, other) === 'dead'), 30_000)
    expect(cut.world.time.nowMs - startMs).toBeGreaterThan(12_000)
  })

  it('everybody knows who accuses a dead peer, so that the leader may propose PeerDown', () => {
    const mesh = new Mesh(5)
    const [leader, victim] = [mesh.peers[0]!, mesh.peers[4]!]
    mesh.world.crash(victim)
    expect(mesh.checker.machine(leader).mayProposeDown(victim)).toBe(false)
    mesh.untilAll('dead', victim, 12_000)
    mesh.run(3_000)
    expect(mesh.checker.machine(leader).accusersOf(victim)).toContain(leader)
    expect(mesh.checker.machine(leader).accusersOf(victim).length).toBeGreaterThanOrEqual(3)
    expect(mesh.checker.machine(leader).mayProposeDown(victim)).toBe(true)
  })

  it('a death that nobody alive has seen gets accusers enough for the leader to act on', () => {
    const mesh = new Mesh(5)
    const [leader, , , , victim] = mesh.peers as [PeerId, PeerId, PeerId, PeerId, PeerId]
    mesh.world.destroy(victim)
    const { incarnation } = mesh.checker.machine(leader).member(victim)!
    const news = { peerId: victim, incarnation, state: 'dead' as const, accusers: [] }
    for (const peer of mesh.world.running())
      mesh.program(peer).step({ type: 'updates-published', updates: [news] })
    const mayPropose = (): boolean => {
      mesh.program(leader).step({ type: 'probe-requested', peer: victim })
      return mesh.checker.machine(leader).mayProposeDown(victim)
    }
    expect(mesh.world.time.runUntilTrue(mayPropose, 60_000, 500)).toBe(true)
  })

  it('a leader that alone cannot reach a peer may not propose it down', () => {
    const mesh = new Mesh(5)
    const leader = mesh.peers[0]!
    const machine = mesh.checker.machine(leader)
    mesh.world.network.partition([leader], mesh.peers.slice(1))
    const dead = (): PeerId | undefined => mesh.peers.find(peer => mesh.stateAt(leader, peer) === 'dead')
    expect(mesh.world.time.runUntilTrue(() => dead() !== undefined, 60_000)).toBe(true)
    expect(machine.accusersOf(dead()!)).toEqual([leader])
    expect(machine.mayProposeDown(dead()!)).toBe(false)
  })

  it('leaving is not dying', () => {
    const mesh = new Mesh(5)
    const leaver = mesh.peers[2]!
    mesh.program(leaver).step({ type: 'leave-requested' })
    mesh.untilAll('left', leaver, 2_000)
    mesh.world.crash(leaver)
    mesh.run(30_000)
    expect(mesh.changesTo('dead')).toEqual([])
    expect(mesh.changesTo('suspect')).toEqual([])
  })

  it('a restarted peer that begins at incarnation 0 overtakes what is remembered of its earlier life', () => {
    const mesh = new Mesh(5)
    const victim = mesh.peers[3]!
    mesh.world.crash(victim)
    mesh.untilAll('dead', victim, 12_000)
    mesh.world.start(victim)
    mesh.untilAll('alive', victim, 3_000)
    expect(mesh.checker.machine(victim).member(victim)!.incarnation).toBeGreaterThan(0)
    expect(mesh.checker.agreed(mesh.peers)).toBe(true)
  })

  it('one that left may come back', () => {
    const mesh = new Mesh(3)
    const leaver = mesh.peers[2]!
    mesh.program(leaver).step({ type: 'leave-requested' })
    mesh.untilAll('left', leaver, 2_000)
    mesh.world.crash(leaver)
    mesh.run(5_000)
    mesh.world.start(leaver)
    mesh.untilAll('alive', leaver, 3_000)
  })

  it('the two sides of a partition bury each other, and find each other by themselves when it heals', () => {
    const mesh = new Mesh(6)
    const left = mesh.peers.slice(0, 2)
    const right = mesh.peers.slice(2)
    mesh.world.network.partition(left, right)
    const buried = (): boolean =>
      left.every(a => right.every(b => mesh.stateAt(a, b) === 'dead' && mesh.stateAt(b, a) === 'dead'))
    expect(mesh.world.time.runUntilTrue(buried, 60_000)).toBe(true)
    mesh.world.network.mendPartitions()
    expect(mesh.world.time.runUntilTrue(() => mesh.checker.agreed(mesh.peers), 20_000)).toBe(true)
    mesh.changes.length = 0
    mesh.run(60_000)
    expect(mesh.changesTo('dead')).toEqual([])
  })

  it('a peer stopped for 10 s accuses nobody when it wakes, and is back within seconds', () => {
    const mesh = new Mesh(5)
    const sleeper = mesh.peers[1]!
    mesh.world.pause(sleeper)
    mesh.run(10_000)
    mesh.changes.length = 0
    mesh.world.resume(sleeper)
    mesh.run(8_000)
    const accusations = mesh.changes.filter(each => each.change === 'suspect' && each.of !== sleeper)
    expect(accusations).toEqual([])
    expect(mesh.checker.agreed(mesh.peers)).toBe(true)
  })

  it('load per peer is constant: about one probe a second, however many members', () => {
    const perPeer = (count: number): number => {
      const mesh = new Mesh(count, 5)
      mesh.run(20_000)
      const before = mesh.world.network.delivered
      mesh.run(30_000)
      return (mesh.world.network.delivered - before) / count / 30
    }
    const few = perPeer(5)
    const many = perPeer(60)
    expect(few).toBeGreaterThan(1.5)
    expect(many).toBeLessThan(few * 1.5)
  })

  it('a member removed for good is forgotten', () => {
    const mesh = new Mesh(3)
    const removed = mesh.peers[2]!
    mesh.world.crash(removed)
    mesh.untilAll('dead', removed, 12_000)
    for (const at of mesh.world.running()) mesh.program(at).step({ type: 'forget-requested', peer: removed })
    mesh.run(60_000)
    for (const at of mesh.world.running()) expect(mesh.stateAt(at, removed)).toBeUndefined()
  })

  it('a member that only the log knows is told whole until it speaks: who hears the accusation first hears of it', () => {
    const machine = (name: string): Membership => {
      const info = { name, addresses: [], labels: { host: '', zone: '' }, meta: {} }
      const init = { self: asPeerId(name), info, incarnation: 1, nowMs: 0 }
      return new Membership(init, membershipDefaults, seededRandom(1))
    }
    const lost = asPeerId('lost')
    const leader = machine('leader')
    const other = machine('other')
    const info = { name: 'lost', addresses: ['/memory/lost'], labels: { host: '', zone: '' }, meta: {} }
    const introduced = { peerId: lost, incarnation: INTRODUCED, state: 'alive' as const, accusers: [], info }
    leader.step({ type: 'updates-published', updates: [introduced] }, 0)
    leader.step({ type: 'probe-requested', peer: lost }, 0)
    for (let nowMs = 100; leader.member(lost)!.state !== 'dead'; nowMs += 100) {
      expect(nowMs).toBeLessThan(60_000)
      for (const effect of leader.step({ type: 'tick' }, nowMs)) {
        // Pings to this one go lost.
        if (effect.type === 'publish')
          other.step({ type: 'updates-published', updates: effect.updates }, nowMs)
      }
    }
    expect(other.member(lost)).toMatchObject({ name: 'lost' })
    expect(other.accusersOf(lost)).toContain(asPeerId('leader'))
  })
})
