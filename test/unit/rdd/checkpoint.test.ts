import { expect, test } from 'vitest'
import { createLocal } from '../../../src/rdd/index.ts'

test('a checkpoint is read in place of all that came before it, also by RDDs made earlier', async () => {
  const local = createLocal({ files: { '/in': 'b\na\nc\n' } })
  const sorted = local
    .textFile('/in')
    .map(line => [line, new Date(line.charCodeAt(0))] as const)
    .sortByKey(true, 2)
  const later = sorted.map(([line, date]) => `${line}${date.getTime()}`)
  const before = await later.collect()
  expect(sorted.isCheckpointed()).toBe(false)
  expect(await sorted.checkpoint('/saved {1}')).toBe(sorted)
  expect([sorted.isCheckpointed(), sorted.getCheckpointFile()]).toEqual([true, '/saved {1}'])
  local.runner.tasksRun.clear()
  local.files.write('/in', 'not read again')
  expect(await later.collect()).toEqual(before)
  expect(await sorted.getNumPartitions()).toBe(2)
  // One stage of two tasks: no shuffle, no text.
  expect([...local.runner.tasksRun]).toEqual([['map', 2]])
  expect(await later.toDebugString()).toContain('checkpoint')
  expect(await later.toDebugString()).not.toContain('textFile')
})

test('empty partitions, and none at all, stay what they are', async () => {
  const local = createLocal()
  const some = await local.parallelize([1], 3).checkpoint()
  expect(await some.glom().collect()).toEqual([[], [], [1]])
  const none = await local.emptyRDD<number>().checkpoint()
  expect(await none.collect()).toEqual([])
})

test('a checkpoint that fails changes nothing', async () => {
  const local = createLocal()
  const numbers = local.range(3)
  await numbers.saveAsTextFile('/there')
  await expect(numbers.checkpoint('/there')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  expect(numbers.isCheckpointed()).toBe(false)
  expect(await numbers.collect()).toEqual([0, 1, 2])
})
