import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { asMeshId, asPeerId } from '../../../src/base/index.ts'
import { DiskLogStore } from '../../../src/gossip/disk-log-store.ts'
import type { RaftEntry } from '../../../src/gossip/raft-types.ts'
import { DataDirectory, readMeshRecord } from '../../../src/node/data-directory.ts'
import { checkMesh } from '../../../src/node/net/hello.ts'
import { loadIdentity } from '../../../src/node/net/index.ts'
import { inspectDirectory, recoverMesh, rejoinMesh } from '../../../src/node/recover.ts'

const MESH = asMeshId('00112233445566778899aabbccddeeff')
const OTHERS = ['lost-1', 'lost-2'].map(asPeerId)

/** The directory of one voter of three, as a kill left it. */
async function survivor(directory: string): Promise<RaftEntry[]> {
  {
    await using held = await DataDirectory.open(directory)
    await held.writeMesh({ meshId: MESH, name: 'p3', generation: 4 })
  }
  const { id } = await loadIdentity(directory)
  const entries: RaftEntry[] = [
    { kind: 'config', index: 1, term: 1, timeMs: 1_000, voters: [id, ...OTHERS] },
    ...Array.from({ length: 50 }, (_, at): RaftEntry => ({
      kind: 'command',
      index: at + 2,
      term: 5,
      timeMs: 2_000 + at,
      data: new Uint8Array(300).fill(at),
    })),
  ]
  const store = new DiskLogStore(path.join(directory, 'meta'), { segmentBytes: 4_000 })
  await store.load()
  const hardState = { term: 7, votedFor: OTHERS[0] }
  await store.write([{ type: 'persist', seq: 1, hardState, entries }])
  await store.close()
  return entries
}

describe('recover', () => {
  let directory = ''
  beforeEach(async () => {
    directory = path.join(await mkdtemp(path.join(os.tmpdir(), 'shoal-recover-')), 'p3')
  })
  afterEach(() => rm(path.dirname(directory), { recursive: true }))

  const meta = (): string => path.join(directory, 'meta')
  async function logNow() {
    const store = new DiskLogStore(meta())
    const stored = await store.load()
    await store.close()
    return stored
  }
  async function damage(part: number): Promise<string> {
    const names = (await readdir(meta())).filter(name => name.startsWith('log-')).sort()
    const file = path.join(meta(), names[Math.floor(names.length * part)]!)
    const bytes = await readFile(file)
    bytes[50] = bytes[50]! ^ 0xff
    await writeFile(file, bytes)
    return file
  }

  test('inspecting tells what is there and changes nothing', async () => {
    await survivor(directory)
    const copy = `${directory}-copy`
    await cp(directory, copy, { recursive: true })
    expect(await inspectDirectory(directory)).toMatchObject({
      meshId: MESH,
      name: 'p3',
      term: 7,
      votedFor: OTHERS[0],
      lastIndex: 51,
      lastTerm: 5,
      isDamaged: false,
      forgot: false,
    })
    await damage(0.5)
    const report = await inspectDirectory(directory)
    expect(report.isDamaged).toBe(true)
    expect(report.lastIndex).toBeGreaterThan(5)
    expect(report.lastIndex).toBeLessThan(40)
    expect((await readdir(meta())).sort()).toEqual((await readdir(path.join(copy, 'meta'))).sort())
  })

  test('makes the peer the only voter of a later term, with all that it had', async () => {
    const entries = await survivor(directory)
    const { id } = await loadIdentity(directory)
    const { meshId, was } = await recoverMesh(directory)
    expect(was).toBe(MESH)
    const { state } = await logNow()
    expect(state.hardState).toEqual({ term: 8, votedFor: id })
    expect(state.entries.slice(0, -1)).toEqual(entries)
    expect(state.entries.at(-1)).toEqual({
      kind: 'config',
      index: 52,
      term: 8,
      timeMs: 2_049,
      voters: [id],
    })
    expect(await readMeshRecord(directory)).toMatchObject({ meshId, recoveredFrom: MESH, generation: 4 })
  })

  test('of a damaged log keeps what comes before the damage, and the damaged files', async () => {
    const entries = await survivor(directory)
    await damage(0.5)
    const { lastIndex } = await inspectDirectory(directory)
    await recoverMesh(directory)
    const { state } = await logNow()
    expect(state.entries.slice(0, -1)).toEqual(entries.slice(0, lastIndex))
    expect(state.life?.forgot).toBe(false)
    const aside = (await readdir(meta())).filter(name => name.startsWith('damaged-'))
    expect(aside).toHaveLength(1)
    expect((await readdir(path.join(meta(), aside[0]!))).length).toBeGreaterThan(5)
  })

  test('can be repeated when it was cut off after the damaged log was set aside', async () => {
    const entries = await survivor(directory)
    await damage(0.5)
    const { lastIndex } = await inspectDirectory(directory)
    const { setAside } = await import('../../../src/gossip/log-damage.ts')
    await setAside(meta(), 'cut off', Date.now())
    await recoverMesh(directory)
    expect((await logNow()).state.entries.slice(0, -1)).toEqual(entries.slice(0, lastIndex))
  })

  test('the generation before is refused, and is told why', async () => {
    await survivor(directory)
    const { meshId } = await recoverMesh(directory)
    expect(meshId).not.toBe(MESH)
    expect(() => checkMesh(meshId, MESH)).toThrow(/generation.*recover --unsafe.*recover --rejoin/s)
    const other = asMeshId('ffffffffffffffffffffffffffffffff')
    expect(() => checkMesh(meshId, other)).toThrow(/give each mesh its own secret/)
  })

  test('a peer that was left behind comes over without a log, hence without a vote', async () => {
    await survivor(directory)
    const next = asMeshId(`${MESH.slice(0, 24)}00000000`)
    await rejoinMesh(directory, next)
    const { state } = await logNow()
    expect(state).toMatchObject({ hardState: { term: 0 }, entries: [], life: { forgot: true } })
    expect((await readMeshRecord(directory))?.meshId).toBe(next)
    await expect(rejoinMesh(directory, asMeshId('f'.repeat(32)))).rejects.toMatchObject({
      code: 'MESH_MISMATCH',
    })
  })

  test('a peer that runs is left alone, and so is a directory that is none', async () => {
    await survivor(directory)
    await using _held = await DataDirectory.open(directory)
    await expect(recoverMesh(directory)).rejects.toMatchObject({ code: 'DATA_DIR_LOCKED' })
    expect((await readMeshRecord(directory))?.meshId).toBe(MESH)
    await expect(inspectDirectory(path.dirname(directory))).rejects.toMatchObject({
      code: 'DATA_DIR_INVALID',
    })
  })
})
