import { describe, expect, it } from 'vitest'
import { asPeerId, pack } from '../../src/base/index.ts'
import type { PeerId } from '../../src/base/index.ts'
import { raftDefaults } from '../../src/gossip/config.ts'
import { emptyRaftState, genesisRaftState } from '../../src/gossip/raft-types.ts'
import type { RaftMessage } from '../../src/gossip/raft-types.ts'
import { FakeDisk } from './fake-disk.ts'
import { RaftChecker } from './raft-checker.ts'
import { RaftProgram } from './raft-program.ts'
import { World } from './world.ts'

const VOTERS = 5
const COMMAND_BYTES = 300
const FOR_MS = 5_000

interface Load {
  messages: number
  bytes: number
}

/** Counts what leaves the peer that leads for others directly; what goes by gossip costs it the same in any mesh. */
class MeteredChecker extends RaftChecker {
  readonly sent = new Map<PeerId, Load>()

  override said(from: PeerId, to: PeerId | undefined, message: RaftMessage): void {
    super.said(from, to, message)
    if (to === undefined) return
    const load = this.sent.get(from) ?? { messages: 0, bytes: 0 }
    load.messages++
    load.bytes += pack(message).length
    this.sent.set(from, load)
  }
}

/** What the leader of so many peers sends in a second, at rest and with so many writes a second. */
function leaderLoad(peers: number, writesPerSecond: number): Load {
  const world = new World(7)
  const checker = new MeteredChecker()
  const names = Array.from({ length: peers }, (_, index) => asPeerId(`p${index}`))
  const voters = names.slice(0, VOTERS)
  const programs = new Map<PeerId, RaftProgram>()
  for (const [index, name] of names.entries()) {
    const disk = new FakeDisk(index < VOTERS ? genesisRaftState(voters, 1_000) : emptyRaftState())
    world.add(name, around => {
      const program = new RaftProgram(around, { disk, checker, options: raftDefaults, flushMs: 5 })
      program.setLive(names.map(peerId => ({ peerId, host: peerId })))
      programs.set(name, program)
      return program
    })
  }
  const leader = (): RaftProgram | undefined => [...programs.values()].find(({ machine }) => machine.ready)
  expect(world.time.runUntilTrue(() => leader() !== undefined, 20_000)).toBe(true)
  world.time.runUntil(world.time.nowMs + 5_000)
  const leads = leader()!
  const before = { ...(checker.sent.get(leads.machine.self) ?? { messages: 0, bytes: 0 }) }
  let command = 0
  const untilMs = world.time.nowMs + FOR_MS
  const write = (): void => {
    if (world.time.nowMs >= untilMs) return
    leads.propose(++command, new Uint8Array(COMMAND_BYTES))
    world.time.after(1_000 / writesPerSecond, write)
  }
  if (writesPerSecond > 0) write()
  world.time.runUntil(untilMs)
  expect(leads.machine.ready).toBe(true)
  const { messages, bytes } = checker.sent.get(leads.machine.self)!
  return {
    messages: (messages - before.messages) / (FOR_MS / 1_000),
    bytes: (bytes - before.bytes) / (FOR_MS / 1_000),
  }
}

/** What docs/architecture.md says of it. */
describe('a leader that feeds all learners itself', () => {
  const PEERS = 40
  const WRITES = 50

  it('sends some fifty small messages a second at rest', () => {
    // To each of 4 voters each 300 ms, to each of 35 learners each 900 ms.
    const { messages, bytes } = leaderLoad(PEERS, 0)
    expect(messages).toBeLessThan(60)
    expect(bytes).toBeLessThan(4_000)
  })

  it('sends each write to each peer once, and once that it is committed', () => {
    const { messages, bytes } = leaderLoad(PEERS, WRITES)
    const perWriteAndPeer = (PEERS - 1) * WRITES
    expect(messages / perWriteAndPeer).toBeLessThan(2.2)
    expect(bytes / perWriteAndPeer).toBeLessThan(2 * COMMAND_BYTES)
  })
})
