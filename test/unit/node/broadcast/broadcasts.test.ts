import { mkdtempSync, readdirSync, truncateSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { asPeerId, bodyOf, silentLogger, type PeerId } from '../../../../src/base/index.ts'
import { BroadcastStore } from '../../../../src/node/broadcast/broadcast-store.ts'
import { Broadcasts } from '../../../../src/node/broadcast/index.ts'
import { fetchBroadcast, putBroadcast } from '../../../../src/node/broadcast/messages.ts'
import { SharedClient } from '../../../../src/node/jobs/shared-client.ts'
import type { MeshAccess } from '../../../../src/node/mesh-access.ts'
import { BROADCAST, type BroadcastRef, type Requester } from '../../../../src/rdd/index.ts'
import { chunkHashes } from '../../../../src/rdd/broadcast.ts'
import { SharedVariables } from '../../../../src/rdd/shared-variables.ts'
import { MemoryNetwork, type MemoryTransport } from '../../../support/memory-transport.ts'

const SESSION = 'session'
/** More than two pieces. */
const LARGE_BYTES = 2 * BROADCAST.chunkBytes + 1_000

let directory: string
let network: MemoryNetwork
let peers: Map<string, TestPeer>
let requester: TestRequester
const closing = new AbortController()

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'shoal-broadcast-'))
  network = new MemoryNetwork()
  peers = new Map()
  requester = new TestRequester('p1')
})

afterEach(async () => {
  for (const { broadcasts } of peers.values()) await broadcasts.close()
  await rm(directory, { recursive: true, force: true })
})

class TestPeer {
  readonly transport: MemoryTransport
  readonly broadcasts: Broadcasts
  /** Whom it asked for bytes, and from which piece on. */
  readonly asked: { peer: PeerId; chunk: number }[] = []

  constructor(name: string, memoryBytesMax = 1 << 30) {
    this.transport = network.join(name)
    const { transport } = this
    const call = transport.call.bind(transport)
    transport.call = async (to, type, head, options) => {
      if (type.name === fetchBroadcast.name) {
        const { isQuestion, chunk } = fetchBroadcast.request.parse(head)
        if (!isQuestion) this.asked.push({ peer: to, chunk })
      }
      return await call(to, type, head, options)
    }
    this.broadcasts = new Broadcasts({
      transport,
      deliver: async (to, type, head) => (await transport.call(asPeerId(to.client), type, head)).head,
      peers: () => [...peers.values()].map(peer => peer.transport.self),
      directory,
      memoryBytesMax,
      signal: closing.signal,
      log: silentLogger,
    })
    this.broadcasts.start()
    peers.set(name, this)
  }

  async read(ref: BroadcastRef): Promise<Uint8Array> {
    const [shared] = await this.broadcasts.ready([ref], SESSION, () => requester.place())
    return new Uint8Array(shared!.bytes)
  }

  kill(): void {
    peers.delete(this.transport.self)
    network.kill(this.transport.self)
  }
}

/** A client that is attached to one of the peers. */
class TestRequester {
  readonly transport = network.join('client', 'client')
  readonly variables = new SharedVariables({ drop: (...drop) => this.client.drop(...drop) })
  readonly client: SharedClient
  relay: string
  puts = 0

  constructor(relay: string) {
    this.relay = relay
    const { transport } = this
    const access: MeshAccess = {
      requester: () => this.place(),
      callLeader: () => Promise.reject(new Error('no leader here')),
      callPeer: () => Promise.reject(new Error('nobody else is asked')),
      callAttached: async (type, head, options) => {
        if (type.name === putBroadcast.name) this.puts += 1
        return await transport.call(asPeerId(this.relay), type, head, options)
      },
      handle: (type, handler) => transport.handle(type, handler),
      onLeaderChange() {},
      onReattached() {},
    }
    this.client = new SharedClient(access, SESSION, silentLogger)
    this.client.share(this.variables)
    this.client.start()
  }

  place(): Requester {
    return { client: this.transport.self, relay: this.relay, epoch: 0 }
  }

