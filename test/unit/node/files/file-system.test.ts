import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { seededRandom } from '../../../../src/base/index.ts'
import { FileSystem } from '../../../../src/node/files/file-system.ts'
import { scanLocal } from '../../../../src/node/files/local-tree.ts'
import { uploadTrees } from '../../../../src/node/files/upload-tree.ts'
import { bytesOf, chunked, DhtMesh, eventually } from '../../../support/dht-mesh.ts'
import { tempFolder } from '../../../support/temp-folder.ts'

let mesh: DhtMesh
let fs: FileSystem
beforeEach(async () => {
  mesh = await DhtMesh.start(['ada', 'bob', 'cyd'], {
    replicaStallMs: 3_000,
    lateReplicaMs: 3_000,
    recordMs: 0,
  })
  fs = new FileSystem(mesh.port('ada'), { random: seededRandom(7) })
})
afterEach(async () => mesh[Symbol.asyncDispose]())

async function put(path: string, content: string | Uint8Array, options = {}): Promise<void> {
  await fs.put(path, chunked(Buffer.from(content)), { parents: true, ...options })
}

function patterned(length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, at) => (at * 31 + (at >> 8)) & 0xff))
}

describe('paths with patterns', () => {
  it('stand for what is there, by path, each once', async () => {
    for (const path of ['/d/a.csv', '/d/b.csv', '/d/b.txt', '/e/a.csv', '/e/x/a.csv']) await put(path, '1')
    const glob = async (pattern: string): Promise<string[]> =>
      (await fs.glob(pattern)).map(({ path }) => path)
    expect(await glob('/d/*.csv')).toEqual(['/d/a.csv', '/d/b.csv'])
    expect(await glob('/*/a.csv')).toEqual(['/d/a.csv', '/e/a.csv'])
    expect(await glob('/?/{a,b}.{csv,txt}')).toEqual(['/d/a.csv', '/d/b.csv', '/d/b.txt', '/e/a.csv'])
    expect(await glob('/{d,d,nope}/a*')).toEqual(['/d/a.csv'])
    expect(await glob('/e/*/*')).toEqual(['/e/x/a.csv'])
    expect(await glob('/d/')).toEqual(['/d'])
    // A file has nothing below it, which is no error.
    expect(await glob('/d/{a.csv/*,b.txt}')).toEqual(['/d/b.txt'])
    await expect(glob('/d/*.parquet')).rejects.toMatchObject({ code: 'NOT_FOUND', message: /matches/ })
    await expect(glob('d/*')).rejects.toMatchObject({ code: 'INVALID_PATH' })
  })

  it('a name with a star in it is found by its escaped name only', async () => {
    await put('/s/*', 'star')
    await put('/s/other', 'other')
    expect((await fs.glob('/s/\\*')).map(({ name }) => name)).toEqual(['*'])
    expect((await fs.glob('/s/*')).length).toBe(2)
  })

  it('a walk gives each directory before what is in it', async () => {
    for (const path of ['/w/b/1', '/w/a/2', '/w/c']) await put(path, '1')
    const seen: string[] = []
    for await (const { path } of fs.walk('/w')) seen.push(path)
    expect(seen).toEqual(['/w/a', '/w/a/2', '/w/b', '/w/b/1', '/w/c'])
    for await (const entry of fs.walk('/w/c')) expect.unreachable(entry.path)
  })
})

describe('checksum', () => {
  it('depends on the bytes alone, and is what sha256sum says', async () => {
    let files = 0
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 300 }),
        fc.integer({ min: 1, max: 400 }),
        fc.constantFrom('lines', 'csv', 'binary'),
        async (bytes, partitionBytes, format) => {
          const path = `/c${files++}`
          await put(path, bytes, { partitionBytes, format })
          const { value, sizeBytes } = await fs.checksum(path)
          expect(value).toBe(createHash('sha256').update(bytes).digest('hex'))
          expect(sizeBytes).toBe(bytes.length)
        },
      ),
      { numRuns: 15 },
    )
  })
})

