import { afterEach, expect, test } from 'vitest'
import { asMeshId, asPeerId, pack, unpack } from '../../../src/base/index.ts'
import type { NamespaceCommand } from '../../../src/dht/index.ts'
import { ReplicatedLog } from '../../../src/gossip/raft-driver.ts'
import { ReplicatedState, type LogCommand } from '../../../src/node/replicated-state.machine.ts'
import { packParts, unpackParts } from '../../../src/node/state-bytes.ts'
import { MemoryNetwork } from '../../support/memory-transport.ts'
import { waitFor } from '../../support/wait-for.ts'
import { MemoryLogStore } from '../gossip/memory-log-store.ts'

const NAMES = ['a', 'b', 'c']
/** A fifth of the production timers. */
const RAFT = {
  tickMs: 20,
  heartbeatMs: 60,
  learnerHeartbeatMs: 180,
  electionMinMs: 300,
  electionMaxMs: 600,
  quorumWindowMs: 300,
}

interface Peer {
  name: string
  log: ReplicatedLog
  state: ReplicatedState
}

let network = new MemoryNetwork()
const peers: Peer[] = []

afterEach(async () => {
  for (const { log } of peers.splice(0)) await log.close()
  network = new MemoryNetwork()
})

async function start(): Promise<void> {
  for (const [at, name] of NAMES.entries()) {
    const transport = network.join(name)
    const state = new ReplicatedState()
    const log = await ReplicatedLog.start({
      transport,
      store: new MemoryLogStore(),
      stateMachine: {
        apply: (bytes, context) => state.apply(unpack(bytes) as LogCommand, context),
        snapshot: () => packParts(state.snapshot()),
        restore: bytes => state.restoring(unpackParts(bytes)),
      },
      meshId: asMeshId('00000000000000000000000000000001'),
      genesis: at === 0,
      raft: RAFT,
      voters: { stableMs: 50, silentMs: 500, replaceAfterMs: 60_000 },
    })
    peers.push({ name, log, state })
  }
  const live = peers.map(({ name }) => ({ peerId: asPeerId(name), host: name }))
  for (const { log } of peers) log.setPeers(live)
  await waitFor('three voters', () => leader()?.log.status().voters.length === 3)
  for (const [path, seq] of ['/from', '/to'].map((path, at) => [path, at + 1] as const))
    await propose(leader()!, { type: 'mkdir', path, session: { clientId: 'setup', seq } })
}

/** The one that leads the latest term. */
function leader(): Peer | undefined {
  return peers
    .filter(({ log }) => log.status().ready)
    .toSorted((a, b) => b.log.status().term - a.log.status().term)[0]
}

async function propose(peer: Peer, command: NamespaceCommand): Promise<unknown> {
  return (await peer.log.propose(pack({ part: 'dht', command }))).result
}

function cutOff(peer: Peer): void {
  for (const other of NAMES) if (other !== peer.name) network.block(peer.name, other)
}

/** Carried out twice it would answer NOT_FOUND the second time. */
const MOVE: NamespaceCommand = { type: 'mv', from: '/from', to: '/to', session: { clientId: 'c', seq: 1 } }
const MOVED = { ok: true, path: '/to/from' }

async function expectMovedOnceEverywhere(): Promise<void> {
  network.heal()
  const { lastIndex } = leader()!.log.status()
  await waitFor('all to have applied it', () => peers.every(({ log }) => log.asOf().index >= lastIndex))
  const [first, ...others] = peers.map(({ state }) => packParts(state.snapshot()))
  for (const other of others) expect(Buffer.from(other).equals(first!)).toBe(true)
  expect(peers[0]!.state.namespace.list('/to').map(({ path }) => path)).toEqual(['/to/from'])
}

test('a mutation whose answer was lost is answered alike by the next leader, and carried out once', async () => {
  await start()
  const old = leader()!
  expect(await propose(old, MOVE)).toEqual(MOVED)
  cutOff(old)
  const next = await waitFor('another leader', () => {
    const now = leader()
    return now !== undefined && now !== old ? now : undefined
  })
  expect(await propose(next, MOVE)).toEqual(MOVED)
  // Without its name it is another mutation.
  const { session: _, ...unnamed } = MOVE
  expect(await propose(next, unnamed as NamespaceCommand)).toMatchObject({
    ok: false,
    error: { code: 'NOT_FOUND' },
  })
  await expectMovedOnceEverywhere()
})

test('a mutation that was only appended when its leader was cut off ends as UNKNOWN_OUTCOME, never as a failure; the retry carries it out once', async () => {
  await start()
  const old = leader()!
  cutOff(old)
  await expect(propose(old, MOVE)).rejects.toMatchObject({ code: 'UNKNOWN_OUTCOME' })
  const next = await waitFor('another leader', () => {
    const now = leader()
    return now !== undefined && now !== old ? now : undefined
  })
  expect(await propose(next, MOVE)).toEqual(MOVED)
  await expectMovedOnceEverywhere()
  // The deposed one follows again and refuses without having appended anything: that is known.
  await expect(propose(old, MOVE)).rejects.toMatchObject({ code: 'NOT_LEADER' })
})
