import { afterEach, expect, it } from 'vitest'
import { hasCode, type ErrorCode } from '../../../src/base/index.ts'
import { RepairDriver, type RepairMember } from '../../../src/dht/index.ts'
import { bytesOf, chunked, DhtMesh, eventually } from '../../support/dht-mesh.ts'

/** Trash, quotas, snapshots, copies and metadata through the client's door, against peers with real disks. */

let mesh: DhtMesh
let repair: RepairDriver | undefined
afterEach(async () => {
  repair?.stop()
  repair = undefined
  await mesh[Symbol.asyncDispose]()
})

const coded = (code: ErrorCode) => (error: unknown) => hasCode(error, code)
const text = (letters: string): Buffer => Buffer.from(letters)

function lead(name: string, trashAgeMs: number): void {
  const { ports, service } = mesh.peer(name)
  const driver = new RepairDriver(
    { ...ports, askToCopy: (peer, request, options) => service.askToCopy(peer, request, options) },
    { graceMs: 0, retryMs: 20, tickMs: 10, leaseSweepMs: 20, trashAgeMs },
  )
  repair = driver
  mesh.listeners.push(command => driver.onApplied(command))
  driver.start(mesh.ring().map((peer): RepairMember => ({ ...peer, state: 'alive' })))
}

it('brings back from the trash what rm took, and takes for good what skips it or is expunged', async () => {
  mesh = await DhtMesh.start(['ada', 'bob', 'cyd'])
  const fs = mesh.client('ada')
  await fs.put('/d/f', chunked(text('one\n')), { parents: true })
  const { trash } = await fs.rm('/d', { recursive: true })
  expect(trash).toMatch(/^\/\.trash\/\d+\/d$/)
  await expect(fs.stat('/d')).rejects.toSatisfy(coded('NOT_FOUND'))
  expect(await fs.trash()).toMatchObject([
    { path: '/d', trashPath: trash, type: 'directory', files: 1, sizeBytes: 4 },
  ])
  expect(await bytesOf(fs.get(`${trash}/f`))).toEqual(text('one\n'))
  expect(await fs.undelete('/d/f', { to: '/back/f' })).toMatchObject({ path: '/back/f' })
  expect(await bytesOf(fs.get('/back/f'))).toEqual(text('one\n'))
  expect(await fs.undelete('/d')).toMatchObject({ path: '/d' })
  expect(await fs.ls('/d')).toEqual([])
  await fs.rm('/back/f', { skipTrash: true })
  expect(await fs.trash()).toEqual([])
  await fs.rm('/back')
  expect(await fs.expunge()).toEqual({ entries: 1, files: 0 })
  await expect(fs.undelete('/back')).rejects.toSatisfy(coded('NOT_FOUND'))
})

it('empties the trash by itself when its time has come, and the copies go with it', async () => {
  mesh = await DhtMesh.start(['ada', 'bob', 'cyd'])
  const fs = mesh.client('ada')
  await fs.put('/f', chunked(text('gone soon\n')))
  await fs.rm('/f')
  lead('ada', 240)
  expect(mesh.namespace.trash()).toHaveLength(1)
  await eventually('the trash is looked at', () => mesh.applied.some(command => command.type === 'expunge'))
  mesh.aheadMs += 1_000
  await eventually('the trash is empty', () => mesh.namespace.trash().length === 0)
  expect(mesh.namespace.slotsWithData()).toEqual([])
})

it('reads a snapshot as it was, while the directory goes on, and its blocks stay as long as it', async () => {
  mesh = await DhtMesh.start(['ada', 'bob', 'cyd'])
  const fs = mesh.client('ada')
  await fs.put('/d/f', chunked(text('old\n')), { parents: true })
  expect(await fs.createSnapshot('/d', 'monday')).toMatchObject({ path: '/d/.snapshot/monday' })
  await fs.put('/d/f', chunked(text('newer\n')), { overwrite: true })
  await fs.rm('/d/f', { skipTrash: true })
  await fs.renameSnapshot('/d', 'monday', 'then')
  expect(await fs.snapshots('/d')).toMatchObject([{ name: 'then', path: '/d/.snapshot/then' }])
  expect((await fs.ls('/d/.snapshot')).map(entry => entry.name)).toEqual(['then'])
  const { ports, service } = mesh.peer('bob')
  expect(await service.collectOrphans()).toMatchObject({ deleted: 0 })
  expect(await bytesOf(fs.get('/d/.snapshot/then/f'))).toEqual(text('old\n'))
  expect((await fs.locate('/d/.snapshot/then/f')).partitions[0]).toMatchObject({ live: 3, wanted: 3 })
  await expect(fs.rm('/d', { recursive: true })).rejects.toSatisfy(coded('HAS_SNAPSHOTS'))
  await expect(fs.put('/d/.snapshot/then/g', chunked(text('x')))).rejects.toSatisfy(coded('READ_ONLY'))
  await fs.deleteSnapshot('/d', 'then')
  await expect(fs.stat('/d/.snapshot/then')).rejects.toSatisfy(coded('NOT_FOUND'))
  expect(ports.namespace().slotsWithData()).toEqual([])
})

