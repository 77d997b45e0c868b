import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { asMeshId, asPeerId, hasCode, pack, sleep, unpack } from '../../../src/base/index.ts'
import type { PeerId } from '../../../src/base/index.ts'
import { DiskLogStore } from '../../../src/gossip/disk-log-store.ts'
import type { StateMachine } from '../../../src/gossip/log-applier.ts'
import { ReplicatedLog } from '../../../src/gossip/raft-driver.ts'
import type { ReplicatedLogInit } from '../../../src/gossip/raft-driver.ts'
import { LEADER_TOPIC, VOTE_TOPIC } from '../../../src/gossip/messages.ts'
import { MemoryNetwork } from '../../support/memory-transport.ts'
import type { MemoryTransport } from '../../support/memory-transport.ts'
import { MemoryLogStore } from './memory-log-store.ts'

const MESH = asMeshId('00000000000000000000000000000001')
/** A tenth of the production timers: the same proportions, shorter tests. */
const FAST = {
  tickMs: 10,
  heartbeatMs: 30,
  learnerHeartbeatMs: 90,
  electionMinMs: 150,
  electionMaxMs: 300,
  quorumWindowMs: 150,
  earlyElectionMs: 25,
}
const FAST_VOTERS = { stableMs: 50, silentMs: 250, replaceAfterMs: 300 }

/** Commands are texts; the state is all of them. */
class Journal implements StateMachine {
  lines: string[] = []

  apply(command: Uint8Array): unknown {
    this.lines.push(Buffer.from(command).toString())
    return this.lines.length
  }

  snapshot(): Uint8Array {
    return pack(this.lines)
  }

  restore(snapshot: Uint8Array): Iterable<never> {
    this.lines = unpack(snapshot) as string[]
    return []
  }
}

/** Its snapshots are made elsewhere, when the test says so. */
class SlowJournal extends Journal {
  readonly asked: {
    base: string[]
    added: string[]
    done: PromiseWithResolvers<Uint8Array>
  }[] = []

  replay(base: Uint8Array | undefined, entries: readonly { data: Uint8Array }[]): Promise<Uint8Array> {
    const done = Promise.withResolvers<Uint8Array>()
    const added = entries.map(({ data }) => Buffer.from(data).toString())
    this.asked.push({ base: base === undefined ? [] : (unpack(base) as string[]), added, done })
    return done.promise
  }
}

interface Peer {
  id: PeerId
  log: ReplicatedLog
  journal: Journal
  store: MemoryLogStore
  transport: MemoryTransport
}

class Mesh {
  readonly network = new MemoryNetwork()
  readonly peers = new Map<string, Peer>()
  readonly #stores = new Map<string, MemoryLogStore>()

  async start(name: string, init: Partial<ReplicatedLogInit> = {}, journal = new Journal()): Promise<Peer> {
    const transport = this.network.join(name)
    const store = this.#stores.get(name) ?? new MemoryLogStore()
    this.#stores.set(name, store)
    const log = await ReplicatedLog.start({
      transport,
      store,
      stateMachine: journal,
      meshId: MESH,
      ...init,
      raft: { ...FAST, ...init.raft },
      voters: FAST_VOTERS,
      limits: { readTimeoutMs: 500, readRetryMs: 100, snapshotInlineBytes: 0 },
    })
    const peer = { id: asPeerId(name), log, journal, store, transport }
    this.peers.set(name, peer)
    this.#tellAll()
    return peer
  }

  /** SIGKILL: what was not written is gone. */
  async kill(name: string): Promise<void> {
    const peer = this.peers.get(name)!
    this.peers.delete(name)
    this.network.kill(name)
    await peer.log.close()
    this.#tellAll()
  }

  async grow(names: readonly string[], init: Partial<ReplicatedLogInit> = {}): Promise<void> {
    for (const [at, name] of names.entries()) await this.start(name, { genesis: at === 0, ...init })
    await this.until('all voters to know the voters', () =>
      [...this.peers.values()].every(({ log }) => {
        const { voters, votersTarget, votersCommitted } = log.status()
        return votersCommitted && voters.length === votersTarget
      }),
    )
  }

  leader(): Peer | undefined {
    return [...this.peers.values()].find(peer => peer.log.status().ready)
  }