  async provide(ref: BroadcastRef): Promise<void> {
    await this.client.provide([ref], closing.signal)
  }
}

function largeValue(): Uint8Array {
  return new Uint8Array(LARGE_BYTES).map((_, i) => (i * 31) % 251)
}

describe('a broadcast', () => {
  test('is sent by its requester once, and taken by every other peer from peers', async () => {
    const all = ['p1', 'p2', 'p3', 'p4', 'p5'].map(name => new TestPeer(name))
    const { ref } = requester.variables.makeBroadcast(largeValue())
    const [bytes] = await Promise.all([...all.map(peer => peer.read(ref)), requester.provide(ref)])
    for (const peer of all) expect(Buffer.compare(await peer.read(ref), bytes as Uint8Array)).toBe(0)
    expect(requester.puts).toBe(1)
    expect(all[0]!.asked).toEqual([])
    await requester.provide(ref)
    expect(requester.puts).toBe(1)
  })

  test('is taken from a peer that has it, when the one that it was sent to is dead and the requester silent', async () => {
    const [first, second, third] = [new TestPeer('p1'), new TestPeer('p2'), new TestPeer('p3')]
    const { ref } = requester.variables.makeBroadcast(largeValue())
    await requester.provide(ref)
    const bytes = await second.read(ref)
    first.kill()
    network.kill(requester.transport.self)
    expect(Buffer.compare(await third.read(ref), bytes)).toBe(0)
    expect(third.asked.map(({ peer }) => peer)).toContain(second.transport.self)
  })

  test('goes on from another source at the piece where the first one broke off', async () => {
    const [second, third] = [new TestPeer('p2'), new TestPeer('p3')]
    const { ref } = requester.variables.makeBroadcast(largeValue())
    requester.relay = 'p2'
    await requester.provide(ref)
    const whole = await second.read(ref)
    requester.relay = 'p1'
    network.join('p1').handle(fetchBroadcast, async () => ({
      head: { state: 'here' as const, session: SESSION, generation: 0, sources: [second.transport.self] },
      body: (async function* () {
        yield new Uint8Array(whole.subarray(0, BROADCAST.chunkBytes + 5))
        throw new Error('killed')
      })(),
    }))
    expect(Buffer.compare(await third.read(ref), whole)).toBe(0)
    expect(third.asked).toEqual([
      { peer: 'p1', chunk: 0 },
      { peer: 'p2', chunk: 1 },
    ])
  })

  test('is never taken from a peer that gives other bytes', async () => {
    const [second, third] = [new TestPeer('p2'), new TestPeer('p3')]
    const { ref } = requester.variables.makeBroadcast(largeValue())
    requester.relay = 'p2'
    await requester.provide(ref)
    const whole = await second.read(ref)
    requester.relay = 'p1'
    network.join('p1').handle(fetchBroadcast, async () => ({
      head: { state: 'here' as const, session: SESSION, generation: 0, sources: [second.transport.self] },
      body: bodyOf(new Uint8Array(LARGE_BYTES)),
    }))
    expect(Buffer.compare(await third.read(ref), whole)).toBe(0)
    expect(third.asked.filter(({ peer }) => peer === 'p1')).toHaveLength(1)
  })

  test('is sent again by its requester when no peer has it any more', async () => {
    const first = new TestPeer('p1')
    const { ref } = requester.variables.makeBroadcast(largeValue())
    await requester.provide(ref)
    first.kill()
    const other = new TestPeer('p4')
    const second = new TestPeer('p2')
    // The requester is attached to another peer by now.
    requester.relay = 'p4'
    await second.read(ref)
    expect(requester.puts).toBe(2)
    expect(other.broadcasts.store.state(ref.id)).toBe('here')
  })

  test('that was destroyed is told as such, and one that nobody knows as lost', async () => {
    const [first, second] = [new TestPeer('p1'), new TestPeer('p2')]
    const broadcast = requester.variables.makeBroadcast('value')
    await requester.provide(broadcast.ref)
    await first.broadcasts.forget(broadcast.id, 0, true)
    await expect(second.read(broadcast.ref)).rejects.toMatchObject({ code: 'BROADCAST_DESTROYED' })
    await expect(first.read(broadcast.ref)).rejects.toMatchObject({ code: 'BROADCAST_DESTROYED' })
    await expect(second.read({ ...broadcast.ref, id: 'nobody/1' })).rejects.toMatchObject({
      code: 'BROADCAST_LOST',
    })
  })

  test('of a later generation stays when word comes late that an earlier one is to go', async () => {
    const [first, second] = [new TestPeer('p1'), new TestPeer('p2')]
    const broadcast = requester.variables.makeBroadcast('value')
    await requester.provide(broadcast.ref)
    await second.read(broadcast.ref)
    broadcast.unpersist()
    await requester.provide(broadcast.ref)
    expect(requester.puts).toBe(2)
    for (const { broadcasts } of [first, second]) await broadcasts.forget(broadcast.id, 0, false)
    expect(first.broadcasts.store.state(broadcast.id)).toBe('here')
    expect(second.broadcasts.store.state(broadcast.id)).toBeUndefined()
  })

  test('goes with its session', async () => {
    const first = new TestPeer('p1')
    const { ref } = requester.variables.makeBroadcast('value')
    await requester.provide(ref)
    expect(first.broadcasts.store.sessions()).toEqual([SESSION])
    expect(await first.broadcasts.dropSession(SESSION)).toEqual([ref.id])
    expect(first.broadcasts.store.state(ref.id)).toBeUndefined()
  })

  test('that arrives otherwise than its hashes say is refused', async () => {
    const first = new TestPeer('p1')
    const { ref } = requester.variables.makeBroadcast(largeValue())
    const sent = (bytes: Uint8Array): Promise<unknown> =>
      requester.transport.call(
        asPeerId('p1'),
        putBroadcast,
        { session: SESSION, generation: 0, ref },
        { body: bodyOf(bytes) },
      )
    await expect(sent(new Uint8Array(ref.sizeBytes))).rejects.toMatchObject({ code: 'BAD_MESSAGE' })
    await expect(sent(new Uint8Array(5))).rejects.toMatchObject({ code: 'BAD_MESSAGE' })
    expect(first.broadcasts.store.state(ref.id)).toBeUndefined()
  })
})

