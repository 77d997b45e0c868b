import { cp, mkdtemp, readdir, readFile, rm, truncate, unlink, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { asPeerId } from '../../../src/base/index.ts'
import type { PeerId } from '../../../src/base/index.ts'
import { DiskLogStore } from '../../../src/gossip/disk-log-store.ts'
import type { StoredLog } from '../../../src/gossip/log-store.ts'
import type { PersistEffect, RaftEntry } from '../../../src/gossip/raft-types.ts'

const A = asPeerId('a')
const B = asPeerId('b')
const C = asPeerId('c')
/** Of the last 64 KiB of the log, every so manyth byte is damaged; `npm run test:chaos` takes more, and `SHOAL_STRIDE=1` each. */
const STRIDE = Number(process.env['SHOAL_STRIDE'] ?? 1_499)
/** Which one first. */
const FIRST = Number(process.env['SHOAL_SEED'] ?? 0) % STRIDE
const TAIL_BYTES = 64 * 1024

function command(index: number, bytes: number): RaftEntry {
  return { kind: 'command', index, term: 2, timeMs: 1_000 + index, data: new Uint8Array(bytes).fill(index) }
}

/** A config entry, then commands: what a peer of `voters` has acknowledged. */
function history(voters: PeerId[], count: number, bytes: number): RaftEntry[] {
  const first: RaftEntry = { kind: 'config', index: 1, term: 1, timeMs: 1, voters }
  return [first, ...Array.from({ length: count - 1 }, (_, at) => command(at + 2, bytes))]
}

describe('a log that is damaged', () => {
  let directory = ''
  let wallMs = 1_700_000_000_000
  let killed: DiskLogStore[] = []

  beforeEach(async () => {
    directory = await mkdtemp(path.join(os.tmpdir(), 'shoal-damage-'))
  })
  afterEach(async () => {
    for (const store of killed) await store.close()
    killed = []
    await rm(directory, { recursive: true })
  })

  const open = (folder = directory, self = A): DiskLogStore =>
    new DiskLogStore(folder, { self, segmentBytes: 20_000, wallMs: () => wallMs })

  /** What the process had acknowledged when it was killed. */
  async function written(entries: RaftEntry[], folder = directory): Promise<void> {
    const store = open(folder)
    await store.load()
    const effect: PersistEffect = { type: 'persist', seq: 1, hardState: { term: 2, votedFor: B } }
    await store.write([effect])
    await store.write([{ type: 'persist', seq: 2, entries }])
    killed.push(store)
  }

  async function loaded(folder = directory): Promise<StoredLog> {
    const store = open(folder)
    try {
      return await store.load()
    } finally {
      await store.close()
    }
  }

  const segments = async (folder = directory): Promise<string[]> =>
    (await readdir(folder)).filter(name => name.startsWith('log-')).sort()

  async function damageMiddle(folder = directory): Promise<void> {
    const file = path.join(folder, (await segments(folder))[0]!)
    const bytes = await readFile(file)
    bytes[400] = bytes[400]! ^ 0xff
    await writeFile(file, bytes)
  }

  test('is set aside whole, and the peer begins anew, without a vote', async () => {
    await written(history([A, B, C], 100, 500))
    const before = await segments()
    await damageMiddle()
    const { state, snapshot, damages } = await loaded()
    expect(state).toEqual({
      hardState: { term: 0 },
      entries: [],
      life: { number: wallMs, forgot: true },
    })
    expect(snapshot).toBeUndefined()
    expect(damages).toHaveLength(1)
    expect(damages![0]!.reason).toContain('damaged at byte')
    expect(await segments(path.join(directory, damages![0]!.folder))).toEqual(before)
    expect(await segments()).toEqual([])
  })

  test('is not forgotten by a restart, nor by one after entries came in', async () => {
    await written(history([A, B, C], 10, 50))
    await damageMiddle()
    for (let start = 0; start < 3; start++) {
      const store = open()
      const { state } = await store.load()
      expect(state.life).toEqual({ number: wallMs, forgot: true })
      expect(state.entries.length).toBe(start * 2)
      const at = start * 2 + 1
      const entries = [command(at, 5), command(at + 1, 5)]
      await store.write([{ type: 'persist', seq: 1, hardState: { term: 2 }, entries }])
      await store.close()
    }
  })

  test('is forgiven only when that is durable, and a second damage is a later life, even if the clock went back', async () => {
    await written(history([A, B, C], 10, 50))
    await damageMiddle()
    const store = open()
    await store.load()
    await store.write([{ type: 'persist', seq: 1, settled: true, entries: history([A, B, C], 10, 50) }])
    await store.close()
    expect((await loaded()).state.life).toEqual({ number: wallMs, forgot: false })
    wallMs -= 3_600_000
    await damageMiddle()
    const { state, damages } = await loaded()
    expect(state.life).toEqual({ number: wallMs + 3_600_001, forgot: true })
    expect(damages).toHaveLength(2)
    wallMs += 3_600_000
  })

  test('a crash while it is set aside leaves it set aside', async () => {
    await written(history([A, B, C], 100, 500))
    await damageMiddle()
    const { damages } = await loaded()
    // As the crash would have left it: the note is written, and only some files are moved.
    const folder = path.join(directory, damages![0]!.folder)
    const { readLife, writeLife } = await import('../../../src/gossip/log-damage.ts')
    await writeLife(directory, { ...(await readLife(directory))!, moving: true })
    const [first] = await segments(folder)
    await cp(path.join(folder, first!), path.join(directory, first!))
    await unlink(path.join(folder, first!))
    const { state } = await loaded()
    expect(state).toMatchObject({ entries: [], life: { forgot: true } })
    expect(await segments(folder)).toContain(first)
  })

  test('of the only voter is refused and left as it is: nobody else is sure to have it', async () => {
    await written(history([A], 100, 500))
    await damageMiddle()
    const content = async (): Promise<Record<string, string>> => {
      const found: Record<string, string> = {}
      for (const name of (await readdir(directory)).sort())
        found[name] = await readFile(path.join(directory, name), 'hex')
      return found
    }
    const before = await content()
    await expect(loaded()).rejects.toThrow(/only voter.*shoal recover --unsafe/s)
    await expect(loaded()).rejects.toMatchObject({ code: 'LOG_CORRUPT' })
    expect(await content()).toEqual(before)
  })

  test('a peer that only learnt from the one voter fetches it again from there', async () => {
    await written(history([B], 100, 500))
    await damageMiddle()
    expect((await loaded()).state.life).toMatchObject({ forgot: true })
  })

  test.each(['hard', 'life'])('an unreadable or lost `%s` is damage like any other', async name => {
    await written(history([A, B, C], 10, 50))
    await writeFile(path.join(directory, name), 'nonsense')
    expect((await loaded()).state).toMatchObject({ entries: [], life: { forgot: true } })
  })

  test('entries without a term and a vote are no log', async () => {
    await written(history([A, B, C], 10, 50))
    await unlink(path.join(directory, 'hard'))
    expect((await loaded()).state).toMatchObject({ entries: [], life: { forgot: true } })
  })

  test('an acknowledged last record that is damaged or missing is no torn one', async () => {
    await written(history([A, B, C], 10, 50))
    const file = path.join(directory, (await segments()).at(-1)!)
    const whole = await readFile(file)
    for (let cut = 1; cut < 70; cut += 7) {
      const copy = await mkdtemp(path.join(os.tmpdir(), 'shoal-damage-cut-'))
      await cp(directory, copy, { recursive: true })
      await truncate(path.join(copy, path.basename(file)), whole.byteLength - cut)
      expect((await loaded(copy)).state, `cut ${cut}`).toMatchObject({ entries: [], life: { forgot: true } })
      await rm(copy, { recursive: true })
    }
  })

  test(
    'flipped or cut at any place of its last 64 KiB, it is the same log, or it is set aside: never another log',
    async () => {
      const entries = history([A, B, C], 160, 500)
      await written(entries)
      const files = new Map<string, Buffer>()
      for (const name of await segments()) files.set(name, await readFile(path.join(directory, name)))
      const hard = await readFile(path.join(directory, 'hard'))
      const places: { name: string; at: number }[] = []
      for (const [name, bytes] of [...files].toReversed()) {
        for (let at = bytes.byteLength - 1; at >= 0 && places.length < TAIL_BYTES; at--)
          places.push({ name, at })
      }
      const outcomes = { same: 0, aside: 0 }
      for (let place = FIRST; place < places.length; place += STRIDE) {
        const { name, at } = places[place]!
        const whole = files.get(name)!
        for (const how of ['flip', 'cut', 'machine crash and cut'] as const) {
          const bytes = how === 'flip' ? Buffer.from(whole) : whole.subarray(0, at)
          if (how === 'flip') bytes[at] = bytes[at]! ^ (1 << (place % 8))
          await writeFile(path.join(directory, name), bytes)
          const mark = await readFile(path.join(directory, 'mark'))
          if (how === 'machine crash and cut') await unlink(path.join(directory, 'mark'))
          const { state, damages } = await loaded()
          if (damages !== undefined) {
            expect(state).toMatchObject({ entries: [], life: { forgot: true } })
            outcomes.aside++
          } else if (how === 'machine crash and cut') {
            // Torn: what was there before it, whole.
            expect(state.entries).toEqual(entries.slice(0, state.entries.length))
            outcomes.same++
          } else {
            expect(state.entries, `${how} ${name} at ${at}`).toEqual(entries)
            outcomes.same++
          }
          for (const found of await readdir(directory)) {
            if (found === 'life' || found.startsWith('damaged-'))
              await rm(path.join(directory, found), { recursive: true })
          }
          for (const [each, content] of files) await writeFile(path.join(directory, each), content)
          await writeFile(path.join(directory, 'mark'), mark)
          // Closing the store brought its mark up to date, which a kill would not.
          await writeFile(path.join(directory, 'hard'), hard)
        }
      }
      expect(outcomes.aside).toBeGreaterThan(outcomes.same)
      expect(outcomes.same).toBeGreaterThan(0)
    },
    60_000 + Math.ceil(60_000_000 / STRIDE),
  )
})
