import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createPeer, readMeshKey, type Peer, type PeerOptions } from '../../src/node/index.ts'
import { startShoal } from '../support/cli-process.ts'
import { waitFor } from '../support/wait-for.ts'

/** Peers in this process: what happens to them between two starts, at moments that a kill rarely hits. */

let directory: string
let peers: Peer[]

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'shoal-lifecycle-'))
  peers = []
})

afterEach(async () => {
  await Promise.all(peers.map(peer => peer.stop()))
  rmSync(directory, { recursive: true, force: true })
})

async function start(name: string, options: Partial<PeerOptions> = {}): Promise<Peer> {
  const peer = await createPeer({
    dataDirectory: join(directory, name),
    name,
    host: name,
    workers: 1,
    // Suspicion at four times its usual pace: these peers are never slow for long.
    membership: { suspicionMs: 1_000 },
    ...options,
  })
  peers.push(peer)
  return peer
}

async function startMesh(names: readonly [string, ...string[]]): Promise<Peer[]> {
  const first = await start(names[0])
  await first.ready()
  const joining = { join: first.addresses(), meshKey: await readMeshKey(join(directory, names[0])) }
  const others = await Promise.all(names.slice(1).map(name => start(name, joining)))
  await first.ready({ peers: names.length })
  return [first, ...others]
}

/** As the log has it, by this peer. */
async function stateOf(name: string, at: Peer): Promise<string | undefined> {
  return (await at.mesh.status()).members.find(member => member.name === name)?.state
}

test('a founder that was killed before it had noted its mesh founds it at the next start, once', async () => {
  const first = await start('a')
  await first.ready()
  await first.stop()
  rmSync(join(directory, 'a', 'mesh.json'))
  const again = await start('a')
  await again.ready()
  expect(again.id).toBe(first.id)
  expect((await again.mesh.status()).voters).toEqual([first.id])
  await again.mesh.fs.mkdir('/works')
})

test('a peer that was killed while it drew the name of its directory draws another, and is admitted', async () => {
  const meta = join(directory, 'a', 'meta')
  mkdirSync(meta, { recursive: true })
  await writeFile(join(meta, 'directory.id'), '')
  const peer = await start('a')
  await peer.ready({ timeoutMs: 20_000 })
  expect(await stateOf('a', peer)).toBe('up')
})

test('a peer that left comes back as a member when it is started again', async () => {
  const [first, second] = await startMesh(['a', 'b'])
  await second!.leave()
  await waitFor('the log to say that it left', async () => (await stateOf('b', first!)) === 'left')
  const again = await start('b')
  await again.ready({ peers: 2 })
  expect(again.id).toBe(second!.id)
  expect(await stateOf('b', first!)).toBe('up')
  expect(await again.mesh.range(0, 10, 1, 4).sum()).toBe(45)
})

test('when all peers were down and one never comes back, it is found dead though nobody has heard of it', async () => {
  const mesh = await startMesh(['a', 'b', 'c', 'd'])
  await mesh[0]!.mesh.fs.mkdir('/kept')
  const listened = mesh.slice(0, 3).map(peer => ({
    name: peer.name,
    listen: peer.addresses().map(address => address.replace(/\/p2p\/.*$/, '')),
  }))
  await Promise.all(mesh.map(peer => peer.stop()))
  const back = await Promise.all(listened.map(({ name, listen }) => start(name, { listen })))
  await waitFor('the log to say that it is down', async () => (await stateOf('d', back[0]!)) === 'down')
  expect((await back[0]!.mesh.fs.stat('/kept')).type).toBe('directory')
})

test('a peer whose data directory is removed or replaced under it stops, and says why', async () => {
  const [first, second] = [await start('a'), await start('b')]
  await Promise.all([first.ready(), second.ready()])
  rmSync(join(directory, 'a'), { recursive: true })
  renameSync(join(directory, 'b'), join(directory, 'moved'))
  mkdirSync(join(directory, 'b', 'meta'), { recursive: true })
  const reasons = await Promise.all([first.failed, second.failed])
  expect(reasons.map(({ code }) => code)).toEqual(['DATA_DIR_LOST', 'DATA_DIR_LOST'])
  expect(reasons[0].message).toContain('is gone')
  expect(reasons[1].message).toContain('is not what it was')
})

test('the process of a peer whose data directory is removed ends with one line that says so', async () => {
  const data = join(directory, 'c')
  const peer = startShoal(['peer', '--data', data], { cwd: directory })
  await waitFor('the peer to serve', () => peer.output().includes('serves at'))
  rmSync(data, { recursive: true })
  const { code, stderr } = await peer.ended
  expect(code).toBe(1)
  expect(stderr.split('\n').filter(line => line.startsWith('error'))).toEqual([
    expect.stringMatching(/^error DATA_DIR_LOST: data directory .* was removed or replaced/),
  ])
})
