import { createHash } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, sep } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { asFileId, ShoalError, type BlockId } from '../../../src/base/index.ts'
import {
  blockIdOf,
  CHUNK_BYTES,
  DiskBlockStore,
  readBlockFile,
  type DiskBlockStoreOptions,
  type StoreFs,
} from '../../../src/dht/index.ts'
import { fansOf } from '../../../src/dht/block-paths.ts'
import { FaultyFs } from '../../support/faulty-fs.ts'

const fileId = asFileId('0123456789abcdef'.repeat(2))
const blockId = blockIdOf(fileId, 0, 'a1')
const other = blockIdOf(fileId, 1, 'a1')

let directory: string
beforeEach(async () => {
  directory = await fs.mkdtemp(join(tmpdir(), 'shoal-store-'))
})
afterEach(async () => {
  await fs.rm(directory, { recursive: true, force: true })
})

const open = (options: Partial<DiskBlockStoreOptions> = {}): Promise<DiskBlockStore> =>
  DiskBlockStore.open({ directory, peer: 'ada', diskReserveBytes: 0, ...options })

/** Bytes that repeat with no period of the chunk size. */
function sample(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + (at >>> 8)) & 0xff
  return bytes
}

async function* chunked(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action()
  } catch (error) {
    if (error instanceof ShoalError) return error.code
    throw error
  }
  return 'none'
}

async function flip(path: string, at: number): Promise<void> {
  await using file = await fs.open(path, 'r+')
  const byte = new Uint8Array(1)
  await file.read(byte, 0, 1, at)
  byte[0]! ^= 0x10
  await file.write(byte, 0, 1, at)
}

async function filesIn(path: string): Promise<string[]> {
  const entries = await fs.readdir(path, { recursive: true, withFileTypes: true })
  return entries.filter(entry => entry.isFile()).map(entry => entry.name)
}