  /** Asks again only after NOT_LEADER, which says that nothing was appended. */
  async propose(text: string): Promise<unknown> {
    const deadlineMs = performance.now() + 10_000
    for (;;) {
      await this.until('a leader', () => this.leader() !== undefined)
      try {
        return (await this.leader()!.log.propose(Buffer.from(text))).result
      } catch (error) {
        if (!hasCode(error, 'NOT_LEADER') || performance.now() > deadlineMs) throw error
      }
    }
  }

  async until(what: string, condition: () => boolean): Promise<void> {
    const deadlineMs = performance.now() + 10_000
    while (!condition()) {
      if (performance.now() > deadlineMs) {
        const states = [...this.peers.values()].map(peer => ({ id: peer.id, ...peer.log.status() }))
        throw new Error(`waited in vain for ${what}: ${JSON.stringify(states)}`)
      }
      await sleep(5)
    }
  }

  #tellAll(): void {
    const live = [...this.peers.values()].map(peer => ({ peerId: peer.id, host: peer.id }))
    for (const peer of this.peers.values()) peer.log.setPeers(live)
  }
}

describe('replicated log over a transport', () => {
  let mesh = new Mesh()

  afterEach(async () => {
    for (const peer of mesh.peers.values()) await peer.log.close()
    mesh = new Mesh()
  })

  test('a sole founder leads and answers with what apply returned', async () => {
    await mesh.grow(['a'])
    expect(await mesh.propose('one')).toBe(1)
    expect(await mesh.propose('two')).toBe(2)
  })

  test('three peers become three voters and hold the same log; every peer reads what was acknowledged', async () => {
    await mesh.grow(['a', 'b', 'c'])
    await mesh.propose('one')
    for (const peer of mesh.peers.values()) {
      await peer.log.waitApplied(await peer.log.readIndex())
      expect(peer.journal.lines).toEqual(['one'])
    }
  })

  test('a proposal at another peer is refused with the name of the leader', async () => {
    await mesh.grow(['a', 'b', 'c'])
    const follower = [...mesh.peers.values()].find(peer => peer !== mesh.leader())!
    await expect(follower.log.propose(Buffer.from('x'))).rejects.toMatchObject({
      code: 'NOT_LEADER',
      details: { leader: mesh.leader()!.id },
    })
  })

  test('the leader is killed: another leads, nothing acknowledged is lost, and the killed one rejoins', async () => {
    await mesh.grow(['a', 'b', 'c'])
    await mesh.propose('before')
    const killed = mesh.leader()!.id
    await mesh.kill(killed)
    await mesh.propose('after')
    expect(mesh.leader()!.id).not.toBe(killed)
    const back = await mesh.start(killed)
    await mesh.until('the restarted peer to catch up', () => back.journal.lines.length === 2)
    expect(back.journal.lines).toEqual(['before', 'after'])
  })

  test('a burst of proposals shares flushes', async () => {
    await mesh.grow(['a'])
    const { store } = mesh.leader()!
    const before = store.writes
    await Promise.all(
      Array.from({ length: 200 }, (_, i) => mesh.leader()!.log.propose(Buffer.from(String(i)))),
    )
    expect(store.writes - before).toBeLessThan(5)
    expect(mesh.leader()!.journal.lines).toEqual(Array.from({ length: 200 }, (_, i) => String(i)))
  })

  test('a joiner whose entries are compacted gets the state by snapshot', async () => {
    const raft = { snapshotEntries: 20, trailingEntries: 2 }
    await mesh.grow(['a'], { raft })
    for (let i = 0; i < 50; i++) await mesh.propose(String(i))
    expect(mesh.leader()!.log.status().snapshotIndex).toBeGreaterThan(20)
    const joiner = await mesh.start('b', { raft })
    await mesh.until('the joiner to catch up', () => joiner.journal.lines.length === 50)
    expect(joiner.journal.lines).toEqual(Array.from({ length: 50 }, (_, i) => String(i)))
    expect(joiner.log.role()).toBe('learner')
  })

  test('while a snapshot is made elsewhere the log goes on; the next one is made from it and what came since', async () => {
    const journal = new SlowJournal()
    const raft = { snapshotEntries: 20, trailingEntries: 2 }
    const { log } = await mesh.start('a', { genesis: true, raft }, journal)
    await mesh.until('it leads', () => log.status().ready)
    const lines = Array.from({ length: 60 }, (_, i) => String(i))
    for (const line of lines.slice(0, 40)) await mesh.propose(line)
    expect(journal.asked).toHaveLength(1)
    expect(log.status().snapshotIndex).toBe(0)
    const [first] = journal.asked
    expect(first!.base).toEqual([])
    expect(first!.added).toEqual(lines.slice(0, first!.added.length))
    first!.done.resolve(pack(first!.added))
    await mesh.until('the snapshot', () => log.status().snapshotIndex > 0)
    for (const line of lines.slice(40)) await mesh.propose(line)
    await mesh.until('the next one', () => journal.asked.length === 2)
    const { base, added } = journal.asked[1]!
    expect(base).toEqual(first!.added)
    expect([...base, ...added]).toEqual(lines.slice(0, base.length + added.length))
    await mesh.kill('a')
  })

  test('what a peer knows is as old as its last word from a leader with a majority, also when it leads itself', async () => {
    await mesh.grow(['a', 'b', 'c'])
    const leader = mesh.leader()!
    const cut = [...mesh.peers.values()].find(({ id }) => id !== leader.id)!
    expect(leader.log.asOf().ageMs).toBeLessThan(400)
    expect(cut.log.asOf().ageMs).toBeLessThan(400)
    await mesh.propose('x')
    await mesh.until('all to have it', () => cut.log.asOf().index === leader.log.asOf().index)
    const { index } = cut.log.asOf()
    for (const other of mesh.peers.keys()) if (other !== cut.id) mesh.network.block(cut.id, other)
    await mesh.until('its knowledge to be old', () => (cut.log.asOf().ageMs ?? 0) > 1_000)
    expect(cut.log.asOf().index).toBe(index)
    expect(mesh.leader()!.log.asOf().ageMs).toBeLessThan(400)
    // The same of one that led when it was cut off.
    for (const other of mesh.peers.keys()) if (other !== leader.id) mesh.network.block(leader.id, other)
    await mesh.until('what the leader knows to be old', () => (leader.log.asOf().ageMs ?? 0) > 1_000)
    expect(leader.log.role()).not.toBe('leader')
  })

  test('a snapshot that could not be made elsewhere is made on the spot', async () => {
    const journal = new SlowJournal()
    const raft = { snapshotEntries: 20, trailingEntries: 2 }
    const { log, store } = await mesh.start('a', { genesis: true, raft }, journal)
    await mesh.until('it leads', () => log.status().ready)
    for (let i = 0; i < 30; i++) await mesh.propose(String(i))
    journal.asked[0]!.done.reject(new Error('no thread'))
    await mesh.until('the snapshot', () => log.status().snapshotIndex > 20)
    await mesh.until('it is on the disk', () => store.snapshot !== undefined)
    expect(unpack(store.snapshot!.data)).toEqual(journal.lines)
  })

  test('a dead voter is replaced by a learner that stands ready', async () => {
    await mesh.grow(['a', 'b', 'c', 'd'])
    const voters = mesh.leader()!.log.status().voters
    expect(voters).toHaveLength(3)
    const dead = voters.find(voter => voter !== mesh.leader()!.id)!
    await mesh.kill(dead)
    await mesh.until('the replacement', () => {
      const now = mesh.leader()?.log.status().voters ?? []
      return now.length === 3 && !now.includes(dead)
    })
  })

  test('a leader that is cut off ends its proposals as UNKNOWN_OUTCOME and its reads as NO_QUORUM', async () => {
    // Wide enough that a busy machine does not end its lead before it has taken the proposal.
    const raft = { quorumWindowMs: 500, electionMinMs: 500, electionMaxMs: 900 }
    await mesh.grow(['a', 'b', 'c'], { raft })
    const old = mesh.leader()!
    for (const peer of mesh.peers.keys()) if (peer !== old.id) mesh.network.block(old.id, peer)
    const proposal = old.log.propose(Buffer.from('lost?'))
    await expect(proposal).rejects.toMatchObject({ code: 'UNKNOWN_OUTCOME' })
    await expect(old.log.readIndex()).rejects.toMatchObject({ code: 'NO_QUORUM' })
    await mesh.until('another leader', () => mesh.leader() !== undefined && mesh.leader() !== old)
    await mesh.propose('kept')
    mesh.network.heal()
    await mesh.until('the old leader to follow', () => old.journal.lines.includes('kept'))
    expect(old.journal.lines).toEqual(['kept'])
  })

  test('disks that stand still for four quorum windows cost the leader nothing but time', async () => {
    await mesh.grow(['a', 'b', 'c'])
    const leader = mesh.leader()!
    const { term } = leader.log.status()
    const disks = Promise.withResolvers<void>()
    for (const { id, store } of mesh.peers.values()) if (id !== leader.id) store.held = disks.promise
    await expect(
      leader.log.propose(Buffer.from('late'), { timeoutMs: 4 * FAST.quorumWindowMs }),
    ).rejects.toSatisfy(error => hasCode(error, 'UNKNOWN_OUTCOME'))
    expect(leader.log.status()).toMatchObject({ role: 'leader', term })
    disks.resolve()
    await mesh.until('all to have applied it', () =>
      [...mesh.peers.values()].every(({ journal }) => journal.lines.includes('late')),
    )
    expect(leader.log.status()).toMatchObject({ role: 'leader', term })
  })

  test('a failed write is fatal: the peer says no more, and says why', async () => {
    await mesh.grow(['a'])
    const peer = mesh.leader()!
    const told = Promise.withResolvers<string>()
    peer.log.onFatal(error => told.resolve(error.code))
    peer.store.failure = new Error('EIO: i/o error, fdatasync')
    await expect(peer.log.propose(Buffer.from('x'))).rejects.toMatchObject({ code: 'UNKNOWN_OUTCOME' })
    expect(await told.promise).toBe('DISK_FAILED')
    await expect(peer.log.propose(Buffer.from('y'))).rejects.toMatchObject({ code: 'DISK_FAILED' })
  })

  test('messages of another mesh and garbage on the topics change nothing', async () => {
    await mesh.grow(['a'])
    const before = mesh.leader()!.log.status()
    const stranger = mesh.network.join('stranger')
    const vote = { type: 'vote', term: 99, lastIndex: 1_000, lastTerm: 98, transfer: true }
    stranger.publish(VOTE_TOPIC, pack({ meshId: asMeshId('other'), message: vote }))
    stranger.publish(VOTE_TOPIC, pack({ meshId: MESH, message: { ...vote, term: -1 } }))
    stranger.publish(LEADER_TOPIC, Buffer.from([0xc1, 0xff]))
    await mesh.propose('still here')
    const { term, leader } = mesh.leader()!.log.status()
    expect({ term, leader }).toEqual({ term: before.term, leader: before.leader })
  })

  test('all peers stop together: what was acknowledged is back from their disks', async () => {
    const directory = await mkdtemp(path.join(os.tmpdir(), 'shoal-raft-'))
    const names = ['a', 'b', 'c']
    const onDisk = (name: string) => ({
      store: new DiskLogStore(path.join(directory, name), { segmentBytes: 2_000 }),
      raft: { snapshotEntries: 40, trailingEntries: 5 },
    })
    try {
      for (const name of names) await mesh.start(name, { genesis: name === 'a', ...onDisk(name) })
      await mesh.until('three voters', () => mesh.leader()?.log.status().voters.length === 3)
      const acked: string[] = []
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 30; i++) {
          const text = `${round}/${i}`
          await mesh.propose(text)
          acked.push(text)
        }
        await Promise.all(names.map(name => mesh.kill(name)))
        for (const name of names) await mesh.start(name, onDisk(name))
        // A leader knows what is committed before it has applied it.
        await mesh.until(
          'a leader to have it all',
          () => (mesh.leader()?.journal.lines.length ?? -1) >= acked.length,
        )
        expect(mesh.leader()!.journal.lines).toEqual(acked)
      }
    } finally {
      await Promise.all([...mesh.peers.keys()].map(name => mesh.kill(name)))
      await rm(directory, { recursive: true })
    }
  })

  test('a planned hand-over moves leadership to a voter without waiting for a timeout', async () => {
    await mesh.grow(['a', 'b', 'c'])
    await mesh.propose('one')
    const old = mesh.leader()!
    expect(await old.log.handOver()).toBe(true)
    await mesh.until('a new leader', () => mesh.leader() !== undefined)
    expect(mesh.leader()!.id).not.toBe(old.id)
  })

  test('a command over the limit is refused and nothing is appended', async () => {
    await mesh.grow(['a'])
    const { lastIndex } = mesh.leader()!.log.status()
    const refused = await mesh
      .leader()!
      .log.propose(new Uint8Array(300_000))
      .catch((error: unknown) => error)
    expect(hasCode(refused, 'TOO_LARGE')).toBe(true)
    expect(mesh.leader()!.log.status().lastIndex).toBe(lastIndex)
  })
})
