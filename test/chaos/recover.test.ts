import { execFile } from 'node:child_process'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, expect, test } from 'vitest'
import { bytesOf, textOf } from '../support/file-bytes.ts'
import { LocalCluster } from '../support/local-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

const SHOAL = fileURLToPath(new URL('../../bin/shoal.js', import.meta.url))
const run = promisify(execFile)

let cluster: LocalCluster | undefined

afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') console.error(cluster?.logs())
  await cluster?.[Symbol.asyncDispose]()
  cluster = undefined
})

test('a mesh that lost two of three voters for good comes back from the third, with the files that it has', async () => {
  cluster = await LocalCluster.start(3)
  const [, , third] = cluster.peers
  const mesh = await cluster.connect()
  await mesh.fs.put('/kept.txt', bytesOf('kept\n'))
  for (const peer of cluster.peers) await peer.kill()
  for (const peer of cluster.peers.slice(0, 2)) await rm(peer.dataDirectory, { recursive: true })

  const inspected = await run(process.execPath, [
    SHOAL,
    'recover',
    '--inspect',
    '--json',
    third!.dataDirectory,
  ])
  const { directories } = JSON.parse(inspected.stdout) as {
    directories: { meshId: string; lastIndex: number; voters: string[] }[]
  }
  expect(directories[0]!.voters).toHaveLength(3)
  const unasked = run(process.execPath, [SHOAL, 'recover', '--unsafe', third!.dataDirectory])
  await expect(unasked).rejects.toMatchObject({ code: 2 })
  const recovered = await run(process.execPath, [
    SHOAL,
    'recover',
    '--unsafe',
    '--yes',
    '--json',
    third!.dataDirectory,
  ])
  const { meshId, was } = JSON.parse(recovered.stdout) as { meshId: string; was: string }
  expect(was).toBe(directories[0]!.meshId)

  await third!.start()
  const again = await cluster.connect(third)
  await waitFor('the recovered peer to lead', async () => (await third!.status()).role === 'leader')
  expect((await third!.status()).meshId).toBe(meshId)
  expect(await textOf(again.fs.get('/kept.txt'))).toBe('kept\n')
  await again.fs.mkdir('/after')
  expect((await again.fs.stat('/after')).type).toBe('directory')
  const members = await waitFor('the lost peers to be down in the log', async () => {
    const { members } = await third!.status()
    return members.filter(({ state }) => state === 'down').length === 2 ? members : undefined
  })
  expect(members).toHaveLength(3)
  // A mesh of one: what is written has one copy, which is as many as there can be.
  await again.fs.put('/alone.txt', bytesOf('alone\n'))
  expect(await textOf(again.fs.get('/alone.txt'))).toBe('alone\n')
})

test('a voter whose log is damaged rejoins by itself, without a vote at first, and votes again', async () => {
  cluster = await LocalCluster.start(3)
  const mesh = await cluster.connect()
  for (let file = 0; file < 20; file++) await mesh.fs.put(`/f${file}`, bytesOf(`${file}\n`))
  const followers = []
  for (const peer of cluster.peers) if ((await peer.status()).role === 'follower') followers.push(peer)
  const [broken] = followers
  const { peerId } = await broken!.status()
  await broken!.kill()
  const meta = join(broken!.dataDirectory, 'meta')
  const segment = join(
    meta,
    (await readdir(meta)).find(name => name.startsWith('log-'))!,
  )
  const bytes = await readFile(segment)
  bytes.fill(0, 1_000, 1_200)
  await writeFile(segment, bytes)

  await broken!.start()
  const back = await waitFor('the damaged log to be reported and made up for', async () => {
    const status = await broken!.status()
    return !status.forgot && status.voters.includes(peerId) && status.voters.length === 3 ? status : undefined
  })
  expect(back.damagedLogs).toHaveLength(1)
  expect(await readdir(meta)).toContain(back.damagedLogs[0]!.folder)
  const again = await cluster.connect(broken)
  for (let file = 0; file < 20; file++) expect(await textOf(again.fs.get(`/f${file}`))).toBe(`${file}\n`)
  // It counts: with another voter gone there is a majority only with it.
  await followers[1]!.kill()
  await again.fs.put('/with-its-vote', bytesOf('yes\n'))
})
