import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { shoal } from '../support/cli-process.ts'
import { textOf } from '../support/file-bytes.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

const cluster = useCluster(3)

const FINISH = { timeoutMs: 90_000 }

/** Runs of each partition, as the tasks themselves wrote them down. */
function runsIn(log: string): Map<number, number> {
  const runs = new Map<number, number>()
  for (const line of readFileSync(log, 'utf8').split('\n')) {
    if (line !== '') runs.set(Number(line), (runs.get(Number(line)) ?? 0) + 1)
  }
  return runs
}

test('results of detached jobs are what attached actions give, and wait until somebody takes them', async () => {
  const [mesh, other] = await cluster().clients(2)
  const numbers = mesh!.range(1, 1_001, 1, 6)
  const jobs = {
    collect: await numbers
      .filter(each => each % 100 === 0)
      .detached()
      .collect(),
    count: await numbers.detached({ name: 'how many' }).count(),
    reduce: await numbers
      .map(String)
      .detached()
      .reduce((left, right) => (left.length > 4 ? left : `${left}${right}`)),
    fold: await numbers.detached().fold(0, (left, right) => left + right),
    aggregate: await numbers.detached().aggregate(
      [0, 0],
      ([count = 0, sum = 0], each) => [count + 1, sum + each],
      ([count = 0, sum = 0], [more = 0, others = 0]) => [count + more, sum + others],
    ),
    nothing: await mesh!
      .emptyRDD<number>()
      .detached()
      .fold(7, (left, right) => left + right),
    empty: await mesh!
      .emptyRDD<number>()
      .detached()
      .reduce((left, right) => left + right),
  }
  await mesh!.close()
  const resultOf = async (name: keyof typeof jobs): Promise<unknown> =>
    await other!.detachedJob(jobs[name].jobId).result()
  expect(await resultOf('collect')).toEqual([100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000])
  expect(await resultOf('count')).toBe(1_000)
  expect(await resultOf('reduce')).toBe('12345')
  expect(await resultOf('fold')).toBe(500_500)
  expect(await resultOf('aggregate')).toEqual([1_000, 500_500])
  expect(await resultOf('nothing')).toBe(7)
  await expect(resultOf('empty')).rejects.toMatchObject({ code: 'EMPTY_RDD' })
  // Taken is taken, and nothing of it stays in the mesh.
  await expect(resultOf('count')).rejects.toMatchObject({ code: 'RESULT_GONE' })
  await expect(other!.detachedJob('nobody/1').wait()).rejects.toMatchObject({ code: 'JOB_UNKNOWN' })
  const listed = (await other!.jobs()).find(({ jobId }) => jobId === jobs.count.jobId)
  expect(listed).toMatchObject({ name: 'how many', status: 'done' })
  const stays = new Set([jobs.empty.jobId].map(jobId => jobId.replace('/', '-')))
  await waitFor('directories of jobs to be removed', async () =>
    (await other!.fs.ls('/.jobs')).every(({ name }) => stays.has(name)),
  )
})

test('the command line hands over what a module returns, lists it, and fetches its result once', async () => {
  const cwd = cluster().directory
  const [peer] = cluster().running()
  const env = {
    SHOAL_PEER: peer!.addresses[0]!,
    SHOAL_KEY: join(peer!.dataDirectory, 'mesh.key'),
  }
  const run = async (...args: string[]) => await shoal(args, { cwd, env })
  writeFileSync(
    join(cwd, 'squares.ts'),
    `import type { Mesh } from 'shoal'
export default (mesh: Mesh, [last = '0']: string[]) => mesh.range(1, Number(last) + 1, 1, 3).map(each => each * each)
`,
  )
  const handed = await run('run', '--detach', 'squares.ts', '5')
  expect(handed, handed.stderr).toMatchObject({ code: 0 })
  const jobId = handed.stdout.trim()
  expect(jobId).toMatch(/^[0-9a-f]{12}\/1$/)
  const kept = await run('job', 'result', jobId, '--keep')
  expect(kept, kept.stderr).toMatchObject({ code: 0, stdout: '1\n4\n9\n16\n25\n' })
  const jobs = await run('jobs')
  expect(jobs.stdout).toMatch(
    new RegExp(`${jobId} +done .*collect \\(detached, its result waits .+ longer\\)`),
  )
  const taken = await run('job', 'result', jobId, '--json')
  expect(JSON.parse(taken.stdout)).toEqual({ result: [1, 4, 9, 16, 25] })
  const saved = await run('run', '--json', '--detach', '--save', '/squares', 'squares.ts', '5')
  const { jobId: other } = JSON.parse(saved.stdout) as { jobId: string }
  expect(await run('job', 'result', other)).toMatchObject({ code: 0, stdout: 'saved in /squares\n' })
})

