import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { below, hasCode, shuffled } from '../../src/base/index.ts'
import type { Mesh } from '../../src/node/index.ts'
import { ChaosRounds, ROUNDS } from '../support/chaos-rounds.ts'
import { gatherBytes } from '../support/file-bytes.ts'
import { useCluster } from '../support/use-cluster.ts'

const KIB = 1024
/** Of one writer in one round; it stops when the peers are killed. */
const FILES_MAX = 100

const cluster = useCluster(5, { repair: { graceMs: 1_000 } })
const report = new ChaosRounds()

/** Hash of every file whose `put` was acknowledged, by path. */
const acknowledged = new Map<string, string>()
/** Files whose `put` ended without anybody knowing how: whole or not there, both are right. */
const unknown = new Map<string, string>()

afterAll(() => {
  console.log(`\n${report.table()}\n${acknowledged.size} files acknowledged, ${unknown.size} unknown`)
})

/** Writes one file in pieces of 64 KiB and keeps the books about how that ended. */
async function put(mesh: Mesh, path: string, bytes: Buffer): Promise<void> {
  const hash = createHash('sha256').update(bytes).digest('hex')
  async function* source(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += 64 * KIB) {
      yield bytes.subarray(at, at + 64 * KIB)
      await wait(2)
    }
  }
  try {
    await mesh.fs.put(path, source(), { format: 'binary', partitionBytes: 256 * KIB, parents: true })
    acknowledged.set(path, hash)
  } catch (error) {
    unknown.set(path, hash)
    if (!(error instanceof Error)) throw error
  }
}

/** Every acknowledged file reads back; what is listed beyond is one of unknown outcome, and whole. */
async function check(mesh: Mesh, directory: string): Promise<void> {
  const listed = (await mesh.fs.ls(directory).catch(error => orNothing(error))).map(entry => entry.path)
  const here = [...acknowledged.keys()].filter(path => path.startsWith(`${directory}/`))
  expect(here.filter(path => !listed.includes(path))).toEqual([])
  for (const path of listed) {
    const bytes = await gatherBytes(mesh.fs.get(path))
    const hash = createHash('sha256').update(bytes).digest('hex')
    expect(hash, path).toBe(acknowledged.get(path) ?? unknown.get(path))
  }
}

/** A directory without a single file is not there: it is made with the first one. */
function orNothing(error: unknown): never[] {
  if (hasCode(error, 'NOT_FOUND')) return []
  throw error
}

const heal = (): Promise<void> => cluster().heal()

test('a peer is killed at a random moment of a put', async () => {
  const failures = await report.run(
    'kill a peer during put',
    ROUNDS,
    async ({ round, random, took }) => {
      const [attached, victim] = shuffled(random, cluster().running())
      const mesh = await cluster().connect(attached)
      try {
        const startMs = performance.now()
        const path = `/put/${round}`
        const writing = put(mesh, path, randomBytes((512 + below(random, 1_536)) * KIB))
        await wait(below(random, 400))
        await victim!.kill()
        await writing
        took('put', performance.now() - startMs)
        // One peer of five is no reason to fail: two acknowledgements are enough.
        expect([...unknown.keys()]).not.toContain(path)
        await check(mesh, '/put')
      } finally {
        await mesh.close()
      }
    },
    heal,
  )
  expect(failures).toEqual([])
})

test('all five peers are killed at once while files are written, and started again', async () => {
  const failures = await report.run(
    'kill all five',
    ROUNDS,
    async ({ round, random, took }) => {
      const mesh = await cluster().connect()
      const directory = `/all/${round}`
      const over = new AbortController()
      const writers = Promise.all(
        Array.from({ length: 4 }, async (_, writer) => {
          for (let i = 0; i < FILES_MAX && !over.signal.aborted; i++) {
            await put(mesh, `${directory}/${writer}-${i}`, randomBytes(below(random, 600 * KIB)))
          }
        }),
      )
      await wait(500 + below(random, 1_500))
      over.abort()
      await Promise.all(cluster().peers.map(peer => peer.kill()))
      await mesh.close()
      await writers
      const startMs = performance.now()
      await cluster().heal()
      took('mesh serves again', performance.now() - startMs)
      const again = await cluster().connect()
      await check(again, directory)
      await again.close()
    },
    heal,
  )
  expect(failures).toEqual([])
  const mesh = await cluster().connect()
  for (let round = 1; round <= ROUNDS; round++) await check(mesh, `/all/${round}`)
})
