import { createHash, randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { gossipsub } from '@chainsafe/libp2p-gossipsub'
import { identify } from '@libp2p/identify'
import type { Libp2p, PrivateKey } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { afterEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { asMeshId, asPeerId, bodyOf, message, pack, silentLogger } from '../../../../src/base/index.ts'
import type { Logger } from '../../../../src/base/index.ts'
import { Dispatcher } from '../../../../src/node/net/dispatcher.ts'
import { encodeFrame, FRAME } from '../../../../src/node/net/frame-codec.ts'
import { FRAME_PROTOCOL } from '../../../../src/node/net/hello.ts'
import { passingIdentity } from '../../../../src/node/net/identity.ts'
import { createHost } from '../../../../src/node/net/libp2p-host.ts'
import { PeerTransport } from '../../../../src/node/net/peer-transport.ts'
import type { PeerTransportOptions } from '../../../../src/node/net/peer-transport.ts'
import { transportContract } from '../../../support/transport-contract.ts'

const secret = randomBytes(32)
const meshId = asMeshId('0123456789abcdef0123456789abcdef')
const otherMeshId = asMeshId('fedcba9876543210fedcba9876543210')
const closers: (() => Promise<unknown>)[] = []

afterEach(async () => {
  await Promise.all(closers.splice(0).map(close => close()))
})

async function start(options: Partial<PeerTransportOptions> = {}): Promise<PeerTransport> {
  const transport = await PeerTransport.open({
    key: (await passingIdentity()).key,
    secret,
    role: 'peer',
    meshId,
    name: 'test',
    logger: silentLogger,
    ...options,
  })
  closers.push(() => transport.close())
  return transport
}

/** A node that has the mesh's secret but speaks as it likes. */
async function rawHost(key: PrivateKey): Promise<Libp2p> {
  const host = await createHost({ key, secret, role: 'client', listen: [], logger: silentLogger })
  closers.push(async () => host.stop())
  return host
}

const echo = message({
  name: 'test.echo',
  request: z.object({ n: z.number() }),
  reply: z.object({ n: z.number() }),
  from: 'everyone',
})
const stream = message({
  name: 'test.stream',
  request: z.object({}),
  reply: z.object({}),
  from: 'everyone',
  bodyClass: 'replica',
})

describe('a peer that is starting', () => {
  test('lets requests wait for their handlers, and calls a type unknown only when all are there', async () => {
    const starting = await start({ handlersFollow: true })
    const client = await start({ role: 'client', listen: [] })
    client.addAddresses(starting.self, starting.addresses())
    let settled = 0
    const early = client.call(starting.self, echo, { n: 7 }).finally(() => settled++)
    const unknown = client.call(starting.self, stream, {}).then(
      () => 'answered',
      (error: { code: string }) => error.code,
    )
    await until(() => starting.connections().length > 0)
    const known = message({
      name: 'test.known',
      request: z.object({}),
      reply: z.object({}),
      from: 'everyone',
    })
    starting.handle(known, () => ({}))
    // What has a handler is answered at once; it left after the others.
    await client.call(starting.self, known, {})
    expect(settled).toBe(0)
    starting.handle(echo, ({ head }) => ({ n: head.n + 1 }))
    starting.handlersComplete()
    expect((await early).head).toEqual({ n: 8 })
    expect(await unknown).toBe('UNKNOWN_MESSAGE')
  })

  test('says BUSY when handlers do not come, or too many wait for them', async () => {
    const dispatcher = new Dispatcher(true, { waitMs: 50, waitingMax: 2 })
    const ask = () =>
      dispatcher
        .dispatch({
          type: 'test.echo',
          head: pack({ n: 1 }),
          from: asPeerId('x'),
          fromClient: false,
          body: bodyOf(),
          signal: new AbortController().signal,
        })
        .then(
          () => 'answered',
          (error: { code: string }) => error.code,
        )
    const [first, second] = [ask(), ask()]
    expect(await ask()).toBe('BUSY')
    expect(await Promise.all([first, second])).toEqual(['BUSY', 'BUSY'])
    const third = ask()
    dispatcher.handle(echo, ({ head }) => head)
    dispatcher.complete()
    expect(await third).toBe('answered')
  })
})

async function until(condition: () => boolean, timeoutMs = 8_000): Promise<void> {
  const endMs = performance.now() + timeoutMs
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`not so after ${timeoutMs} ms: ${condition.toString()}`)
    await new Promise(resolve => {
      setTimeout(resolve, 5)
    })
  }
}