it('makes and drops copies when another number of them is wanted', async () => {
  mesh = await DhtMesh.start(['ada', 'bob', 'cyd', 'dan'])
  const fs = mesh.client('ada')
  await fs.put('/d/f', chunked(new Uint8Array(5_000)), {
    parents: true,
    partitionBytes: 1_000,
    format: 'binary',
  })
  lead('ada', 86_400_000)
  const copies = (): number[] => mesh.namespace.blocksOf('/d/f').map(block => block.holders.length)
  await expect(fs.setReplication('/d', 4)).rejects.toSatisfy(coded('IS_A_DIRECTORY'))
  expect(await fs.setReplication('/d', 4, { recursive: true })).toMatchObject({ files: 1 })
  await eventually('four copies', () => copies().every(count => count === 4), 10_000)
  await fs.setReplication('/d/f', 2)
  await eventually('two copies', () => copies().every(count => count === 2), 10_000)
})

it('keeps quotas, attributes and times, and shows them', async () => {
  mesh = await DhtMesh.start(['ada', 'bob', 'cyd'])
  const fs = mesh.client('ada')
  await fs.mkdir('/q')
  await fs.setQuota('/q', { bytes: 30, names: 3 })
  await fs.put('/q/f', chunked(text('0123456789')))
  await expect(fs.put('/q/g', chunked(text('0')))).rejects.toSatisfy(coded('QUOTA_EXCEEDED'))
  expect(await fs.quota('/q')).toEqual({
    path: '/q',
    names: { limit: 3, used: 2 },
    bytes: { limit: 30, used: 30 },
  })
  expect(await fs.touch('/q/empty', { modifiedMs: 5 })).toMatchObject({ created: true })
  expect(await fs.stat('/q/empty')).toMatchObject({ sizeBytes: 0, modifiedMs: 5 })
  await expect(fs.touch('/q/more')).rejects.toSatisfy(coded('QUOTA_EXCEEDED'))
  await fs.setQuota('/q', { bytes: null, names: null })
  expect(await fs.touch('/q/empty')).toMatchObject({ created: false })
  expect(await fs.setAttributes('/q', { mode: 0o750, owner: 'mia', recursive: true })).toMatchObject({
    entries: 3,
  })
  expect(await fs.stat('/q/f')).toMatchObject({ mode: 0o750, owner: 'mia' })
  await fs.setAttributes('/q/f', { owner: '' })
  expect(await fs.stat('/q/f')).not.toHaveProperty('owner')
})

it('names the writes that were begun, and the blocks of the one with a token', async () => {
  mesh = await DhtMesh.start(['ada', 'bob', 'cyd'])
  const { ports, service } = mesh.peer('ada')
  const fs = mesh.client('ada')
  const open = await service.writeOpen('/plain', chunked(text('abc\n')), { leaseMs: 60_000 })
  expect(await fs.openWrites('/')).toMatchObject([
    { path: '/plain', fileId: open.fileId, append: false, blockCount: 1 },
  ])
  const fileId = open.fileId.replace(/^./, digit => (digit === '0' ? '1' : '0')) as typeof open.fileId
  await ports.propose({ type: 'begin-file', path: '/up', fileId, leaseMs: 60_000, token: 'mine' })
  expect(await fs.openWrites('/up', { token: 'mine' })).toMatchObject([{ token: 'mine', blocks: [] }])
  expect(await fs.openWrites('/up', { token: 'other' })).toEqual([])
})