test('a failure, a cancellation and an output that is there are told to whoever asks, and leave nothing behind', async () => {
  const [mesh] = await cluster().clients(1)
  const broken = await mesh!
    .range(0, 4, 1, 2)
    .map(each => {
      if (each === 3) throw new RangeError('not three')
      return each
    })
    .detached()
    .saveAsTextFile('/broken')
  await expect(broken.result()).rejects.toMatchObject({
    code: 'TASK_FAILED',
    message: expect.stringContaining('not three') as string,
  })
  const endless = await mesh!
    .range(0, 3, 1, 3)
    .map(each => {
      for (;;) if (each < 0) return each
    })
    .detached()
    .count()
  await waitFor('the job to run', async () => (await endless.status()).status === 'running')
  await endless.cancel('no more')
  await expect(endless.wait()).rejects.toMatchObject({
    code: 'JOB_CANCELLED',
    message: expect.stringContaining('no more') as string,
  })
  // Every worker was busy for ever; this can only end when they are free.
  expect(await mesh!.range(0, 300, 1, 6).count()).toBe(300)
  const words = mesh!.parallelize(['a', 'b'], 2)
  await (await words.detached().saveAsJsonLines('/words')).wait()
  expect((await mesh!.fs.ls('/words')).map(({ name }) => name)).toEqual([
    '_SUCCESS',
    'part-00000.jsonl',
    'part-00001.jsonl',
  ])
  await expect(words.detached().saveAsTextFile('/words')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  await (await words.detached().saveAsTextFile('/words', { overwrite: true })).wait()
  expect(await textOf(mesh!.fs.get('/words/part-00001'))).toBe('b\n')
  await expect(mesh!.fs.stat('/broken')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await waitFor('all workers to be free and all directories gone', async () => {
    const running = (await mesh!.jobs()).filter(({ status }) => status === 'running')
    const left = await mesh!.fs.ls('/.jobs')
    return running.length === 0 && left.length <= 1
  })
})

test('a job goes on without its client while leaders die, and after all peers were killed; finished parts never run again', async () => {
  const [mesh] = await cluster().clients(1)
  const log = join(cluster().directory, 'runs')
  writeFileSync(log, '')
  const parts = 18
  // However slow the machine: the first six can be finished from the beginning, six more once the leader is gone, and the rest
  // when all peers were down.
  const gates = ['leader', 'all'].map(name => join(cluster().directory, `gone-${name}`))
  const job = await mesh!
    .range(0, 10 * parts, 1, 4)
    .map(each => [each % 60, 1] as const)
    .reduceByKey((left, right) => left + right, parts)
    .mapPartitionsWithIndex((part, pairs) => {
      const { appendFileSync, existsSync } = process.getBuiltinModule('node:fs')
      const gate = gates[Math.floor(part / 6) - 1] ?? log
      const still = new Int32Array(new SharedArrayBuffer(4))
      for (let waited = 0; !existsSync(gate) && waited < 2_000; waited++) Atomics.wait(still, 0, 0, 50)
      appendFileSync(log, `${part}\n`)
      return pairs.map(([key, count]) => `${key} ${count}`)
    })
    .detached({ name: 'long' })
    .saveAsTextFile('/long')
  await mesh!.close()
  const finished = async (least: number): Promise<number[]> => {
    const asked = await cluster().connect()
    const directory = `/.jobs/${job.jobId.replace('/', '-')}/out`
    return await waitFor(
      `${least} finished parts`,
      async () => {
        const names = (await asked.fs.ls(directory)).map(({ name }) => Number(name.slice('part-'.length)))
        return names.length >= least ? names : undefined
      },
      FINISH.timeoutMs,
    )
  }
  const first = await finished(3)
  const early = runsIn(log)
  await (await cluster().leader()).kill()
  writeFileSync(gates[0]!, '')
  const second = await finished(first.length + 1)
  await Promise.all(cluster().peers.map(peer => peer.kill()))
  const before = runsIn(log)
  writeFileSync(gates[1]!, '')
  await cluster().heal()
  const again = await cluster().connect()
  await again.detachedJob(job.jobId).wait()
  const lines = (await again.textFile('/long').collect()).map(line => line.split(' ').map(Number))
  expect(lines.toSorted(([a = 0], [b = 0]) => a - b)).toEqual(
    Array.from({ length: 60 }, (_, key) => [key, 3]),
  )
  const runs = runsIn(log)
  expect(first.filter(part => runs.get(part) !== early.get(part))).toEqual([])
  expect(second.filter(part => runs.get(part) !== before.get(part))).toEqual([])
  expect(second.length).toBeLessThan(parts)
  expect(runs.size).toBe(parts)
  // Exactly the output: the parts and the marker.
  expect((await again.fs.ls('/long')).length).toBe(parts + 1)
  expect(await again.detachedJob(job.jobId).status()).toMatchObject({
    status: 'done',
    path: '/long',
    parts: { done: parts, of: parts },
  })
})