/** What a transport logged at `warn`. */
function recorder(): { logger: Logger; warnings: string[] } {
  const warnings: string[] = []
  const logger: Logger = {
    ...silentLogger,
    warn: (fields, text) => warnings.push(`${text} ${JSON.stringify(fields)}`),
    child: () => logger,
  }
  return { logger, warnings }
}

transportContract('libp2p', async () => {
  const [a, b, client] = await Promise.all([start(), start(), start({ role: 'client', meshId: undefined })])
  a.addAddresses(b.self, b.addresses())
  client.addAddresses(b.self, b.addresses())
  return { a, b, client, killB: () => b.close(), [Symbol.asyncDispose]: () => Promise.resolve() }
})

describe('peer transport', () => {
  test('64 MiB go there and come back at once, whole, over TLS', async () => {
    const [a, b] = await Promise.all([start(), start()])
    a.addAddresses(b.self, b.addresses())
    b.handle(stream, ({ body }) => Promise.resolve({ head: {}, body }))
    const piece = randomBytes(1 << 20)
    const sent = createHash('sha256')
    const body = (async function* () {
      for (let i = 0; i < 64; i++) {
        sent.update(piece)
        yield piece
      }
    })()
    const reply = await a.call(b.self, stream, {}, { body })
    const received = createHash('sha256')
    let bytes = 0
    for await (const chunk of reply.body) {
      received.update(chunk)
      bytes += chunk.byteLength
    }
    expect(bytes).toBe(64 << 20)
    expect(received.digest('hex')).toBe(sent.digest('hex'))
  })

  test('two that dial each other at the same moment both get through', async () => {
    const [a, b] = await Promise.all([start(), start()])
    for (const peer of [a, b]) peer.handle(echo, ({ head }) => head)
    a.addAddresses(b.self, b.addresses())
    b.addAddresses(a.self, a.addresses())
    const calls = Array.from({ length: 20 }, (_, n) => [
      a.call(b.self, echo, { n }),
      b.call(a.self, echo, { n }),
    ])
    const replies = await Promise.all(calls.flat())
    expect(replies.map(({ head }) => head.n)).toEqual(Array.from({ length: 40 }, (_, i) => Math.floor(i / 2)))
    expect(a.connections()).toEqual([{ peer: b.self, role: 'peer', name: 'test' }])
  })

  test('an outsider with a wrong secret is refused, in both dial directions, and the member says why', async () => {
    const { logger, warnings } = recorder()
    const member = await start({ logger })
    const outsider = await start({ secret: randomBytes(32) })
    const opened: string[] = []
    member.onConnection(peer => opened.push(peer))
    outsider.onConnection(peer => opened.push(peer))
    for (const [from, to] of [
      [outsider, member],
      [member, outsider],
    ] as const) {
      await expect(from.dialAddress(to.addresses()[0]!)).rejects.toMatchObject({ code: 'NOT_ADMITTED' })
      from.addAddresses(to.self, to.addresses())
      await expect(from.call(to.self, echo, { n: 1 })).rejects.toMatchObject({ code: 'NOT_ADMITTED' })
    }
    expect(opened).toEqual([])
    expect(warnings.length).toBeGreaterThanOrEqual(2)
    expect(warnings[0]).toContain('does not hold the secret')
    expect(warnings[0]).toContain(outsider.self)
  })

  test('an outsider without the admission step gets no connection at all', async () => {
    const member = await start()
    const opened: string[] = []
    member.onConnection(peer => opened.push(peer))
    const outsider = await createLibp2p({
      transports: [tcp()],
      connectionEncrypters: [tls()],
      streamMuxers: [yamux()],
      services: { identify: identify(), pubsub: gossipsub() },
    })
    closers.push(async () => outsider.stop())
    await expect(outsider.dial(multiaddr(member.addresses()[0]))).rejects.toThrow()
    expect(opened).toEqual([])
    expect(outsider.getConnections()).toEqual([])
  })

  test('a peer of another mesh is refused with MESH_MISMATCH, and its connection closed', async () => {
    const mine = await start()
    const other = await start({ meshId: otherMeshId })
    await expect(other.dialAddress(mine.addresses()[0]!)).rejects.toMatchObject({
      code: 'MESH_MISMATCH',
    })
    expect(mine.connections()).toEqual([])
    expect(other.connections()).toEqual([])
    // Gossip shares the connection, so that must be gone as well.
    const heard: string[] = []
    mine.subscribe('t', () => heard.push('mine'))
    other.subscribe('t', () => heard.push('other'))
    mine.publish('t', Buffer.from('x'))
    other.publish('t', Buffer.from('x'))
    const probe = await start()
    probe.subscribe('t', () => heard.push('probe'))
    await probe.dialAddress(mine.addresses()[0]!)
    let tries = 0
    await until(() => {
      if (tries++ % 20 === 0) other.publish('t', Buffer.from('y'))
      if (tries % 20 === 10) mine.publish('t', Buffer.from('z'))
      return heard.includes('probe')
    })
    expect(new Set(heard)).toEqual(new Set(['probe']))
  })

  test('who does not know its mesh yet learns it from the first peer', async () => {
    const member = await start()
    const client = await start({ role: 'client', meshId: undefined, name: 'repl' })
    expect(await client.dialAddress(member.addresses()[0]!)).toBe(member.self)
    expect(client.meshId).toBe(meshId)
    await until(() => member.connections().length === 1)
    expect(member.connections()).toEqual([{ peer: client.self, role: 'client', name: 'repl' }])
  })

  test('a client listens nowhere and takes no part in gossip', async () => {
    const client = await start({ role: 'client', listen: ['/ip4/127.0.0.1/tcp/0'] })
    expect(client.addresses()).toEqual([])
    expect(() => client.publish('t', new Uint8Array(1))).toThrow(
      expect.objectContaining({ code: 'NOT_ADMITTED' }),
    )
    expect(() => client.subscribe('t', () => undefined)).toThrow(
      expect.objectContaining({ code: 'NOT_ADMITTED' }),
    )
  })

  test('a taken port is PORT_TAKEN with its address, what is no address CONFIG_INVALID', async () => {
    const first = await start()
    const address = first.addresses()[0]!.split('/p2p/')[0]!
    await expect(start({ listen: [address] })).rejects.toMatchObject({
      code: 'PORT_TAKEN',
      details: { address },
    })
    await expect(start({ listen: ['here'] })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await expect(first.dialAddress('there')).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  test('nobody there is UNREACHABLE, and so is a peer without known address', async () => {
    const [a, gone] = await Promise.all([start(), start()])
    const [address] = gone.addresses()
    await gone.close()
    await expect(a.dialAddress(address!)).rejects.toMatchObject({ code: 'UNREACHABLE' })
    await expect(a.call(gone.self, echo, { n: 1 })).rejects.toMatchObject({ code: 'UNREACHABLE' })
    await expect(a.call(asPeerId('nonsense'), echo, { n: 1 })).rejects.toMatchObject({ code: 'UNREACHABLE' })
  })

  test('an address at which another peer answers is UNREACHABLE, not taken for the one that was meant', async () => {
    const [a, b] = await Promise.all([start(), start()])
    const absent = await passingIdentity()
    b.handle(echo, ({ head }) => head)
    a.addAddresses(absent.id, [b.addresses()[0]!.split('/p2p/')[0]!])
    await expect(a.call(absent.id, echo, { n: 1 })).rejects.toMatchObject({ code: 'UNREACHABLE' })
  })

  test('garbage on the protocol stream closes that stream and harms nothing else', async () => {
    const { logger, warnings } = recorder()
    const member = await start({ logger })
    const healthy = await start()
    member.handle(echo, ({ head }) => head)
    healthy.addAddresses(member.self, member.addresses())
    await healthy.call(member.self, echo, { n: 1 })
    const raw = await rawHost((await passingIdentity()).key)
    const tooLong = encodeFrame(FRAME.hello, 0)
    tooLong.fill(0xff, 0, 4)
    for (const bytes of [randomBytes(5_000), Buffer.from('GET / HTTP/1.1\r\n\r\n'), tooLong]) {
      const connection = await raw.dial(multiaddr(member.addresses()[0]))
      const stream = await connection.newStream(FRAME_PROTOCOL)
      const ended = new Promise(resolve => {
        stream.addEventListener('close', resolve)
        stream.addEventListener('remoteCloseWrite', resolve)
      })
      stream.send(bytes)
      await ended
    }
    await until(() => warnings.length === 3)
    expect((await healthy.call(member.self, echo, { n: 2 })).head.n).toBe(2)
    expect(member.connections().map(({ peer }) => peer)).toEqual([healthy.self])
  })

  test('garbage on the bare port does not harm either', async () => {
    const member = await start()
    const port = Number(member.addresses()[0]!.split('/')[4])
    await new Promise(resolve => {
      const socket = connect(port, '127.0.0.1', () => socket.write(randomBytes(2000)))
      socket.on('error', () => undefined)
      socket.on('close', resolve)
    })
    const other = await start()
    expect(await other.dialAddress(member.addresses()[0]!)).toBe(member.self)
  })

  test('a peer that comes back at its address is dialled again without being called', async () => {
    const { key } = await passingIdentity()
    const a = await start()
    const first = await start({ key })
    const [address] = first.addresses()
    const states: string[] = []
    a.onConnection((peer, state) => {
      if (peer === first.self) states.push(state)
    })
    a.addAddresses(first.self, [address!])
    await until(() => states.length === 1)
    await first.close()
    await until(() => states.length === 2)
    const second = await start({ key, listen: [address!.split('/p2p/')[0]!] })
    second.handle(echo, ({ head }) => head)
    await until(() => states.length === 3)
    expect(states).toEqual(['open', 'closed', 'open'])
    expect((await a.call(second.self, echo, { n: 3 })).head.n).toBe(3)
  })

  test('only wanted peers are dialled again', async () => {
    const [a, b, c] = await Promise.all([start({ limits: { redialIntervalMs: 20 } }), start(), start()])
    a.setWantedPeers(() => [b.self])
    a.addAddresses(b.self, b.addresses())
    a.addAddresses(c.self, c.addresses())
    await until(() => a.connections().length === 1)
    // Several rounds later there is still only that one.
    await new Promise(resolve => {
      setTimeout(resolve, 150)
    })
    expect(a.connections().map(({ peer }) => peer)).toEqual([b.self])
  })

  test('whoever was dialled knows afterwards where the dialler listens', async () => {
    const [a, b] = await Promise.all([start(), start()])
    await a.dialAddress(b.addresses()[0]!)
    await until(() => b.connections().length === 1)
    expect(b.addressesOf(a.self)).toEqual(a.addresses())
  })

  test('one-way messages sent before there is a connection arrive in order; those to nobody are dropped', async () => {
    const [a, b] = await Promise.all([start(), start()])
    const seen: number[] = []
    const note = message({
      name: 'test.note',
      request: z.object({ n: z.number() }),
      reply: z.void(),
      from: 'peers',
    })
    b.handle(note, ({ head }) => {
      seen.push(head.n)
    })
    a.send(asPeerId('nobody'), note, { n: -1 })
    a.addAddresses(b.self, b.addresses())
    for (let n = 0; n < 30; n++) a.send(b.self, note, { n })
    await until(() => a.connections().length === 1)
    a.send(b.self, note, { n: 30 })
    await until(() => seen.length === 31)
    expect(seen).toEqual(Array.from({ length: 31 }, (_, n) => n))
  })

  test('a one-way message that is too large is refused to its sender, whether there is a connection or not', async () => {
    const [a, b] = await Promise.all([start(), start()])
    const note = message({
      name: 'test.note',
      request: z.object({ text: z.string() }),
      reply: z.void(),
      from: 'peers',
    })
    const send = (): void => a.send(b.self, note, { text: 'x'.repeat(2 << 20) })
    a.addAddresses(b.self, b.addresses())
    expect(send).toThrow(/head of test.note/)
    await a.dialAddress(b.addresses()[0]!)
    expect(send).toThrow(/head of test.note/)
  })

  test('gossip reaches peers that are not connected to its author, under the name of the author', async () => {
    const [a, b, c] = await Promise.all([start(), start(), start()])
    const heard: string[] = []
    a.subscribe('news', () => undefined)
    b.subscribe('news', () => undefined)
    c.subscribe('news', (from, data) => heard.push(`${from} ${Buffer.from(data).toString()}`))
    await a.dialAddress(b.addresses()[0]!)
    await c.dialAddress(b.addresses()[0]!)
    let tries = 0
    await until(() => {
      if (tries++ % 40 === 0) a.publish('news', Buffer.from('far'))
      return heard.length > 0
    })
    expect(heard[0]).toBe(`${a.self} far`)
    expect(c.connections().map(({ peer }) => peer)).toEqual([b.self])
    expect(() => a.publish('news', new Uint8Array(100_000))).toThrow(
      expect.objectContaining({ code: 'TOO_LARGE' }),
    )
  })
})
