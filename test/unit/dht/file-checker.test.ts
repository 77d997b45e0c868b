import { afterEach, expect, it } from 'vitest'
import { asFileId, asPeerId, pack, type PeerId } from '../../../src/base/index.ts'
import { blockIdOf, fileCheck, type CheckedFile } from '../../../src/dht/index.ts'
import { CHANNEL_LIMITS } from '../../../src/node/net/config.ts'
import { DhtMesh } from '../../support/dht-mesh.ts'

/** More than two answers take, when the blocks are named. */
const BLOCKS = 2_100
const PER_ENTRY = 60
const FILE = asFileId('f'.repeat(32))
const context = () => ({ index: 1_000, term: 1, timeMs: Date.now() })

let mesh: DhtMesh | undefined

afterEach(async () => {
  await mesh?.[Symbol.asyncDispose]()
  mesh = undefined
})

/** A file of blocks that only the log knows. */
async function started(others: readonly PeerId[] = []): Promise<DhtMesh> {
  const made = (mesh = await DhtMesh.start(['ada', 'bob', 'cyd']))
  const holders: PeerId[] = [...made.peers.values()].map(({ id }) => id).concat(others)
  made.apply({ type: 'begin-file', path: '/large', fileId: FILE, leaseMs: 60_000 })
  for (let at = 0; at < BLOCKS; at += PER_ENTRY) {
    const blocks = Array.from({ length: Math.min(PER_ENTRY, BLOCKS - at) }, (_, i) => ({
      index: at + i,
      blockId: blockIdOf(FILE, at + i, '0badcafe'),
      sizeBytes: 10,
      sha256: '0'.repeat(64),
      holders,
    }))
    made.apply({ type: 'add-blocks', fileId: FILE, blocks })
  }
  expect(made.apply({ type: 'commit-file', fileId: FILE, blockCount: BLOCKS })).toMatchObject({ ok: true })
  return made
}

it('names all blocks of a file that has more than one answer takes, each answer within a message', async () => {
  // As many, with ids as long, as there can be.
  const made = await started(Array.from({ length: 13 }, (_, i) => asPeerId(`${i}`.padStart(52, 'x'))))
  const request = { path: '/', blocks: true }
  const { head } = await made.peer('ada').transport.call(made.peer('bob').id, fileCheck, request)
  expect(pack(head).byteLength).toBeLessThan(CHANNEL_LIMITS.headBytesMax)
  expect(head.files[0]!.blocks!.length).toBeLessThan(BLOCKS)

  const found: CheckedFile[] = []
  for await (const file of made.client('ada').fsck('/', { blocks: true })) found.push(file)
  expect(found).toHaveLength(1)
  expect(found[0]!.blocks!.map(({ index }) => index)).toEqual(Array.from({ length: BLOCKS }, (_, i) => i))
})

it('counts blocks that all living peers hold as short, and none of them as under-replicated', async () => {
  const made = await started()
  made.kill('cyd')
  const found: CheckedFile[] = []
  for await (const file of made.client('ada').fsck('/large')) found.push(file)
  expect(found).toMatchObject([{ partitions: BLOCKS, short: BLOCKS, underReplicated: 0, missing: 0 }])
  expect(found[0]!.blocks).toBeUndefined()
})

it('goes through empty directories page by page, too, and loses no file between them', async () => {
  const made = await started()
  // Each answer looks at some 4,000 entries.
  for (let i = 0; i < 9_000; i++) made.namespace.apply({ type: 'mkdir', path: `/d${i}` }, context())
  made.namespace.apply({ type: 'mkdir', path: '/e/deep', parents: true }, context())
  for (const [i, path] of ['/d8999/in', '/e/deep/er'].entries()) {
    const fileId = asFileId(`${i}`.padStart(32, '0'))
    expect(made.namespace.apply({ type: 'touch', path, fileId, create: true }, context())).toMatchObject({
      ok: true,
    })
  }
  const request = { path: '/' }
  const { head } = await made.peer('ada').transport.call(made.peer('bob').id, fileCheck, request)
  expect(head).toMatchObject({ files: [], more: true, next: expect.stringMatching(/^\/d\d+$/) })
  const found: string[] = []
  for await (const { path } of made.client('ada').fsck('/')) found.push(path)
  expect(found).toEqual(['/d8999/in', '/e/deep/er', '/large'])
})
