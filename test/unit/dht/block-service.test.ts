import { afterEach, describe, expect, it } from 'vitest'
import { asBlockId, asFileId, asPeerId, hasCode, type ErrorCode } from '../../../src/base/index.ts'
import { blockIdOf } from '../../../src/dht/index.ts'
import { blockCopy, blockDelete, blockInventory, blockRead, blockWrite } from '../../../src/dht/messages.ts'
import { bytesOf, chunked, DhtMesh } from '../../support/dht-mesh.ts'

const BYTES = Buffer.from('some bytes of a block')
const FILE = asFileId('0123456789abcdef0123456789abcdef')
const BLOCK = blockIdOf(FILE, 0, 'a1')

let mesh: DhtMesh
afterEach(async () => mesh[Symbol.asyncDispose]())

const coded = (code: ErrorCode) => (error: unknown) => hasCode(error, code)

describe('block service', () => {
  it('takes replicas only under a lease that it knows, or cannot know yet', async () => {
    mesh = await DhtMesh.start(['ada', 'bob', 'cyd'])
    const { transport, ports } = mesh.peer('ada')
    const bob = mesh.peer('bob')
    const write = async (leaseIndex: number) =>
      (
        await transport.call(
          bob.id,
          blockWrite,
          { blockId: BLOCK, path: '/f', leaseIndex },
          { body: chunked(BYTES) },
        )
      ).head
    await expect(write(ports.appliedIndex())).rejects.toSatisfy(coded('LEASE_LOST'))
    expect(bob.store.list()).toEqual([])
    mesh.apply({ type: 'begin-file', path: '/f', fileId: FILE, leaseMs: 60_000 })
    expect(await write(ports.appliedIndex())).toMatchObject({ bytes: BYTES.length, durable: true })
    mesh.apply({ type: 'abandon-file', fileId: FILE })
    await expect(write(ports.appliedIndex())).rejects.toSatisfy(coded('LEASE_LOST'))
    expect(await write(ports.appliedIndex() + 1)).toMatchObject({ durable: true })
  })

  it('keeps nothing of a replica whose sender died', async () => {
    mesh = await DhtMesh.start(['ada', 'bob', 'cyd'])
    mesh.apply({ type: 'begin-file', path: '/f', fileId: FILE, leaseMs: 60_000 })
    async function* half() {
      yield BYTES
      mesh.kill('ada')
      yield BYTES
    }
    const { transport, ports } = mesh.peer('ada')
    const head = { blockId: BLOCK, path: '/f', leaseIndex: ports.appliedIndex() }
    await expect(transport.call(mesh.peer('bob').id, blockWrite, head, { body: half() })).rejects.toSatisfy(
      coded('CONNECTION_LOST'),
    )
    expect(mesh.peer('bob').store.list()).toEqual([])
  })

  it('deletes a copy on request only when it is one too many by its own, new enough, state', async () => {
    mesh = await DhtMesh.start(['ada', 'bob', 'cyd', 'dan'])
    await mesh.client('ada').put('/f', chunked(BYTES))
    const { blockId, holders } = mesh.namespace.blocksOf('/f')[0]!
    const stranger = mesh.peer(['ada', 'bob', 'cyd', 'dan'].find(name => !holders.includes(asPeerId(name)))!)
    await stranger.store.write(blockId, chunked(BYTES))
    const { transport, ports } = mesh.peer('ada')
    const ask = async (peer: string, appliedIndex: number, block = blockId) =>
      (await transport.call(asPeerId(peer), blockDelete, { blockId: block, appliedIndex })).head.deleted
    expect(await ask(holders[0]!, ports.appliedIndex())).toBe(false)
    expect(await ask(stranger.name, ports.appliedIndex() + 1)).toBe(false)
    expect(await ask(stranger.name, ports.appliedIndex())).toBe(true)
    expect(stranger.store.list()).toEqual([])
    // Of no file: that is for the collector, which gives readers time.
    await stranger.store.write(BLOCK, chunked(BYTES))
    expect(await ask(stranger.name, ports.appliedIndex(), BLOCK)).toBe(false)
  })

  it('reads ranges, and says when it has no such block', async () => {
    mesh = await DhtMesh.start(['ada', 'bob'])
    await mesh.peer('bob').store.write(BLOCK, chunked(BYTES))
    const { transport } = mesh.peer('ada')
    const { id } = mesh.peer('bob')
    const reply = await transport.call(id, blockRead, { blockId: BLOCK, start: 5, end: 10 })
    expect(reply.head).toEqual({ bytes: 5 })
    expect(String(await bytesOf(reply.body))).toBe('bytes')
    await expect(transport.call(id, blockRead, { blockId: blockIdOf(FILE, 9, '1') })).rejects.toSatisfy(
      coded('NOT_FOUND'),
    )
  })

  it('pages through its inventory', async () => {
    mesh = await DhtMesh.start(['ada', 'bob'])
    const ids = [0, 1, 2, 3, 4].map(index => blockIdOf(FILE, index, '1'))
    for (const id of ids) await mesh.peer('bob').store.write(id, chunked(BYTES))
    const { transport } = mesh.peer('ada')
    const seen: string[] = []
    for (;;) {
      const startAfter = seen.at(-1)
      const from = startAfter === undefined ? {} : { startAfter: asBlockId(startAfter) }
      const { head } = await transport.call(mesh.peer('bob').id, blockInventory, { ...from, limit: 2 })
      seen.push(...head.blocks.map(block => block.blockId))
      if (!head.more) break
    }
    expect(seen).toEqual(ids)
  })

  it('names the sources it tried when no copy can be had, and keeps nothing of a wrong one', async () => {
    mesh = await DhtMesh.start(['ada', 'bob', 'cyd'])
    await mesh.peer('bob').store.write(BLOCK, chunked(Buffer.from('other bytes')))
    const head = {
      blockId: BLOCK,
      bytes: BYTES.length,
      sha256: '0'.repeat(64),
      from: [asPeerId('bob'), asPeerId('ada')],
    }
    const copy = mesh.peer('ada').transport.call(mesh.peer('cyd').id, blockCopy, head)
    await expect(copy).rejects.toSatisfy(coded('BLOCK_UNAVAILABLE'))
    const error = (await copy.catch((error: unknown) => error)) as { details: { tried: string[] } }
    expect(error.details.tried).toEqual(['bob', 'ada'])
    expect(mesh.peer('cyd').store.list()).toEqual([])
  })

  it('lets go of the bytes of a copy that its full disk refuses before it reads any', async () => {
    mesh = await DhtMesh.start(['ada', 'bob'])
    const stored = await mesh.peer('ada').store.write(BLOCK, chunked(BYTES))
    const { transport } = mesh.peer('bob').ports
    let letGo = 0
    const call = transport.call.bind(transport)
    transport.call = async (...asked) => {
      const reply = await call(...asked)
      const source = reply.body[Symbol.asyncIterator]()
      const body = {
        next: () => source.next(),
        return: async () => {
          letGo++
          return { value: undefined, done: true as const }
        },
        [Symbol.asyncIterator]: () => body,
      }
      return { ...reply, body }
    }
    mesh.peer('bob').fs.setFree(0)
    const { sizeBytes, sha256 } = stored
    const copy = mesh.peer('bob').service.askToCopy(mesh.peer('bob').id, {
      blockId: BLOCK,
      bytes: sizeBytes,
      sha256,
      from: [mesh.peer('ada').id],
    })
    await expect(copy).rejects.toThrow(/full/)
    expect(letGo).toBe(1)
  })

  it('refuses block ids that are paths, and clients that act as peers', async () => {
    mesh = await DhtMesh.start(['ada', 'bob'])
    const { transport } = mesh.peer('ada')
    const blockId = asBlockId('../../meta/log')
    await expect(transport.call(mesh.peer('bob').id, blockRead, { blockId })).rejects.toSatisfy(
      coded('BAD_MESSAGE'),
    )
    const client = mesh.network.join('a-client', 'client')
    for (const attempt of [
      client.call(mesh.peer('bob').id, blockRead, { blockId: BLOCK }),
      client.call(mesh.peer('bob').id, blockDelete, { blockId: BLOCK, appliedIndex: 0 }),
    ]) {
      await expect(attempt).rejects.toSatisfy(coded('NOT_ADMITTED'))
    }
  })
})