describe('disk block store', () => {
  it('gives back what was written, whatever the sizes of block and chunks', async () => {
    await using store = await open()
    for (const [index, size] of [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3_000_000].entries()) {
      const bytes = sample(size)
      const id = blockIdOf(fileId, index, 'b')
      const written = await store.write(id, chunked(bytes, 100_003))
      expect(written).toEqual({ blockId: id, sizeBytes: size, sha256: sha256(bytes) })
      expect((await collect(store.read(id))).equals(bytes)).toBe(true)
      expect(
        Buffer.concat([...readBlockFile(store.pathOf(id), { block: id, peer: 'ada' })]).equals(bytes),
      ).toBe(true)
      expect(await store.verify(id)).toEqual(written)
      expect(await store.stat(id)).toEqual(written)
    }
    const usage = await store.usage()
    expect(usage).toMatchObject({ blocks: 6, usedBytes: 3 * CHUNK_BYTES + 1 + 3_000_000 })
    expect(usage.freeBytes).toBeGreaterThan(0)
  })

  it('reads any range, in the store and in a worker', async () => {
    await using store = await open()
    const bytes = sample(700_000)
    await store.write(blockId, chunked(bytes, 64_000))
    const ends = [0, 1, 65_535, 65_536, 65_537, 262_144, 500_000, 700_000, 900_000]
    for (const start of ends) {
      for (const end of ends) {
        const wanted = bytes.subarray(start, Math.max(start, end))
        expect((await collect(store.read(blockId, { start, end }))).equals(wanted)).toBe(true)
        const local = readBlockFile(store.pathOf(blockId), { start, end, block: blockId, peer: 'ada' })
        expect(Buffer.concat([...local]).equals(wanted)).toBe(true)
      }
    }
  })

  it('still has its blocks after it was opened again', async () => {
    const bytes = sample(200_000)
    {
      await using store = await open()
      await store.write(blockId, chunked(bytes, 7_000))
    }
    await using again = await open()
    expect(again.list()).toEqual([blockId])
    expect((await collect(again.read(blockId))).equals(bytes)).toBe(true)
    expect(await again.usage()).toMatchObject({ blocks: 1, usedBytes: 200_000 })
  })

  it('shows nothing of a write that a crash cut off, at any step', async () => {
    // A crash is a copy of the directory taken at that moment: nothing that runs later can tidy it up.
    const crashes: string[] = []
    const crash = async (): Promise<void> => {
      const copy = await fs.mkdtemp(join(tmpdir(), 'shoal-crash-'))
      crashes.push(copy)
      await fs.cp(directory, copy, { recursive: true })
    }
    const crashing: StoreFs = {
      ...fs,
      rename: async (from, to) => {
        await crash()
        await fs.rename(from, to)
      },
    }
    try {
      await using store = await open({ fs: crashing })
      await store.write(
        blockId,
        (async function* () {
          yield sample(2_000_000)
          await crash()
          yield sample(10)
        })(),
      )
      await crash()
      // Mid-write, before and between the renames: nothing. After: all of it.
      expect(crashes).toHaveLength(4)
      for (const [step, copy] of crashes.entries()) {
        await using after = await open({ directory: copy })
        expect(after.has(blockId)).toBe(step === 3)
        expect(await filesIn(copy)).toHaveLength(step === 3 ? 2 : 0)
        if (step === 3) await after.verify(blockId)
      }
    } finally {
      for (const copy of crashes) await fs.rm(copy, { recursive: true, force: true })
    }
  })

  it('forgets a block that was being deleted when the peer crashed', async () => {
    {
      await using store = await open({
        fs: { ...fs, unlink: () => Promise.reject(Object.assign(new Error('cut off'), { code: 'EIO' })) },
      })
      await store.write(blockId, chunked(sample(10), 10))
      expect(await codeOf(() => store.delete(blockId))).toBe('DISK_FAILED')
      expect(store.has(blockId)).toBe(false)
    }
    await using again = await open()
    expect(again.list()).toEqual([])
    expect(await filesIn(directory)).toEqual([])
  })

  it('finds a flipped byte anywhere: on reading it, in a worker and on verifying', async () => {
    await using store = await open()
    const bytes = sample(300_000)
    for (const at of [0, 65_535, 65_536, 299_999]) {
      await store.write(blockId, chunked(bytes, 50_000))
      await flip(store.pathOf(blockId), at)
      expect(await codeOf(() => collect(store.read(blockId)))).toBe('CORRUPT_REPLICA')
      expect(await codeOf(() => store.verify(blockId))).toBe('CORRUPT_REPLICA')
      const local = (): Uint8Array[] => [
        ...readBlockFile(store.pathOf(blockId), { block: blockId, peer: 'ada' }),
      ]
      expect(await codeOf(local)).toBe('CORRUPT_REPLICA')
    }
  })

  it('reads on beside a flipped byte: only its chunk is bad', async () => {
    await using store = await open()
    const bytes = sample(300_000)
    await store.write(blockId, chunked(bytes, 50_000))
    await flip(store.pathOf(blockId), 70_000)
    const good = await collect(store.read(blockId, { start: 0, end: 65_536 }))
    expect(good.equals(bytes.subarray(0, 65_536))).toBe(true)
    expect(await codeOf(() => collect(store.read(blockId, { start: 65_536, end: 65_537 })))).toBe(
      'CORRUPT_REPLICA',
    )
  })

  it('finds truncated and grown data', async () => {
    await using store = await open()
    await store.write(blockId, chunked(sample(200_000), 50_000))
    await fs.truncate(store.pathOf(blockId), 131_072)
    expect(await codeOf(() => collect(store.read(blockId)))).toBe('CORRUPT_REPLICA')
    expect(await codeOf(() => store.verify(blockId))).toBe('CORRUPT_REPLICA')
    await store.write(blockId, chunked(sample(200_000), 50_000))
    await fs.appendFile(store.pathOf(blockId), 'x')
    expect(await codeOf(() => store.verify(blockId))).toBe('CORRUPT_REPLICA')
  })

  it('finds damaged or missing checksums, and a rewrite mends them', async () => {
    await using store = await open()
    const sums = `${store.pathOf(blockId)}.sum`
    for (const damage of [
      () => flip(sums, 14),
      () => flip(sums, 60),
      () => fs.truncate(sums, 20),
      () => fs.rm(sums),
    ]) {
      await store.write(blockId, chunked(sample(200_000), 50_000))
      await damage()
      expect(await codeOf(() => collect(store.read(blockId)))).toBe('CORRUPT_REPLICA')
    }
    await store.write(blockId, chunked(sample(200_000), 50_000))
    await store.verify(blockId)
    expect(await store.usage()).toMatchObject({ blocks: 1, usedBytes: 200_000 })
  })

  it('leaves nothing of a write that fails: wrong bytes, too many, a broken source, an abort', async () => {
    await using store = await open()
    const bytes = sample(100_000)
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield bytes
      throw new ShoalError('CONNECTION_LOST', { peer: 'bob' })
    }
    const silent = async function* (): AsyncGenerator<Uint8Array> {
      yield bytes
      await new Promise(() => undefined)
    }
    const gone = new AbortController()
    const aborted = store.write(blockId, silent(), { signal: gone.signal })
    gone.abort(new ShoalError('CANCELLED', { what: 'write' }))
    expect(await codeOf(() => aborted)).toBe('CANCELLED')
    expect(await codeOf(() => store.write(blockId, broken()))).toBe('CONNECTION_LOST')
    const write = (options: Parameters<DiskBlockStore['write']>[2]): Promise<string> =>
      codeOf(() => store.write(blockId, chunked(bytes, 9_999), options))
    expect(await write({ expect: { sizeBytes: 99_999 } })).toBe('CORRUPT_REPLICA')
    expect(await write({ expect: { sha256: sha256(sample(1)) } })).toBe('CORRUPT_REPLICA')
    expect(await write({ sizeBytesMax: 99_999 })).toBe('TOO_LARGE')
    expect(store.has(blockId)).toBe(false)
    expect(await filesIn(directory)).toEqual([])
    expect(
      await write({ sizeBytesMax: 100_000, expect: { sizeBytes: 100_000, sha256: sha256(bytes) } }),
    ).toBe('none')
  })

  it('keeps the old bytes when rewriting a block fails', async () => {
    await using store = await open()
    const bytes = sample(1_000)
    await store.write(blockId, chunked(bytes, 100))
    await codeOf(() => store.write(blockId, chunked(sample(2), 1), { expect: { sizeBytes: 1 } }))
    expect((await collect(store.read(blockId))).equals(bytes)).toBe(true)
  })

  it('ends writes under way when it is closed', async () => {
    const store = await open()
    const silent = async function* (): AsyncGenerator<Uint8Array> {
      yield sample(10)
      await new Promise(() => undefined)
    }
    const writing = codeOf(() => store.write(blockId, silent()))
    await store[Symbol.asyncDispose]()
    expect(await writing).toBe('CANCELLED')
    expect(await filesIn(directory)).toEqual([])
  })

  it('refuses with DISK_FULL what would touch the reserve', async () => {
    await using store = await open({ diskReserveBytes: Number.MAX_SAFE_INTEGER })
    expect(await codeOf(() => store.write(blockId, chunked(sample(1), 1)))).toBe('DISK_FULL')
  })

  it.each([
    ['writev', 'ENOSPC', 'DISK_FULL'],
    ['writev', 'EIO', 'DISK_FAILED'],
    ['datasync', 'EIO', 'DISK_FAILED'],
    ['datasync', 'ENOSPC', 'DISK_FULL'],
  ] as const)('turns a failing %s (%s) into %s and leaves nothing', async (operation, code, expected) => {
    const failing: StoreFs = {
      ...fs,
      open: async (path, flags) => {
        const handle = await fs.open(path, flags)
        if (flags === 'wx') handle[operation] = () => Promise.reject(Object.assign(new Error(code), { code }))
        return handle
      },
    }
    await using store = await open({ fs: failing })
    expect(await codeOf(() => store.write(blockId, chunked(sample(100), 10)))).toBe(expected)
    expect(store.has(blockId)).toBe(false)
    expect(await filesIn(directory)).toEqual([])
  })

  it('gives up a disk that fails only below blocks/, whatever tmp/ says; not for one file that cannot be read', async () => {
    const disk = new FaultyFs()
    await using store = await open({ fs: disk })
    await store.write(blockId, chunked(sample(100), 10))
    const gone: string[] = []
    store.onChange((id, sizeBytes) => {
      if (sizeBytes === undefined) gone.push(id)
    })
    const readable = disk.fail('EIO', (operation, path) => operation === 'open' && path.endsWith(blockId))
    expect(await codeOf(() => collect(store.read(blockId)))).toBe('DISK_FAILED')
    expect(store.failure).toBeUndefined()
    readable()
    expect(await filesIn(directory)).toHaveLength(2)
    disk.fail('EIO', (operation, path) => operation === 'sync' && path.includes(`${sep}blocks${sep}`))
    expect(await codeOf(() => store.write(other, chunked(sample(200), 10)))).toBe('DISK_FAILED')
    expect(store.failure).toMatchObject({ code: 'DISK_FAILED', details: { operation: 'work at all' } })
    expect(gone).toEqual([blockId])
    expect(await codeOf(() => collect(store.read(blockId)))).toBe('DISK_FAILED')
  })

  it('removes the probes that a crash left among the blocks', async () => {
    {
      await using store = await open()
      await store.write(blockId, chunked(sample(100), 10))
    }
    const left = join(fansOf(directory)[7]!, 'probe.3')
    await fs.writeFile(left, 'x')
    await using store = await open()
    expect(store.list()).toEqual([blockId])
    expect(await filesIn(directory)).toHaveLength(2)
  })

  it('writes all bytes even when the system writes them bit by bit', async () => {
    const stingy: StoreFs = {
      ...fs,
      open: async (path, flags) => {
        const handle = await fs.open(path, flags)
        const write = handle.write.bind(handle)
        const stingyWrite = async (buffers: readonly Uint8Array[]): Promise<{ bytesWritten: number }> => {
          const first = buffers[0]!
          return write(first, 0, Math.min(first.length, 7_001))
        }
        Object.assign(handle, { writev: stingyWrite })
        return handle
      },
    }
    await using store = await open({ fs: stingy })
    const bytes = sample(100_000)
    await store.write(blockId, chunked(bytes, 9_000))
    expect((await collect(store.read(blockId))).equals(bytes)).toBe(true)
  })

  it('answers for blocks it does not have, and never makes a path of a strange id', async () => {
    await using store = await open()
    expect(store.has(blockId)).toBe(false)
    expect(await store.stat(blockId)).toBeUndefined()
    expect(await store.delete(blockId)).toBe(false)
    expect(await codeOf(() => collect(store.read(blockId)))).toBe('NOT_FOUND')
    expect(await codeOf(() => store.verify(blockId))).toBe('NOT_FOUND')
    expect(
      await codeOf(() => [...readBlockFile(store.pathOf(blockId), { block: blockId, peer: 'ada' })]),
    ).toBe('NOT_FOUND')
    const strange = '../../escape' as BlockId
    expect(await codeOf(() => store.write(strange, chunked(sample(1), 1)))).toBe('BAD_MESSAGE')
  })

  it('deletes, and whoever is reading reads on', async () => {
    await using store = await open()
    const bytes = sample(1_000_000)
    await store.write(blockId, chunked(bytes, 100_000))
    const reading = store.read(blockId)[Symbol.asyncIterator]()
    const first = await reading.next()
    expect(await store.delete(blockId)).toBe(true)
    const rest = await collect({ [Symbol.asyncIterator]: () => reading })
    expect(Buffer.concat([first.value as Uint8Array, rest]).equals(bytes)).toBe(true)
    expect(store.list()).toEqual([])
    expect(await filesIn(directory)).toEqual([])
  })
})
