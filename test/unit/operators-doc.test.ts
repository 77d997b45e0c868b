import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { RDD } from '../../src/rdd/index.ts'

/** docs/operators.md has a row for every method of RDD, and says of PySpark's others why they are not here. */

const PAGE = readFileSync(new URL('../../docs/operators.md', import.meta.url), 'utf8')
const [here = '', missing = ''] = PAGE.split('## Not here\n')

function rows(text: string): string[] {
  return [...text.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name!)
}

/** Not for users: what the class needs of itself. */
const INTERNAL = [
  'constructor',
  'fn',
  'by',
  'derived',
  'foldPartials',
  'freeze',
  'partials',
  'reducePartials',
  'occurrences',
  'keyFn',
  'sketch',
]

function methods(): string[] {
  const names: string[] = []
  for (
    let type: object = RDD.prototype;
    type !== Object.prototype;
    type = Object.getPrototypeOf(type) as object
  ) {
    names.push(...Object.getOwnPropertyNames(type))
  }
  return [...new Set(names)].filter(name => !INTERNAL.includes(name))
}

/** Public methods of pyspark.RDD 4.0. */
const PYSPARK =
  `aggregate aggregateByKey barrier cache cartesian checkpoint cleanShuffleDependencies coalesce cogroup collect
collectAsMap collectWithJobGroup combineByKey context count countApprox countApproxDistinct countByKey countByValue distinct
filter first flatMap flatMapValues fold foldByKey foreach foreachPartition fullOuterJoin getCheckpointFile getNumPartitions
getResourceProfile getStorageLevel glom groupBy groupByKey groupWith histogram id intersection isCheckpointed isEmpty
isLocallyCheckpointed join keyBy keys leftOuterJoin localCheckpoint lookup map mapPartitions mapPartitionsWithIndex
mapPartitionsWithSplit mapValues max mean meanApprox min name partitionBy persist pipe randomSplit reduce reduceByKey
reduceByKeyLocally repartition repartitionAndSortWithinPartitions rightOuterJoin sample sampleByKey sampleStdev
sampleVariance saveAsHadoopDataset saveAsHadoopFile saveAsNewAPIHadoopDataset saveAsNewAPIHadoopFile saveAsPickleFile
saveAsSequenceFile saveAsTextFile setName sortBy sortByKey stats stdev subtract subtractByKey sum sumApprox take takeOrdered
takeSample toDF toDebugString toLocalIterator top treeAggregate treeReduce union unpersist values variance withResources zip
zipWithIndex zipWithUniqueId`.split(/\s+/)

test('the page lists every method of RDD, and no other', () => {
  expect(rows(here).toSorted()).toEqual(methods().toSorted())
})

test('every method of PySpark is here, or the page says why not', () => {
  expect(PYSPARK.length).toBeGreaterThan(100)
  const named = new Set([...rows(here), ...rows(missing)])
  expect(PYSPARK.filter(name => !named.has(name))).toEqual([])
  expect(
    rows(missing).filter(name => methods().includes(name)),
    'not here and here',
  ).toEqual([])
})
