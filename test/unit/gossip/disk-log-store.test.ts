import {
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { asPeerId, below, seededRandom } from '../../../src/base/index.ts'
import { DiskLogStore } from '../../../src/gossip/disk-log-store.ts'
import type { PersistEffect, RaftEntry, Snapshot } from '../../../src/gossip/raft-types.ts'
import { MemoryLogStore } from './memory-log-store.ts'

const VOTERS = ['a', 'b', 'c'].map(asPeerId)

function entry(index: number, term = 1, bytes = 20): RaftEntry {
  return { kind: 'command', index, term, timeMs: 1_000 + index, data: new Uint8Array(bytes).fill(index) }
}

function entries(from: number, to: number, term = 1, bytes = 20): RaftEntry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => entry(from + i, term, bytes))
}

function snapshot(index: number, term = 1, bytes = 100): Snapshot {
  return { index, term, timeMs: 1_000 + index, voters: VOTERS, data: new Uint8Array(bytes).fill(7) }
}

describe('log on disk', () => {
  let directory = ''
  let seq = 0
  let opened: DiskLogStore[] = []
  const open = (segmentBytes = 1_000): DiskLogStore => {
    const store = new DiskLogStore(directory, { segmentBytes })
    opened.push(store)
    return store
  }
  const persist = (effect: Omit<PersistEffect, 'type' | 'seq'>): PersistEffect => ({
    type: 'persist',
    seq: ++seq,
    ...effect,
  })

  beforeEach(async () => {
    directory = await mkdtemp(path.join(os.tmpdir(), 'shoal-log-'))
  })
  afterEach(async () => {
    await rm(directory, { recursive: true })
    // Their files are gone, so that the mark of a clean end cannot be written: only the handles are closed.
    for (const store of opened) await store.close().catch(() => undefined)
    opened = []
  })

  /** Writes and leaves without closing: what a SIGKILL leaves. */
  async function written(...effects: Omit<PersistEffect, 'type' | 'seq'>[]): Promise<DiskLogStore> {
    const store = open()
    await store.load()
    for (const effect of effects) await store.write([persist(effect)])
    return store
  }

  const reload = () => open().load()
  /** A crash of the machine, not of the process: what was not synced is gone. */
  const powerFails = () => rm(path.join(directory, 'mark'))
  const segments = async () => (await readdir(directory)).filter(name => name.startsWith('log-')).sort()
  const lastSegment = async () => path.join(directory, (await segments()).at(-1)!)

  async function flip(file: string, offset: number): Promise<void> {
    const bytes = await readFile(file)
    bytes[offset] = bytes[offset]! ^ 0xff
    await writeFile(file, bytes)
  }

  test('a blank directory is a blank log', async () => {
    expect(await reload()).toEqual({ state: { hardState: { term: 0 }, entries: [] } })
  })

  test('term, vote and entries of every kind survive', async () => {
    const all: RaftEntry[] = [
      { kind: 'config', index: 1, term: 1, timeMs: 5, voters: VOTERS },
      { kind: 'no-op', index: 2, term: 2, timeMs: 5 },
      entry(3, 2),
    ]
    await written({ hardState: { term: 2, votedFor: VOTERS[1] }, entries: all })
    expect((await reload()).state).toEqual({ hardState: { term: 2, votedFor: VOTERS[1] }, entries: all })
  })

  test('entries span segments', async () => {
    await written({ entries: entries(1, 100) })
    expect((await segments()).length).toBeGreaterThan(3)
    expect((await reload()).state.entries).toEqual(entries(1, 100))
  })

  test('a truncation across segments takes the later entries back', async () => {
    await written({ entries: entries(1, 100) }, { truncateFrom: 30, entries: entries(30, 40, 2) })
    expect((await reload()).state.entries).toEqual([...entries(1, 29), ...entries(30, 40, 2)])
  })

  test('a record torn at any byte is cut off and the log goes on from before it', async () => {
    await written({ entries: entries(1, 3) })
    await powerFails()
    const file = await lastSegment()
    const whole = await readFile(file)
    const recordBytes = (whole.byteLength - 8) / 3
    for (let cut = whole.byteLength - 1; cut > whole.byteLength - recordBytes; cut -= 3) {
      await writeFile(file, whole.subarray(0, cut))
      expect((await reload()).state.entries).toEqual(entries(1, 2))
      await powerFails()
      expect((await stat(file)).size).toBe(whole.byteLength - recordBytes)
    }
    const store = await written({ entries: entries(3, 4, 2) })
    await store.close()
    expect((await reload()).state.entries).toEqual([...entries(1, 2), ...entries(3, 4, 2)])
  })

  test('garbage after the last record is cut off', async () => {
    await written({ entries: entries(1, 3) })
    await appendFile(await lastSegment(), Buffer.alloc(77, 0xab))
    expect((await reload()).state.entries).toEqual(entries(1, 3))
  })

  test('damage before a whole record is refused, never cut off', async () => {
    await written({ entries: entries(1, 10) })
    const file = await lastSegment()
    const size = (await stat(file)).size
    const recordBytes = (size - 8) / 10
    for (const offset of [0, 1, 4, 9, 15, 25]) {
      await flip(file, 8 + 4 * recordBytes + offset)
      await expect(reload()).rejects.toMatchObject({ code: 'LOG_CORRUPT', details: { file } })
      await flip(file, 8 + 4 * recordBytes + offset)
    }
    expect((await stat(file)).size).toBe(size)
    expect((await reload()).state.entries).toEqual(entries(1, 10))
  })

  test('damage at the end of a file that others follow is refused', async () => {
    await written({ entries: entries(1, 100) })
    const first = path.join(directory, (await segments())[0]!)
    await truncate(first, (await stat(first)).size - 5)
    await expect(reload()).rejects.toMatchObject({ code: 'LOG_CORRUPT' })
  })

  test('a lost file in the middle is refused', async () => {
    await written({ entries: entries(1, 100) })
    await rm(path.join(directory, (await segments())[1]!))
    await expect(reload()).rejects.toMatchObject({ code: 'LOG_CORRUPT' })
  })

  test('after a clean end even the last record may not be missing', async () => {
    const store = await written({ entries: entries(1, 3) })
    await store.close()
    const file = await lastSegment()
    await truncate(file, (await stat(file)).size - 1)
    await expect(reload()).rejects.toMatchObject({ code: 'LOG_CORRUPT' })
  })

  test('an unreadable term and vote are refused: the peer could vote twice', async () => {
    await written({ hardState: { term: 3, votedFor: VOTERS[0] } })
    await flip(path.join(directory, 'hard'), 6)
    await expect(reload()).rejects.toMatchObject({ code: 'LOG_CORRUPT' })
  })

  test('own snapshots drop what only the older of two needs no more', async () => {
    const store = await written(
      { entries: entries(1, 100) },
      { snapshot: snapshot(40), log: { keepFrom: 36 } },
      { snapshot: snapshot(80), log: { keepFrom: 76 } },
    )
    expect((await store.readSnapshot())?.index).toBe(80)
    const { state } = await reload()
    expect(state.snapshot?.index).toBe(80)
    expect(state.entries[0]!.index).toBeLessThanOrEqual(41)
    expect(state.entries[0]!.index).toBeGreaterThan(1)
    expect(state.entries.at(-1)!.index).toBe(100)
    await store.write([persist({ snapshot: snapshot(100), log: { keepFrom: 96 } })])
    expect((await readdir(directory)).filter(name => name.startsWith('snap-'))).toHaveLength(2)
  })

  test('a snapshot that is written beforehand counts only when the log is told of it', async () => {
    const store = await written({ hardState: { term: 1 }, entries: entries(1, 40) })
    const made = snapshot(20)
    await store.stageSnapshot(made)
    const names = async () => (await readdir(directory)).filter(name => name.startsWith('snap-'))
    expect((await reload()).snapshot).toBeUndefined()
    // The start removed what was unfinished.
    expect(await names()).toEqual([])
    const again = await written()
    await again.stageSnapshot(made)
    const { ino } = await stat(path.join(directory, (await names())[0]!))
    await again.write([persist({ snapshot: made, log: { keepFrom: 19 } })])
    const [placed] = await names()
    expect((await stat(path.join(directory, placed!))).ino).toBe(ino)
    expect((await reload()).snapshot).toEqual(made)
  })

  test('another snapshot than the one written beforehand is written itself', async () => {
    const store = await written({ hardState: { term: 1 }, entries: entries(1, 40) })
    await store.stageSnapshot(snapshot(20))
    const other = snapshot(20, 1, 77)
    await store.write([persist({ snapshot: other, log: { keepFrom: 19 } })])
    expect((await reload()).snapshot).toEqual(other)
  })

  test('a damaged newest snapshot is replaced by the older one and the log', async () => {
    await written(
      { entries: entries(1, 100) },
      { snapshot: snapshot(40), log: { keepFrom: 36 } },
      { snapshot: snapshot(80), log: { keepFrom: 76 } },
    )
    await flip(path.join(directory, 'snap-0000000000000080'), 60)
    const { state, snapshot: found } = await reload()
    expect(found).toEqual(snapshot(40))
    expect(state.entries.at(-1)!.index).toBe(100)
    expect(state.entries[0]!.index).toBeLessThanOrEqual(41)
  })

  test('a damaged snapshot that the log does not replace is refused', async () => {
    await written({ entries: entries(1, 10) }, { snapshot: snapshot(50), log: 'reset' })
    await flip(path.join(directory, 'snap-0000000000000050'), 60)
    await expect(reload()).rejects.toMatchObject({ code: 'LOG_CORRUPT' })
  })

  test("a leader's snapshot replaces the log, also one that was longer and marked durable", async () => {
    const store = await written({ entries: entries(1, 100) })
    await store.close()
    const again = await written({ snapshot: snapshot(50, 3), log: 'reset' }, { entries: entries(51, 60, 3) })
    expect((await again.readSnapshot())?.term).toBe(3)
    const { state } = await reload()
    expect(state.snapshot).toMatchObject({ index: 50, term: 3 })
    expect(state.entries).toEqual(entries(51, 60, 3))
  })

  test('a crash between taking in a snapshot and dropping the old log is finished at the start', async () => {
    await written({ entries: entries(1, 20) })
    const old = new Map<string, Buffer>()
    for (const name of await segments()) old.set(name, await readFile(path.join(directory, name)))
    await written({ snapshot: snapshot(15, 3), log: 'reset' })
    for (const [name, bytes] of old) await writeFile(path.join(directory, name), bytes)
    const { state } = await reload()
    expect(state).toMatchObject({ snapshot: { index: 15, term: 3 }, entries: [] })
    expect(await segments()).toEqual([])
  })

  test('a directory that was put in place of the log is left as it is, by votes and by the end', async () => {
    const store = await written({ hardState: { term: 3 } }, { entries: entries(1, 5, 3) })
    const moved = `${directory}-moved`
    await rename(directory, moved)
    await mkdir(directory)
    await writeFile(path.join(directory, 'hard'), "another's")
    await writeFile(path.join(directory, 'mark'), "another's")
    await expect(store.write([persist({ hardState: { term: 4 } })])).rejects.toThrow('removed or replaced')
    await store.close()
    expect(await readFile(path.join(directory, 'hard'), 'utf8')).toBe("another's")
    expect((await readdir(directory)).sort()).toEqual(['hard', 'mark'])
    const found = new DiskLogStore(moved)
    expect((await found.load()).state).toMatchObject({ hardState: { term: 3 }, entries: entries(1, 5, 3) })
    await found.close()
    await rm(moved, { recursive: true })
  })

  test('files of an unfinished replacement are ignored and removed', async () => {
    await written({ hardState: { term: 4 } })
    await writeFile(path.join(directory, 'hard.tmp'), 'half')
    expect((await reload()).state.hardState.term).toBe(4)
    expect(await readdir(directory)).not.toContain('hard.tmp')
  })

  test('any run of writes, flushed together or apart, reads back as it does from memory', async () => {
    for (let seed = 1; seed <= 15; seed++) {
      const random = seededRandom(seed)
      await rm(directory, { recursive: true })
      let disk = open(600)
      const memory = new MemoryLogStore()
      await disk.load()
      let last = 0
      let term = 1
      let snapshotIndex = 0
      for (let round = 0; round < 20; round++) {
        const batch: PersistEffect[] = []
        for (let i = 0; i <= below(random, 3); i++) {
          const choice = below(random, 10)
          if (choice < 6) {
            const count = 1 + below(random, 12)
            batch.push(persist({ entries: entries(last + 1, last + count, term, below(random, 60)) }))
            last += count
          } else if (choice < 8 && last > snapshotIndex) {
            term++
            const from = snapshotIndex + 1 + below(random, last - snapshotIndex)
            batch.push(
              persist({
                hardState: { term, votedFor: VOTERS[0] },
                truncateFrom: from,
                entries: [entry(from, term)],
              }),
            )
            last = from
          } else if (choice === 8 && last > snapshotIndex) {
            snapshotIndex = last
            batch.push(persist({ snapshot: snapshot(last, term), log: { keepFrom: last + 1 } }))
          } else if (choice === 9) {
            last += 50
            term++
            snapshotIndex = last
            batch.push(persist({ hardState: { term }, snapshot: snapshot(last, term), log: 'reset' }))
          }
        }
        await disk.write(batch)
        await memory.write(batch)
        if (below(random, 3) > 0) continue
        if (below(random, 2) === 0) await disk.close()
        disk = open(600)
        const [fromDisk, fromMemory] = [await disk.load(), await memory.load()]
        expect(fromDisk.state.hardState.term, `seed ${seed}`).toBe(fromMemory.state.hardState.term)
        expect(fromDisk.state.snapshot, `seed ${seed}`).toEqual(fromMemory.state.snapshot)
        const needed = fromDisk.state.entries.filter(found => found.index > snapshotIndex)
        expect(needed, `seed ${seed}`).toEqual(
          fromMemory.state.entries.filter(found => found.index > snapshotIndex),
        )
      }
      await disk.close()
    }
  })
})