describe('text', () => {
  const content = 'one\ntwo\n'.repeat(5_000)
  it.each([
    ['gzip', gzipSync(content)],
    ['two gzip members', Buffer.concat([gzipSync(content.slice(0, 100)), gzipSync(content.slice(100))])],
    ['zstd', zstdCompressSync(content)],
    ['plain', Buffer.from(content)],
  ])('unpacks %s', async (_name, bytes) => {
    await put('/packed', bytes, { format: 'binary', partitionBytes: 1_000 })
    expect((await bytesOf(fs.text('/packed'))).toString()).toBe(content)
  })

  it('leaves what is shorter than any magic number as it is', async () => {
    for (const short of ['', 'a', '\x1f']) {
      await put('/short', short, { overwrite: true })
      expect((await bytesOf(fs.text('/short'))).toString()).toBe(short)
    }
  })

  it('says that a damaged archive is one', async () => {
    const damaged = gzipSync(patterned(10_000))
    damaged.fill(0x55, 100)
    await put('/damaged', damaged)
    await expect(bytesOf(fs.text('/damaged'))).rejects.toMatchObject({
      code: 'BAD_CONTENT',
      message: /begins as gzip/,
    })
    await put('/cut', gzipSync(content).subarray(0, 60))
    await expect(bytesOf(fs.text('/cut'))).rejects.toMatchObject({ code: 'BAD_CONTENT' })
  })

  it('a file that is gone is no damaged archive', async () => {
    await expect(bytesOf(fs.text('/nope'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

describe('copies inside the mesh', () => {
  it('are cut and kept as the original, unless told otherwise', async () => {
    await put('/from', 'a\nb\nc\n', { partitionBytes: 2, format: 'csv', replication: 2 })
    await fs.cp('/from', '/to')
    expect(await fs.stat('/to')).toMatchObject({ partitions: 3, format: 'csv', replication: 2 })
    await fs.cp('/from', '/whole', { partitionBytes: 100 })
    expect(await fs.stat('/whole')).toMatchObject({ partitions: 1 })
    await expect(fs.cp('/from', '/to')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  })

  it('of directories have all that is in them, empty ones too', async () => {
    for (const path of ['/t/a/1', '/t/a/2', '/t/3']) await put(path, path)
    await fs.mkdir('/t/empty')
    await fs.cpTree('/t', '/u')
    const seen: string[] = []
    for await (const { path } of fs.walk('/u')) seen.push(path)
    expect(seen).toEqual(['/u/3', '/u/a', '/u/a/1', '/u/a/2', '/u/empty'])
    expect((await bytesOf(fs.get('/u/a/2'))).toString()).toBe('/t/a/2')
    await expect(fs.cpTree('/t', '/t/a/below')).rejects.toMatchObject({ code: 'INVALID_PATH' })
  })
})

describe('following a file', () => {
  it('tells of another file of that name, and of none', async () => {
    await put('/log', 'one\n')
    const stop = new AbortController()
    const seen: string[] = []
    const following = (async () => {
      for await (const event of fs.follow('/log', { start: 0, pollMs: 5, signal: stop.signal })) {
        seen.push(event.type === 'bytes' ? Buffer.from(event.bytes).toString() : event.type)
        if (seen.at(-1) === 'one\n') await put('/log', 'two\n', { overwrite: true })
        if (seen.at(-1) === 'two\n') await fs.rm('/log')
        if (seen.at(-1) === 'gone') await put('/log', 'three\n')
        if (seen.at(-1) === 'three\n') stop.abort(new Error('enough'))
      }
    })()
    await expect(following).rejects.toThrow('enough')
    expect(seen).toEqual(['one\n', 'replaced', 'two\n', 'gone', 'three\n'])
  })

  it('shows what is appended, byte for byte, and takes it for the same file', async () => {
    await put('/grows', 'one\n')
    const stop = new AbortController()
    let seen = ''
    const following = (async () => {
      for await (const event of fs.follow('/grows', { pollMs: 5, signal: stop.signal })) {
        expect(event.type).toBe('bytes')
        if (event.type === 'bytes') seen += Buffer.from(event.bytes).toString()
        if (seen.endsWith('three\n')) stop.abort(new Error('enough'))
      }
    })()
    await fs.append('/grows', chunked(Buffer.from('two\n')))
    await fs.append('/grows', chunked(Buffer.from('three\n')))
    await expect(following).rejects.toThrow('enough')
    expect(seen).toMatch(/^(two\n)?three\n$/)
  })

  it('needs a file to begin with', async () => {
    await expect(fs.follow('/nope').next()).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

describe('uploads', () => {
  it('go on at another peer when the one that takes them dies, and are whole', async () => {
    await using folder = await tempFolder('upload')
    const local = join(folder.path, 'big.bin')
    const bytes = patterned(3 * 2 ** 20)
    await writeFile(local, bytes)
    let sent = 0
    let retries = 0
    const stored = await fs.upload(local, '/big.bin', {
      format: 'binary',
      partitionBytes: 2 ** 19,
      onBytes: step => {
        sent += step
        if (sent > 2 ** 21 && !mesh.isDead('ada')) mesh.kill('ada')
      },
      onRetry: () => retries++,
    })
    expect(retries).toBeGreaterThan(0)
    expect(stored.bytes).toBe(bytes.length)
    expect(sent).toBe(bytes.length)
    expect((await bytesOf(new FileSystem(mesh.port('bob')).get('/big.bin'))).equals(bytes)).toBe(true)
  })

  it('that may be resumed go on where they were cut, also from another process, and a finished one is left as it is', async () => {
    await using folder = await tempFolder('upload')
    const local = join(folder.path, 'big.bin')
    const bytes = patterned(600_000)
    await writeFile(local, bytes)
    const options = { format: 'binary', partitionBytes: 5_000, resume: true } as const
    const stop = new AbortController()
    const cut = fs.upload(local, '/big.bin', { ...options, signal: stop.signal })
    await eventually(
      'some of it to be recorded',
      () => (mesh.namespace.openWritesAt('/big.bin')[0]?.blocks.length ?? 0) > 5,
    )
    stop.abort(new Error('cut'))
    await expect(cut).rejects.toThrow()
    const [open] = mesh.namespace.openWritesAt('/big.bin')
    const keptBytes = open!.blocks.length * 5_000
    expect(keptBytes).toBeGreaterThan(0)

    const other = new FileSystem(mesh.port('bob'))
    const stored = await other.upload(local, '/big.bin', options)
    expect(stored).toMatchObject({
      resumedAt: expect.toSatisfy((at: number) => at >= keptBytes),
      bytes: bytes.length,
    })
    expect((await bytesOf(other.get('/big.bin'))).equals(bytes)).toBe(true)
    expect(await other.upload(local, '/big.bin', options)).toMatchObject({ unchanged: true })

    await writeFile(local, Buffer.alloc(600_000, 1))
    await expect(other.upload(local, '/big.bin', options)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  })

  it('of a source that can be read only once cannot be resumed, and say so', async () => {
    await expect(fs.upload('-', '/x', { resume: true })).rejects.toMatchObject({
      code: 'LOCAL_FILE',
      message: /read only once/,
    })
  })

  it('are refused at once for what another try cannot change', async () => {
    await using folder = await tempFolder('upload')
    const local = join(folder.path, 'small')
    await writeFile(local, 'x')
    await put('/there', 'y')
    let retries = 0
    const refused = fs.upload(local, '/there', { onRetry: () => retries++ })
    await expect(refused).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await expect(fs.upload(join(folder.path, 'no'), '/x')).rejects.toMatchObject({ code: 'LOCAL_FILE' })
    expect(retries).toBe(0)
    expect((await bytesOf(fs.get('/there'))).toString()).toBe('y')
  })
})

describe('trees', () => {
  it('come back as they went in; links and sockets are named, not followed', async () => {
    await using folder = await tempFolder('tree')
    const root = join(folder.path, 'tree')
    await mkdir(join(root, 'sub', 'deep'), { recursive: true })
    await mkdir(join(root, 'empty'))
    for (let i = 0; i < 30; i++) await writeFile(join(root, 'sub', `${i}.txt`), `file ${i}\n`)
    await writeFile(join(root, 'sub', 'deep', 'ünï*code'), 'x')
    await writeFile(join(root, 'zero'), '')
    await symlink('/etc/passwd', join(root, 'link'))
    const server = createServer().listen(join(root, 'socket'))
    await once(server, 'listening')
    try {
      const tree = await scanLocal(root)
      expect(tree.skipped).toEqual([
        { local: join(root, 'link'), what: 'a link' },
        { local: join(root, 'socket'), what: 'a socket' },
      ])
      await uploadTrees(fs, [tree], '/stored')
    } finally {
      server.close()
    }
    expect(await fs.usage('/stored')).toMatchObject({ files: 32, directories: 3 })
    await fs.downloadTree('/stored', join(folder.path, 'back'))
    const names = (await readdir(join(folder.path, 'back'), { recursive: true })).sort()
    const expected = (await readdir(root, { recursive: true })).filter(name => !/^(link|socket)$/.test(name))
    expect(names).toEqual(expected.sort())
    expect(await readFile(join(folder.path, 'back', 'sub', '7.txt'), 'utf8')).toBe('file 7\n')
  })

  it('go into a directory that is there, under their own names; several only there', async () => {
    await using folder = await tempFolder('tree')
    for (const name of ['one', 'two']) {
      await mkdir(join(folder.path, name))
      await writeFile(join(folder.path, name, 'f'), name)
    }
    const trees = await Promise.all(['one', 'two'].map(name => scanLocal(join(folder.path, name))))
    await expect(uploadTrees(fs, trees, '/in')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await fs.mkdir('/in')
    await uploadTrees(fs, trees, '/in')
    expect((await fs.glob('/in/*/f')).map(({ path }) => path)).toEqual(['/in/one/f', '/in/two/f'])
    await put('/file', 'x')
    await expect(uploadTrees(fs, trees, '/file')).rejects.toMatchObject({ code: 'NOT_A_DIRECTORY' })
  })

  it('one file that fails is reported, and the others are stored all the same', async () => {
    await using folder = await tempFolder('tree')
    const root = join(folder.path, 't')
    await mkdir(root)
    for (const name of ['a', 'b', 'c']) await writeFile(join(root, name), name)
    await put('/t/b', 'mine')
    const failed: string[] = []
    const files: string[] = []
    await fs.uploadTree(root, '/', {
      onFailed: (local, error) => failed.push(`${local}: ${(error as { code: string }).code}`),
      onFile: ({ path }) => files.push(path),
    })
    expect(failed).toEqual([`${join(root, 'b')}: ALREADY_EXISTS`])
    expect(files.sort()).toEqual(['/t/a', '/t/c'])
    await expect(fs.uploadTree(root, '/')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  })
})

describe('a download that was interrupted', () => {
  const bytes = patterned(10_000)
  const parts = async (folder: string): Promise<string[]> =>
    (await readdir(folder)).filter(name => name.endsWith('.part'))

  it.each([
    ['goes on behind the partitions that are here', (draft: Buffer) => draft.subarray(0, 3_500), 3_000],
    ['does not keep bytes that are wrong', (draft: Buffer) => Buffer.alloc(draft.length, 1), 0],
    ['keeps those before the first wrong one', (draft: Buffer) => draft.fill(1, 2_500), 2_000],
    ['does not mind a draft that is too long', (draft: Buffer) => Buffer.concat([draft, draft]), 10_000],
  ])('%s', async (_claim, damage, keptBytes) => {
    await using folder = await tempFolder('download')
    const local = join(folder.path, 'f')
    await put('/f', bytes, { format: 'binary', partitionBytes: 1_000 })
    const { fileId } = await fs.locate('/f')
    await writeFile(`${local}.${fileId.slice(0, 8)}.part`, damage(Buffer.from(bytes)))
    let fetched = 0
    const got = await fs.download('/f', local, { resume: true, onBytes: step => (fetched += step) })
    expect(got.resumedAt ?? 0).toBe(keptBytes)
    expect(fetched).toBe(bytes.length)
    expect((await readFile(local)).equals(bytes)).toBe(true)
    expect(await parts(folder.path)).toEqual([])
  })

  it('keeps its draft, and one of another version is not taken for it', async () => {
    await using folder = await tempFolder('download')
    const local = join(folder.path, 'f')
    await put('/f', bytes, { format: 'binary', partitionBytes: 1_000 })
    const stop = new AbortController()
    let seen = 0
    const cut = fs.download('/f', local, {
      resume: true,
      signal: stop.signal,
      onBytes: step => {
        seen += step
        if (seen >= 5_000) stop.abort(new Error('cut'))
      },
    })
    await expect(cut).rejects.toThrow('cut')
    expect(await parts(folder.path)).toHaveLength(1)
    await put('/f', Buffer.alloc(500, 'x'), { overwrite: true })
    await fs.download('/f', local, { resume: true })
    expect((await readFile(local)).equals(Buffer.alloc(500, 'x'))).toBe(true)
  })
})
