import { execFileSync } from 'node:child_process'
import type { FileHandle } from 'node:fs/promises'
import { mkdtemp, open, readdir, rm, stat, statfs, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { asPeerId } from '../../../src/base/index.ts'
import { DiskLogStore } from '../../../src/gossip/disk-log-store.ts'
import type { DiskLogStoreOptions } from '../../../src/gossip/disk-log-store.ts'
import type { OpenFile, SpaceState } from '../../../src/gossip/disk-space.ts'
import type { RaftEntry } from '../../../src/gossip/raft-types.ts'
import { waitFor } from '../../support/wait-for.ts'

const MIB = 1024 * 1024
const SPACE = { reserveBytes: 2 * MIB, lowShare: 0, spaceCheckMs: 20, spaceRetryMs: 10 }

function entry(index: number, bytes = 1_000): RaftEntry {
  return { kind: 'command', index, term: 1, timeMs: index, data: new Uint8Array(bytes).fill(index) }
}

/** A disk with so many bytes of room for the log, of which it takes what is written and gives back what is not kept. */
class SmallDisk {
  roomBytes = Infinity
  failure: 'EIO' | undefined

  readonly openFile: OpenFile = async (...parameters) => {
    const handle = await open(...parameters)
    const file = String(parameters[0])
    if (path.basename(file) === 'reserve') return handle
    const append = handle.appendFile.bind(handle)
    const sync = handle.datasync.bind(handle)
    return Object.assign(handle, {
      appendFile: (bytes: Uint8Array) => this.#append(append, bytes),
      datasync: () => this.#sync(sync),
    })
  }

  /** A full disk takes what fits. */
  async #append(append: FileHandle['appendFile'], bytes: Uint8Array): Promise<void> {
    const fits = Math.min(bytes.byteLength, this.roomBytes)
    await append(bytes.subarray(0, fits))
    if (fits === bytes.byteLength) return
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
  }

  async #sync(sync: FileHandle['datasync']): Promise<void> {
    if (this.failure !== undefined)
      throw Object.assign(new Error('EIO: i/o error, fdatasync'), { code: this.failure })
    await sync()
  }
}

