import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { asMeshId } from '../../../src/base/index.ts'
import { DataDirectory } from '../../../src/node/data-directory.ts'
import { loadIdentity } from '../../../src/node/net/identity.ts'
import { newMeshKey, readMeshKey, writeMeshKey } from '../../../src/node/net/mesh-key.ts'

let root: string
let path: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'shoal-data-'))
  path = join(root, 'deep', 'data')
})

afterEach(async () => {
  await rm(root, { recursive: true, force: true })
})

const source = pathToFileURL(join(import.meta.dirname, '../../../src/node/data-directory.ts')).href

/** Another process that opens the directory, says how that went, and holds it until it is killed. */
async function otherProcess() {
  const script = `
    const { DataDirectory } = await import(${JSON.stringify(source)})
    try { await DataDirectory.open(${JSON.stringify(path)}); console.log('held') }
    catch (error) { console.log(error.code); process.exit() }
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  const [said] = (await once(child.stdout, 'data')) as [Buffer]
  return {
    pid: child.pid!,
    said: said.toString().trim(),
    kill: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}

describe('data directory', () => {
  test('is created with its folders, readable by its owner only', async () => {
    await using directory = await DataDirectory.open(path)
    expect((await stat(path)).mode & 0o777).toBe(0o700)
    for (const folder of [directory.metaPath, directory.blocksPath, directory.outputPath]) {
      expect((await stat(folder)).isDirectory()).toBe(true)
    }
  })

  test('a second opening in the same process is refused; after release it opens again', async () => {
    const first = await DataDirectory.open(path)
    await expect(DataDirectory.open(path)).rejects.toMatchObject({
      code: 'DATA_DIR_LOCKED',
      details: { directory: path, pid: process.pid },
    })
    await first[Symbol.asyncDispose]()
    await first[Symbol.asyncDispose]()
    await using _again = await DataDirectory.open(path)
    expect((await readdir(path)).filter(name => name.startsWith('lock.')).length).toBe(1)
  })

  test('another process holds it until it is killed, and leaves nothing that is in the way', async () => {
    const holder = await otherProcess()
    try {
      expect(holder.said).toBe('held')
      await expect(DataDirectory.open(path)).rejects.toMatchObject({
        code: 'DATA_DIR_LOCKED',
        details: { directory: path, pid: holder.pid },
      })
    } finally {
      await holder.kill()
    }
    await using _mine = await DataDirectory.open(path)
    expect((await readdir(path)).filter(name => name.startsWith(`lock.${holder.pid}.`))).toEqual([])
  })

  test('of several processes that start at once over a stale lock, exactly one gets it', async () => {
    const dead = await otherProcess()
    await dead.kill()
    const rivals = await Promise.all([otherProcess(), otherProcess(), otherProcess()])
    try {
      expect(rivals.map(({ said }) => said).sort()).toEqual(['DATA_DIR_LOCKED', 'DATA_DIR_LOCKED', 'held'])
    } finally {
      await Promise.all(rivals.map(({ kill }) => kill()))
    }
  })

  test('a lock of a living pid that began at another time is stale', async () => {
    await (await DataDirectory.open(path))[Symbol.asyncDispose]()
    await writeFile(join(path, `lock.${process.ppid}.1`), '')
    await using _mine = await DataDirectory.open(path)
    expect(await readdir(path)).not.toContain(`lock.${process.ppid}.1`)
  })

  test('what cannot be a data directory is DATA_DIR_INVALID', async () => {
    const file = join(root, 'file')
    await writeFile(file, 'x')
    for (const wrong of [file, join(file, 'below'), '/proc/self/data']) {
      await expect(DataDirectory.open(wrong)).rejects.toMatchObject({
        code: 'DATA_DIR_INVALID',
        details: { directory: wrong },
      })
    }
  })

  test('remembers its mesh; a damaged record is refused', async () => {
    await using directory = await DataDirectory.open(path)
    expect(await directory.readMesh()).toBeUndefined()
    const record = { meshId: asMeshId('ab'.repeat(16)), name: 'anchovy', generation: 3 }
    await directory.writeMesh({ ...record, generation: 2 })
    await directory.writeMesh(record)
    expect(await directory.readMesh()).toEqual(record)
    expect((await readdir(path)).filter(name => name.startsWith('mesh.json'))).toEqual(['mesh.json'])
    for (const damage of ['', '{', '{"version":1,"meshId":"xyz","name":"a","generation":1}', 'null']) {
      await writeFile(join(path, 'mesh.json'), damage)
      await expect(directory.readMesh()).rejects.toMatchObject({ code: 'DATA_DIR_INVALID' })
    }
  })
})

describe('identity', () => {
  beforeEach(() => mkdir(path, { recursive: true }))

  test('is the same after a restart, and in a file of its owner only', async () => {
    const first = await loadIdentity(path)
    const second = await loadIdentity(path)
    expect(second.id).toBe(first.id)
    expect(first.id).toMatch(/^12D3KooW/)
    expect((await stat(join(path, 'identity.key'))).mode & 0o777).toBe(0o600)
    expect(await readdir(path)).toEqual(['identity.key'])
    expect((await loadIdentity(root)).id).not.toBe(first.id)
  })

  test('made twice at once is made once', async () => {
    const ids = await Promise.all(Array.from({ length: 5 }, async () => (await loadIdentity(path)).id))
    expect(new Set(ids).size).toBe(1)
  })

  test('a damaged key is refused, never replaced', async () => {
    await loadIdentity(path)
    await writeFile(join(path, 'identity.key'), 'abc')
    await expect(loadIdentity(path)).rejects.toMatchObject({ code: 'DATA_DIR_INVALID' })
  })
})

describe('mesh key', () => {
  beforeEach(() => mkdir(path, { recursive: true }))

  test('is read as it was written, from a file of its owner only', async () => {
    const secret = newMeshKey()
    await writeMeshKey(path, secret)
    await writeMeshKey(path, secret)
    expect(Buffer.from(await readMeshKey(path))).toEqual(Buffer.from(secret))
    expect((await stat(join(path, 'mesh.key'))).mode & 0o777).toBe(0o600)
  })

  test('none is NOT_A_MESH, a damaged one DATA_DIR_INVALID, another one is not overwritten', async () => {
    await expect(readMeshKey(root)).rejects.toMatchObject({ code: 'NOT_A_MESH' })
    await writeMeshKey(path, newMeshKey())
    await expect(writeMeshKey(path, newMeshKey())).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await writeFile(join(path, 'mesh.key'), 'xyz')
    await expect(readMeshKey(path)).rejects.toMatchObject({ code: 'DATA_DIR_INVALID' })
  })
})
