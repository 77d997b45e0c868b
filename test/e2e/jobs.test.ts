import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { hasCode } from '../../src/base/index.ts'
import { bytesOf, textOf } from '../support/file-bytes.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'
import { countWords, sampleText } from '../support/word-oracle.ts'

const MIB = 2 ** 20

const cluster = useCluster(3, { taskBytes: 24 * MIB, oldSpaceMb: 96 })

test('a word count over a file of several partitions equals a single-process count', async () => {
  const [mesh] = await cluster().clients(1)
  const text = sampleText(20_000, 7)
  await mesh!.fs.put('/words.txt', bytesOf(text), { partitionBytes: 128 * 1024 })
  const lines = mesh!.textFile('/words.txt')
  expect(await lines.getNumPartitions()).toBeGreaterThan(5)
  const counts = await lines
    .flatMap(line => line.split(' '))
    .filter(word => word !== '')
    .map(word => [word, 1])
    .reduceByKey((left, right) => left + right)
    .collectAsMap()
  expect(counts).toEqual(countWords(text))
})

test('a dataset with more partitions than elements has empty partitions and every element once', async () => {
  const [mesh] = await cluster().clients(1)
  const few = mesh!.parallelize([3, 1, 2], 16)
  expect((await few.glom().collect()).length).toBe(16)
  expect(await few.collect()).toEqual([3, 1, 2])
  expect(await few.sortBy(x => x).collect()).toEqual([1, 2, 3])
  expect(await few.reduce((a, b) => a + b)).toBe(6)
})

test('lines of an empty file, of one without a final newline and of invalid UTF-8 are what Node says', async () => {
  const [mesh] = await cluster().clients(1)
  const invalid = Buffer.from([0x61, 0xff, 0x62, 0x0a, 0xc3, 0x28])
  await mesh!.fs.put('/empty.txt', bytesOf(''))
  await mesh!.fs.put('/open.txt', bytesOf('one\ntwo'))
  await mesh!.fs.put('/invalid.txt', bytesOf(invalid))
  expect(await mesh!.textFile('/empty.txt').collect()).toEqual([])
  expect(await mesh!.textFile('/open.txt').collect()).toEqual(['one', 'two'])
  expect(await mesh!.textFile('/invalid.txt').collect()).toEqual(invalid.toString('utf8').split('\n'))
})

test('a line longer than a partition is one record', async () => {
  const [mesh] = await cluster().clients(1)
  const long = 'x'.repeat(300_000)
  await mesh!.fs.put('/long.txt', bytesOf(`a\n${long}\nb\n`), { partitionBytes: 64 * 1024 })
  expect(
    await mesh!
      .textFile('/long.txt')
      .map(line => line.length)
      .collect(),
  ).toEqual([1, 300_000, 1])
})

test('an error in a closure carries the file and line of the user, the peer, the partition and the attempt', async () => {
  const [mesh] = await cluster().clients(1)
  const failure = await mesh!
    .range(0, 40, 1, 4)
    .map(number => {
      if (number === 25) throw new RangeError(`no place for ${number}`)
      return number
    })
    .collect()
    .catch((error: unknown) => error)
  if (!hasCode(failure, 'TASK_FAILED')) throw failure
  const { details, message } = failure
  expect(message).toContain('no place for 25')
  const lines = readFileSync(import.meta.filename, 'utf8').split('\n')
  const thrower = lines.findIndex(line => line.includes('throw new RangeError(')) + 1
  expect(details.stack).toContain(`jobs.test.ts:${thrower}:`)
  expect(details.partition).toBe(2)
  expect(details.attempt).toBeGreaterThanOrEqual(0)
  expect(cluster().peers.map(peer => peer.id)).toContain(details.peer)
})