describe('room on the disk of the log', () => {
  let directory = ''
  let stores: DiskLogStore[] = []
  const disk = new SmallDisk()

  beforeEach(async () => {
    directory = await mkdtemp(path.join(os.tmpdir(), 'shoal-space-'))
    disk.roomBytes = Infinity
    disk.failure = undefined
  })
  afterEach(async () => {
    disk.roomBytes = Infinity
    disk.failure = undefined
    for (const store of stores) {
      store.stopWaiting()
      await store.close()
    }
    stores = []
    await rm(directory, { recursive: true })
  })

  async function opened(
    options: DiskLogStoreOptions = {},
  ): Promise<{ store: DiskLogStore; states: SpaceState[]; now: () => SpaceState }> {
    const store = new DiskLogStore(directory, {
      self: asPeerId('a'),
      space: SPACE,
      openFile: disk.openFile,
      ...options,
    })
    stores.push(store)
    await store.load()
    const states: SpaceState[] = ['ok']
    store.onSpace(state => states.push(state))
    return { store, states, now: () => states.at(-1)! }
  }

  const reserve = () => stat(path.join(directory, 'reserve')).catch(() => undefined)
  const reserveIsWhole = async (): Promise<boolean> => (await reserve())?.size === SPACE.reserveBytes

  test('the reserve takes real room, not a hole in a file', async () => {
    await opened()
    await waitFor('the reserve', reserveIsWhole, 5_000)
    await waitFor('its blocks', async () => (await reserve())!.blocks * 512 >= SPACE.reserveBytes, 5_000)
  })

  test('a full disk gives the reserve up, and the write goes on as if nothing were', async () => {
    const { store, states } = await opened()
    await waitFor('the reserve', reserveIsWhole, 5_000)
    disk.roomBytes = 300
    // What the reserve took is free from then on.
    store.onSpace(state => {
      if (state === 'reserve') disk.roomBytes = Infinity
    })
    // The first try finds 300 bytes of room; what it left behind must not stay in the log.
    await store.write([{ type: 'persist', seq: 1, hardState: { term: 1 }, entries: [entry(1), entry(2)] }])
    expect(states).toContain('reserve')
    const { state } = await (await opened({ space: { reserveBytes: 0 } })).store.load()
    expect(state.entries).toEqual([entry(1), entry(2)])
  })

  test('the reserve comes back when there is room, and all is well again', async () => {
    const { store, now } = await opened()
    await waitFor('the reserve', reserveIsWhole, 5_000)
    disk.roomBytes = 300
    const written = store.write([{ type: 'persist', seq: 1, hardState: { term: 1 }, entries: [entry(1)] }])
    await waitFor('the disk to be full', () => now() === 'full' || now() === 'reserve', 5_000)
    disk.roomBytes = Infinity
    await written
    await waitFor('the reserve to be back', () => now() === 'ok', 5_000)
    expect(await reserveIsWhole()).toBe(true)
  })

  test('without any room a write waits, and goes on by itself when there is some', async () => {
    const { store, now } = await opened()
    await store.write([{ type: 'persist', seq: 1, hardState: { term: 1 }, entries: [entry(1)] }])
    disk.roomBytes = 100
    let isDone = false
    const written = store.write([{ type: 'persist', seq: 2, entries: [entry(2), entry(3)] }]).then(() => {
      isDone = true
    })
    await waitFor('the disk to be full', () => now() === 'full', 5_000)
    expect(isDone).toBe(false)
    disk.roomBytes = Infinity
    await written
    store.stopWaiting()
    await store.close()
    stores = []
    const { state } = await (await opened()).store.load()
    expect(state.entries).toEqual([entry(1), entry(2), entry(3)])
  })

  test('a peer that stops does not wait for room', async () => {
    const { store, now } = await opened()
    disk.roomBytes = 0
    const written = store.write([{ type: 'persist', seq: 1, hardState: { term: 1 }, entries: [entry(1)] }])
    const refused = expect(written).rejects.toMatchObject({ code: 'CANCELLED' })
    await waitFor('the disk to be full', () => now() === 'full', 5_000)
    store.stopWaiting()
    await refused
  })

  test('a sync that fails is final: nothing is tried again', async () => {
    const { store, states } = await opened()
    disk.failure = 'EIO'
    await expect(
      store.write([{ type: 'persist', seq: 1, hardState: { term: 1 }, entries: [entry(1)] }]),
    ).rejects.toMatchObject({ code: 'EIO' })
    expect(states).not.toContain('full')
  })

  test('a disk that is nearly full says so before it is', async () => {
    const { now } = await opened({ space: { ...SPACE, lowShare: 1, lowBytesMax: Infinity } })
    await waitFor('low', () => now() === 'low', 5_000)
  })

  test('on a real full file system the log goes on from the reserve, then waits, then recovers', async ctx => {
    const mount = path.join(directory, 'mnt')
    try {
      execFileSync('mkdir', [mount])
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', mount], { stdio: 'ignore' })
    } catch {
      return ctx.skip('needs to be root, to mount a small file system')
    }
    try {
      const store = new DiskLogStore(path.join(mount, 'meta'), { self: asPeerId('a'), space: SPACE })
      await store.load()
      let now: SpaceState = 'ok'
      store.onSpace(state => (now = state))
      const file = path.join(mount, 'meta', 'reserve')
      await waitFor(
        'the reserve',
        async () => (await stat(file).catch(() => undefined))?.size === SPACE.reserveBytes,
        5_000,
      )
      const { bavail, bsize } = await statfs(mount)
      await writeFile(path.join(mount, 'ballast'), Buffer.alloc(bavail * bsize - 100_000, 1))
      let index = 0
      const append = (): Promise<void> => {
        const hardState = { term: 1 }
        return store.write([{ type: 'persist', seq: ++index, hardState, entries: [entry(index, 100_000)] }])
      }
      let waiting: Promise<void> | undefined
      for (let turn = 0; waiting === undefined && turn < 100; turn++) {
        const written = append()
        const full = waitFor('full', () => now === 'full', 5_000).then(() => 'full' as const)
        if ((await Promise.race([written.then(() => 'written' as const), full])) === 'full') waiting = written
        full.catch(() => undefined)
      }
      expect(waiting).toBeDefined()
      expect(index).toBeGreaterThan(15)
      expect(await readdir(path.join(mount, 'meta'))).not.toContain('reserve')
      await rm(path.join(mount, 'ballast'))
      await waiting
      await waitFor('ok', () => now === 'ok', 5_000)
      store.stopWaiting()
      await store.close()
      const again = new DiskLogStore(path.join(mount, 'meta'))
      expect((await again.load()).state.entries).toHaveLength(index)
      await again.close()
    } finally {
      execFileSync('umount', ['-l', mount])
    }
  })
})
