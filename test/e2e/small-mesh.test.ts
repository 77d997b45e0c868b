import { afterEach, expect, test } from 'vitest'
import { bytesOf, textOf } from '../support/file-bytes.ts'
import { LocalCluster, type ClusterSettings } from '../support/local-cluster.ts'
import { PeerProcess, PeerStartError } from '../support/peer-process.ts'
import { waitFor } from '../support/wait-for.ts'

let cluster: LocalCluster | undefined

async function start(peers: number, settings: ClusterSettings = {}): Promise<LocalCluster> {
  return (cluster = await LocalCluster.start(peers, settings))
}

afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') console.error(cluster?.logs())
  await cluster?.[Symbol.asyncDispose]()
  cluster = undefined
})

test('one peer is a mesh: files with one copy, jobs, and all of it back after a kill', async () => {
  const { peers } = await start(1)
  const [only] = peers
  const mesh = await cluster!.connect()
  await mesh.fs.put('/alone.txt', bytesOf('a b\nb\n'))
  expect(
    await mesh
      .textFile('/alone.txt')
      .flatMap(line => line.split(' '))
      .countByValue(),
  ).toEqual(
    new Map([
      ['a', 1],
      ['b', 2],
    ]),
  )
  expect((await only!.status()).files).toMatchObject({ underReplicated: 0, missing: 0 })
  await only!.kill()
  await cluster!.heal()
  const again = await cluster!.connect()
  expect(await textOf(again.fs.get('/alone.txt'))).toBe('a b\nb\n')
})

test('two peers keep two copies with one voter; the copies of an earlier lone peer are topped up', async () => {
  await start(1, { repair: { graceMs: 1_000 } })
  const mesh = await cluster!.connect()
  await mesh.fs.put('/early.txt', bytesOf('early\n'))
  const second = await cluster!.add()
  await cluster!.ready()
  await mesh.fs.put('/late.txt', bytesOf('late\n'))
  expect((await second.status()).voters).toHaveLength(1)
  await waitFor('two copies of both files', async () => {
    const places = await Promise.all([mesh.fs.locate('/early.txt'), mesh.fs.locate('/late.txt')])
    return places.every(({ partitions }) => partitions.every(place => place.live === 2))
  })
  await second.kill()
  expect(await textOf(mesh.fs.get('/early.txt'))).toBe('early\n')
  // The other one was the sole voter's learner: writes go on.
  await mesh.fs.mkdir('/still-writing')
})

test('a peer without room on its disk refuses a file with DISK_FULL and goes on serving', async () => {
  await start(1, { diskReserveBytes: Number.MAX_SAFE_INTEGER })
  const mesh = await cluster!.connect()
  const refused = await mesh.fs.put('/big.txt', bytesOf('some bytes\n')).catch((error: unknown) => error)
  expect(String(refused)).toMatch(/DISK_FULL|no space|free/i)
  await expect(mesh.fs.stat('/big.txt')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await mesh.fs.mkdir('/metadata-goes-on')
  expect(await mesh.range(10).sum()).toBe(45)
})

test('a data directory in use is DATA_DIR_LOCKED and a taken port PORT_TAKEN, and both name the culprit', async () => {
  const { peers } = await start(1)
  const [first] = peers
  const log = first!.logFile
  const { dataDirectory } = first!
  const same = await new PeerProcess({ name: 'same', dataDirectory }, log)
    .start()
    .catch(error => error as unknown)
  expect(same).toBeInstanceOf(PeerStartError)
  expect(same).toMatchObject({
    code: 'DATA_DIR_LOCKED',
    message: expect.stringContaining(String(first!.pid)) as string,
  })
  const listen = [first!.addresses[0]!.replace(/\/p2p\/.*$/, '')]
  const taken = await cluster!.add({ listen }).catch((error: unknown) => error)
  expect(taken).toMatchObject({ code: 'PORT_TAKEN', message: expect.stringContaining(listen[0]!) as string })
})
