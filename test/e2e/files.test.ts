import { createHash, randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { bytesOf, gatherBytes, textOf } from '../support/file-bytes.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

const KIB = 1024
const MIB = 1024 * KIB

/** Repair begins a second after a death is declared, not after half a minute. */
const cluster = useCluster(4, { repair: { graceMs: 1_000 } })

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

describe('what goes in comes out, byte for byte', () => {
  const longLine = Buffer.concat([Buffer.alloc(300 * KIB, 'x'), Buffer.from('\nshort\n')])
  const invalidUtf8 = Buffer.from([0x66, 0xff, 0xfe, 0x0a, 0xc3, 0x28, 0x0a, 0x00, 0x80, 0x0a])
  const cases: [
    name: string,
    bytes: Buffer,
    options?: { partitionBytes?: number; format?: 'lines' | 'binary' },
  ][] = [
    ['an empty file', Buffer.alloc(0)],
    ['one newline', Buffer.from('\n')],
    ['a file without a final newline', Buffer.from('one\ntwo')],
    ['a line longer than a partition', longLine, { partitionBytes: 64 * KIB }],
    ['bytes that are no UTF-8', invalidUtf8],
    ['carriage returns', Buffer.from('one\r\ntwo\r\n')],
    ['20 MB of random bytes', randomBytes(20_000_000), { partitionBytes: 4 * MIB, format: 'binary' }],
  ]
  test.each(cases)('%s', async (name, bytes, options = {}) => {
    const [writer, reader] = await cluster().clients(2)
    const path = `/bytes/${name.replaceAll(' ', '-')}`
    const reply = await writer!.fs.put(path, bytesOf(bytes), { parents: true, ...options })
    expect(reply.bytes).toBe(bytes.length)
    const back = await gatherBytes(reader!.fs.get(path))
    expect(back.length).toBe(bytes.length)
    expect(sha256(back)).toBe(sha256(bytes))
    const { partitions } = await reader!.fs.locate(path)
    for (const place of partitions) expect(place.live).toBe(3)
  })
})

test('an existing path is refused and keeps its bytes, unless overwriting is asked for', async () => {
  const [mesh] = await cluster().clients(1)
  await mesh!.fs.put('/once.txt', bytesOf('first\n'))
  await expect(mesh!.fs.put('/once.txt', bytesOf('second\n'))).rejects.toMatchObject({
    code: 'ALREADY_EXISTS',
  })
  expect(await textOf(mesh!.fs.get('/once.txt'))).toBe('first\n')
  await mesh!.fs.put('/once.txt', bytesOf('third\n'), { overwrite: true })
  expect(await textOf(mesh!.fs.get('/once.txt'))).toBe('third\n')
})

test('an unknown path is NOT_FOUND, and names itself', async () => {
  const [mesh] = await cluster().clients(1)
  await expect(gatherBytes(mesh!.fs.get('/no/such'))).rejects.toMatchObject({
    code: 'NOT_FOUND',
    details: { path: expect.stringContaining('/no') as string },
  })
  await expect(mesh!.fs.put('/no/such', bytesOf('x'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

test('a source that fails leaves nothing visible', async () => {
  const [mesh] = await cluster().clients(1)
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(100 * KIB, 'a\n')
    throw new Error('the disk of the client broke')
  }
  await expect(mesh!.fs.put('/broken.txt', failing())).rejects.toThrow()
  await expect(mesh!.fs.stat('/broken.txt')).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

test('a peer killed during a put: the file is whole or not there, and what was acknowledged is there', async () => {
  const [witness, ...rest] = cluster().running()
  const mesh = await cluster().connect(witness)
  const victim = rest.at(-1)!
  const bytes = randomBytes(6 * MIB)
  let killed: Promise<void> | undefined
  async function* source(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += 256 * KIB) {
      if (at >= bytes.length / 2) killed ??= victim.kill()
      yield bytes.subarray(at, at + 256 * KIB)
    }
  }
  const outcome = await mesh.fs
    .put('/during.bin', source(), { format: 'binary', partitionBytes: MIB })
    .catch((error: unknown) => error)
  await killed
  if (outcome instanceof Error) {
    await expect(mesh.fs.stat('/during.bin')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  } else {
    expect(sha256(await gatherBytes(mesh.fs.get('/during.bin')))).toBe(sha256(bytes))
  }
  await victim.start()
  await cluster().ready()
})

test('copies of a killed peer are made again elsewhere; meanwhile the status says what lacks', async () => {
  const [witness, ...rest] = cluster().running()
  const mesh = await cluster().connect(witness)
  const bytes = randomBytes(4 * MIB)
  await mesh.fs.put('/copied.bin', bytesOf(bytes), { format: 'binary', partitionBytes: 256 * KIB })
  await waitFor('all copies', async () => (await mesh.fs.health()).underReplicated === 0)
  const victim = rest.at(-1)!
  const before = (await mesh.fs.locate('/copied.bin')).partitions
  expect(before.some(place => place.holders.includes(victim.id as never))).toBe(true)
  await victim.kill()
  await waitFor('lacking copies to show', async () => (await witness!.status()).files.underReplicated > 0)
  await waitFor(
    'copies to be made',
    async () => (await witness!.status()).files.underReplicated === 0,
    90_000,
  )
  const after = (await mesh.fs.locate('/copied.bin')).partitions
  for (const place of after) {
    expect(place.holders.filter(holder => holder !== victim.id).length).toBeGreaterThanOrEqual(3)
  }
  expect(sha256(await gatherBytes(mesh.fs.get('/copied.bin')))).toBe(sha256(bytes))
  await victim.start()
  await cluster().ready()
})

test('all peers killed in the middle of a put and started again: all acknowledged files are back, nothing half-written', async () => {
  const mesh = await cluster().connect(cluster().peers[0])
  const files = new Map<string, string>()
  for (let i = 0; i < 5; i++) {
    const bytes = randomBytes(200 * KIB + i)
    await mesh.fs.put(`/back/${i}.bin`, bytesOf(bytes), { parents: true, format: 'binary' })
    files.set(`/back/${i}.bin`, sha256(bytes))
  }
  const halfway = Promise.withResolvers<void>()
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (let i = 0; ; i++) {
      if (i === 8) halfway.resolve()
      yield randomBytes(256 * KIB)
    }
  }
  const cut = mesh.fs
    .put('/back/half.bin', endless(), { format: 'binary', partitionBytes: MIB })
    .catch((error: unknown) => error)
  await halfway.promise
  await Promise.all(
    cluster()
      .running()
      .map(peer => peer.kill()),
  )
  expect(await cut).toBeInstanceOf(Error)

  await Promise.all(cluster().peers.map(peer => peer.start()))
  await cluster().ready()
  const again = await cluster().connect()
  expect((await again.fs.ls('/back')).map(entry => entry.path).sort()).toEqual([...files.keys()])
  for (const [path, hash] of files) expect(sha256(await gatherBytes(again.fs.get(path)))).toBe(hash)
})
