import { fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { JobListing } from '../../src/node/index.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

const cluster = useCluster(2)

const CLIENT = fileURLToPath(new URL('../support/endless-client.ts', import.meta.url))

test('two jobs at once are shared fairly: a small one behind a large one does not wait for its end', async () => {
  const [mesh, other] = await cluster().clients(2)
  const run = async (asked: typeof mesh, partitions: number) =>
    await asked!
      .range(0, partitions, 1, partitions)
      .map(partition => {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100)
        return { partition, atMs: Date.now() }
      })
      .collect()
  const running = Promise.withResolvers<void>()
  using _ = mesh!.onJobEvent(event => {
    if (event.type === 'progress' && event.progress.stages.some(({ done }) => done > 1)) running.resolve()
  })
  const large = run(mesh, 80)
  large.catch(() => {})
  await running.promise
  const small = await run(other, 6)
  const endedMs = Math.max(...small.map(({ atMs }) => atMs))
  expect((await large).filter(({ atMs }) => atMs > endedMs).length).toBeGreaterThan(10)
})

test('an executor that joins in the middle of a job gets work of it', async () => {
  const [mesh] = await cluster().clients(1)
  const gate = join(cluster().directory, 'joined')
  // The first tasks wait for it; far more of them than executors are given ahead come after.
  const partitions = 120
  const job = mesh!
    .range(0, partitions, 1, partitions)
    .map(() => {
      const { existsSync } = process.getBuiltinModule('node:fs')
      const still = new Int32Array(new SharedArrayBuffer(4))
      for (let waited = 0; !existsSync(gate) && waited < 1_200; waited++) Atomics.wait(still, 0, 0, 50)
      Atomics.wait(still, 0, 0, 50)
      return process.pid
    })
    .collect()
  job.catch(() => {})
  const joined = await cluster().add()
  await cluster().ready()
  writeFileSync(gate, '')
  const pids = await job
  expect(pids).toHaveLength(partitions)
  expect(pids.filter(pid => pid === joined.pid).length).toBeGreaterThan(0)
})

test('a requester that is killed has its job cancelled when its lease ends, and the workers are free again', async () => {
  const [mesh] = await cluster().clients(1)
  const addresses = cluster()
    .running()
    .flatMap(peer => [...peer.addresses])
  const key = Buffer.from(cluster().key).toString('hex')
  const client = fork(CLIENT, [addresses.join(' '), key, 'left alone'], {
    stdio: 'inherit',
    execArgv: ['--no-warnings'],
  })
  const listed = async (status: JobListing['status']): Promise<JobListing | undefined> =>
    (await mesh!.jobs()).find(job => job.name === 'left alone' && job.status === status)
  try {
    await waitFor('the job to be listed', async () => await listed('running'), 60_000)
  } finally {
    client.kill('SIGKILL')
    await once(client, 'exit')
  }
  const job = await waitFor('its end', async () => await listed('cancelled'), 60_000)
  expect(job.reason).toMatch(/requester/)
  // Every worker was busy for ever; this can only end when they are free.
  expect(await mesh!.range(0, 300, 1, 12).count()).toBe(300)
})