test('an unknown file fails the action, not the mesh', async () => {
  const [mesh] = await cluster().clients(1)
  await expect(mesh!.textFile('/no/such').count()).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

test('saveAsTextFile saves what comes out of a shuffle', async () => {
  const [mesh] = await cluster().clients(1)
  await mesh!
    .range(0, 1_000, 1, 8)
    .map(number => `${999 - number}`.padStart(4, '0'))
    .sortBy(line => line)
    .saveAsTextFile('/saved-sorted')
  const lines = await mesh!.textFile('/saved-sorted').collect()
  expect(lines).toEqual(Array.from({ length: 1_000 }, (_, number) => `${number}`.padStart(4, '0')))
})

test('saveAsTextFile makes the directory appear whole, and refuses one that is there', async () => {
  const [mesh, other] = await cluster().clients(2)
  const saving = mesh!
    .range(0, 1_000, 1, 8)
    .map(number => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, number % 125 === 0 ? 150 : 0)
      return `line ${number}`
    })
    .saveAsTextFile('/saved')
  const seen = new Set<number>()
  const saved = new AbortController()
  const watching = (async () => {
    while (!saved.signal.aborted) {
      const entries = await other!.fs.ls('/saved', { consistency: 'stale' }).catch(() => [])
      seen.add(entries.filter(entry => entry.type === 'file').length)
    }
  })()
  await saving
  saved.abort()
  await watching
  // Never some of the parts: none, or all eight and the marker.
  expect([...seen].filter(count => count !== 0 && count !== 9)).toEqual([])
  const lines = await mesh!.textFile('/saved').collect()
  expect(lines).toEqual(Array.from({ length: 1_000 }, (_, number) => `line ${number}`))
  await expect(mesh!.range(3).saveAsTextFile('/saved')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  const [marker, first] = await mesh!.fs.ls('/saved')
  expect(marker).toMatchObject({ name: '_SUCCESS', sizeBytes: 0 })
  expect(await textOf(mesh!.fs.get(first!.path))).toMatch(/^line 0\n/)
})

test('a job that is aborted rejects with the reason and frees the workers', async () => {
  const [mesh] = await cluster().clients(1)
  const abort = new AbortController()
  const running = Promise.withResolvers<void>()
  using _ = mesh!.onJobEvent(event => {
    if (event.type === 'progress' && event.progress.stages.some(stage => stage.running > 0)) running.resolve()
  })
  const endless = mesh!
    .range(0, 12, 1, 12)
    .map(number => {
      for (;;) if (number < 0) return number
    })
    .count({ signal: abort.signal, name: 'endless' })
  const ended = endless.catch((error: unknown) => error)
  await running.promise
  abort.abort(new Error('enough'))
  expect(await ended).toMatchObject({ message: expect.stringMatching(/enough|cancelled/) as string })
  // Every worker was busy for ever; this can only end when they are free.
  expect(await mesh!.range(0, 300, 1, 12).count()).toBe(300)
  await waitFor('the job to be listed as cancelled', async () =>
    (await mesh!.jobs()).some(job => job.name === 'endless' && job.status === 'cancelled'),
  )
})

test('groups, sums and sorts of more than the memory of a task go to disk and come out right', async () => {
  const [mesh] = await cluster().clients(1)
  const pairs = mesh!
    .range(0, 600_000, 1, 2)
    .map(number => [`key ${number % 200_000} ${'x'.repeat(20)}`, number] as const)
  const groups = await pairs
    .groupByKey(2)
    .map(([key, numbers]) => [key.split(' ')[1], numbers] as const)
    .filter(
      ([key, numbers]) => !(numbers.length === 3 && numbers.every(each => each % 200_000 === Number(key))),
    )
    .count()
  expect(groups).toBe(0)
  const sums = await pairs
    .reduceByKey((left, right) => left + right, 2)
    .values()
    .sum()
  expect(sums).toBe((600_000 * 599_999) / 2)
  const misplaced = await pairs
    .sortByKey(true, 2)
    .keys()
    .mapPartitions(function* (keys) {
      let last = ''
      let count = 0
      for (const key of keys) {
        if (key < last) count++
        last = key
      }
      yield count
    })
    .collect()
  expect(misplaced).toEqual([0, 0])
  const heavy = await mesh!
    .range(0, 400_000, 1, 2)
    .map(number => ['one', `value ${number}`] as const)
    .groupByKey(2)
    .map(([, values]) => [values.length, values[0], values.at(-1)] as const)
    .collect()
  expect(heavy).toEqual([[400_000, 'value 0', 'value 399999']])
})

test('a task that takes longer than it may is ended on two peers, then its job says so; others go on', async () => {
  const [mesh] = await cluster().clients(1)
  const endless = mesh!
    .range(0, 4, 1, 4)
    .map(number => {
      for (;;) if (number < 3) return number
    })
    .collect({ taskTimeoutMs: 2_000 })
  await expect(endless).rejects.toMatchObject({
    code: 'TASK_TIMEOUT',
    details: { partition: 3, timeoutMs: 2_000 },
  })
  // Every worker that had it is free, or has been replaced.
  expect(await mesh!.range(0, 300, 1, 12).count({ taskTimeoutMs: 60_000 })).toBe(300)
  await expect(mesh!.range(3).count({ taskTimeoutMs: 0.5 })).rejects.toMatchObject({ code: 'PLAN_INVALID' })
})

test('a closure that eats the heap of its worker ends that worker only, and fails its job with a code', async () => {
  const [mesh] = await cluster().clients(1)
  const pids = await Promise.all(cluster().peers.map(async peer => (await peer.status()).pid))
  const eaten = mesh!
    .range(0, 2, 1, 1)
    .map(number => {
      const eaten: number[][] = []
      for (;;) eaten.push(new Array<number>(100_000).fill(eaten.length + number))
    })
    .count()
  await expect(eaten).rejects.toMatchObject({ code: 'TASK_OOM' })
  expect(await mesh!.range(100).sum()).toBe(4950)
  expect(await Promise.all(cluster().peers.map(async peer => (await peer.status()).pid))).toEqual(pids)
})
