import { describe, expect, test } from 'vitest'
import { createLocal } from '../../../src/rdd/local-runner.ts'

/** Text with the lines of this file blanked: they move with every edit. */
function stable(text: string): string {
  return text.replaceAll(/explain\.test\.ts:\d+/g, 'job.ts')
}

const files = { '/books/a.txt': 'to be\nor not\nto be\n' }
const add = (a: number, b: number): number => a + b

describe('explain', () => {
  test('a word count: stages, operators, partitions, why it shuffles', async () => {
    const counts = createLocal({ files })
      .textFile('/books/a.txt', 3)
      .flatMap(line => line.split(' '))
      .map(word => [word, 1])
      .reduceByKey(add)
    expect(stable(await counts.explain())).toMatchInlineSnapshot(`
      "collect of 3 partitions in 2 stages
      stage 0: 3 tasks; writes the shuffle of #3
        #0 textFile  job.ts  3 part.  /books/a.txt
        #1 flatMap   job.ts  3 part.
        #2 map       job.ts  3 part.
      stage 1: 3 tasks, after stage 0; result
        #3 reduceByKey  job.ts  3 part.  shuffle by hash(3), as #2 has no known partitioner; combined before sending; read from stage 0"
    `)
  })

  test('a join of what is partitioned alike with what is not, cached and sorted', async () => {
    const mesh = createLocal()
    const people = mesh
      .parallelize(
        [
          [1, 'ann'],
          [2, 'bob'],
        ],
        2,
      )
      .partitionBy(4)
      .setName('people')
      .cache()
    const orders = mesh.parallelize([[1, 9]], 3)
    const joined = people
      .mapValues(name => name.length)
      .join(orders)
      .sortByKey(false)
      .keys()
    expect(stable(await joined.explain())).toMatchInlineSnapshot(`
      "collect of 4 partitions in 4 stages
      stage 0: 2 tasks; writes the shuffle of #1
        #0 parallelize  job.ts  2 part.  local data, 80 bytes
      stage 1: 3 tasks; writes the shuffle of #4
        #3 parallelize  job.ts  3 part.  local data, 32 bytes
      stage 2: 4 tasks, after stage 0, 1; writes the shuffle of #7
        #1 partitionBy "people"  job.ts  4 part.  shuffle by hash(4), as #0 has no known partitioner; pairs sent as they are; read from stage 0; kept in memory
        #2 mapValues             job.ts  4 part.
        #4 join                  job.ts  4 part.  shuffle by hash(4), as #3 has no known partitioner; pairs sent as they are; read from stage 1
        #5 join                  job.ts  4 part.  of #2, #4 by key; no shuffle of #2: partitioned by hash(4) already
        #6 join                  job.ts  4 part.
      stage 3: 4 tasks, after stage 2; result
        #7 sortByKey  job.ts  4 part.  shuffle by range(4) of keys to be sampled, as #6 is partitioned by hash(4); pairs sent as they are; read from stage 2
        #8 sortByKey  job.ts  4 part.  sorts each partition, descending
        #9 keys       job.ts  4 part.  forgets range(4) of keys to be sampled"
    `)
    expect(stable(await joined.toDebugString())).toMatchInlineSnapshot(`
      "(4) keys at job.ts [9]
       |  sortByKey at job.ts [8]
       |  sortByKey (shuffle) at job.ts [7]
       +-(4) join at job.ts [6]
          |  join at job.ts [5]
          |  mapValues at job.ts [2]
          |  people partitionBy (shuffle) at job.ts [1] [Memory Serialized 1x Replicated]
          +-(2) parallelize at job.ts [0]
          |  join (shuffle) at job.ts [4]
          +-(3) parallelize at job.ts [3]"
    `)
  })

  test('an input that two stages compute, and operators that need no shuffle', async () => {
    const mesh = createLocal()
    const base = mesh.range(0, 100, 1, 2).keyBy(n => n % 10)
    const parted = base.partitionBy(3)
    const both = parted
      .partitionBy(3)
      .reduceByKey(add)
      .union(base.groupByKey().mapValues(all => all.length))
    expect(stable(await both.explain())).toMatchInlineSnapshot(`
      "collect of 5 partitions in 3 stages
      stage 0: 2 tasks; writes the shuffle of #2
        #0 range  job.ts  2 part.  100 numbers from 0
        #1 keyBy  job.ts  2 part.  computed in stage 1 too; cache() would keep it
      stage 1: 2 tasks; writes the shuffle of #6
        #0 range  job.ts  2 part.  100 numbers from 0
        #1 keyBy  job.ts  2 part.  computed in stage 0 too; cache() would keep it
      stage 2: 5 tasks, after stage 0, 1; result
        #2 partitionBy  job.ts  3 part.  shuffle by hash(3), as #1 has no known partitioner; pairs sent as they are; read from stage 0
        #3 partitionBy  job.ts  3 part.  no shuffle: partitioned by hash(3) already
        #4 reduceByKey  job.ts  3 part.  of #3 by key; no shuffle of #3: partitioned by hash(3) already
        #5 reduceByKey  job.ts  3 part.
        #6 groupByKey   job.ts  2 part.  shuffle by hash(2), as #1 has no known partitioner; all values sent; read from stage 1
        #7 mapValues    job.ts  2 part.
        #8 union        job.ts  5 part.  of #5, #7"
    `)
    expect(stable(await both.toDebugString())).toMatchInlineSnapshot(`
      "(5) union at job.ts [8]
       |  reduceByKey at job.ts [5]
       |  reduceByKey at job.ts [4]
       |  partitionBy at job.ts [3]
       |  partitionBy (shuffle) at job.ts [2]
       +-(2) keyBy at job.ts [1]
          |  range at job.ts [0]
       |  mapValues at job.ts [7]
       |  groupByKey (shuffle) at job.ts [6]
       +-(2) keyBy at job.ts [1] (drawn above)"
    `)
  })

  test('names the line of the call', async () => {
    const here = Number(/explain\.test\.ts[^:]*:(\d+)/.exec(new Error('here').stack ?? '')![1])
    const numbers = createLocal().range(3)
    const distinct = numbers.distinct()
    const text = await distinct.explain()
    expect(text).toContain(`range     explain.test.ts:${here + 1} `)
    expect(text).toContain(`distinct  explain.test.ts:${here + 2} `)
  })
})
