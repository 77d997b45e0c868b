import { expect, test } from 'vitest'
import { createLocal } from '../../../../src/rdd/index.ts'

/** Of a task; each set below takes more than twice as much, and all of it has one key. */
const LIMIT_BYTES = 256 * 1024

test('all rows in one key do not kill a groupByKey: the group is gone through like any array', async () => {
  const count = 20_000
  const local = createLocal({ memoryLimitBytes: LIMIT_BYTES })
  const groups = local
    .range(0, count, 1, 4)
    .map((i): [string, string] => ['the one', `value ${i}, which is long enough to take some room`])
    .groupByKey(2)
  const seen = await groups
    .map(([key, values]) => {
      let characters = 0
      for (const value of values) characters += value.length
      return { key, size: values.length, characters, first: values[0], last: values[values.length - 1] }
    })
    .collect()
  let characters = 0
  for (let i = 0; i < count; i++) characters += `value ${i}, which is long enough to take some room`.length
  expect(seen).toEqual([
    {
      key: 'the one',
      size: count,
      characters,
      first: 'value 0, which is long enough to take some room',
      last: `value ${count - 1}, which is long enough to take some room`,
    },
  ])
})

test('a key that is huge on both sides is joined', async () => {
  const local = createLocal({ memoryLimitBytes: LIMIT_BYTES })
  const left = local.range(0, 4_000, 1, 3).map((i): [number, string] => [7, `${'l'.repeat(150)}${i}`])
  const right = local.range(0, 300, 1, 3).map((i): [number, string] => [7, `${'r'.repeat(1_900)}${i}`])
  const sums = await left
    .join(right, 2)
    .map(([key, [a, b]]): [number, number] => [key, Number(a.slice(150)) + Number(b.slice(1_900))])
    .reduceByKey((a, b) => a + b)
    .collect()
  expect(sums).toEqual([[7, 300 * ((4_000 * 3_999) / 2) + 4_000 * ((300 * 299) / 2)]])
})

test('sorts, distinct and counts of rows that are all the same key stay within memory', async () => {
  const local = createLocal({ memoryLimitBytes: LIMIT_BYTES })
  const rows = local.range(0, 20_000, 1, 4).map(i => `${'same'.repeat(20)} ${i % 3}`)
  const sorted = await rows.sortBy(() => 'one key', true, 2).collect()
  expect(sorted.slice(0, 4).map(row => row.at(-1))).toEqual(['0', '1', '2', '0'])
  expect(sorted.length).toBe(20_000)
  expect((await rows.distinct().collect()).length).toBe(3)
  expect([...(await rows.countByValue()).values()]).toEqual([6_667, 6_667, 6_666])
})