describe('the store', () => {
  function shared(seed: number): Uint8Array<SharedArrayBuffer> {
    return new Uint8Array(new SharedArrayBuffer(1_000)).fill(seed)
  }

  function refOf(bytes: Uint8Array): BroadcastRef {
    const { id } = requester.variables.makeBroadcast('for its id')
    return { id, sizeBytes: bytes.byteLength, chunks: chunkHashes(bytes) }
  }

  test('keeps what does not fit into memory on disk, gives the same bytes back, and loses what has rotted', async () => {
    const store = new BroadcastStore({ directory, memoryBytesMax: 1_500, peer: 'p' })
    const stored = [1, 2, 3].map(seed => ({ bytes: shared(seed), ref: refOf(shared(seed)) }))
    for (const { ref, bytes } of stored) await store.keep({ ref, session: SESSION, generation: 0 }, bytes)
    expect(store.memoryBytes).toBeLessThanOrEqual(1_500)
    expect(readdirSync(directory)).toHaveLength(2)
    for (const { ref, bytes } of stored) {
      expect(Buffer.compare((await store.bytes(ref.id))!, bytes)).toBe(0)
      expect(store.memoryBytes).toBeLessThanOrEqual(1_500)
      const pieces: Uint8Array[] = []
      for await (const piece of store.pieces(ref.id, 0)) pieces.push(piece)
      expect(Buffer.compare(Buffer.concat(pieces), bytes)).toBe(0)
    }
    for (const file of readdirSync(directory)) truncateSync(join(directory, file), 10)
    const [first] = stored
    expect(await store.bytes(first!.ref.id)).toBeUndefined()
    expect(store.state(first!.ref.id)).toBeUndefined()
    await store.dropSession(SESSION)
    expect(readdirSync(directory)).toEqual([])
    expect(store.memoryBytes).toBe(0)
  })
})
