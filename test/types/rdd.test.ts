import { describe, expectTypeOf, test } from 'vitest'
import type { DatasetContext } from '../../src/rdd/context.ts'
import type { Pair } from '../../src/rdd/dataset.ts'
import type { RDD } from '../../src/rdd/rdd.ts'

/** Nothing here runs a job: the compiler checks the claims, the tests only hold them. */
declare const mesh: DatasetContext

function claim(name: string, _types: () => void): void {
  test(name, () => {})
}

describe('types of RDDs', () => {
  claim('a chain infers its element type without annotations', () => {
    const words = mesh.textFile('/a').flatMap(line => line.split(' '))
    expectTypeOf(words).toEqualTypeOf<RDD<string>>()
    expectTypeOf(words.map(word => word.length)).toEqualTypeOf<RDD<number>>()
    expectTypeOf(words.collect()).resolves.toEqualTypeOf<string[]>()
    expectTypeOf(words.glom()).toEqualTypeOf<RDD<string[]>>()
    expectTypeOf(words.mapPartitions(all => [[...all].length])).toEqualTypeOf<RDD<number>>()
  })

  claim('an array of two in a map is a pair, with and without "as const"', () => {
    const words = mesh.parallelize(['a', 'b'])
    const pairs = words.map(word => [word, 1])
    expectTypeOf(pairs).toEqualTypeOf<RDD<[string, number]>>()
    expectTypeOf(pairs.reduceByKey((a, b) => a + b)).toEqualTypeOf<RDD<Pair<string, number>>>()
    const constant = words.map(word => [word, 1] as const)
    expectTypeOf(constant.reduceByKey((a, b) => a + b)).toEqualTypeOf<RDD<Pair<string, number>>>()
    expectTypeOf(constant.mapValues(n => n + 1)).toEqualTypeOf<RDD<Pair<string, number>>>()
    expectTypeOf(mesh.parallelize([['a', 1]]).keys()).toEqualTypeOf<RDD<string>>()
    expectTypeOf(words.flatMap(word => [[word, 1]]).values()).toEqualTypeOf<RDD<number>>()
  })

  claim('pair operators exist on pairs only', () => {
    const numbers = mesh.range(3)
    // @ts-expect-error no pairs
    numbers.reduceByKey(a => a)
    // @ts-expect-error no pairs
    numbers.groupByKey()
    // @ts-expect-error no pairs
    numbers.mapValues(value => value)
    // @ts-expect-error no pairs
    numbers.sortByKey()
    // @ts-expect-error no pairs
    void numbers.countByKey()
    // @ts-expect-error no pairs
    void numbers.collectAsMap()
    // @ts-expect-error the other side has no pairs
    numbers.keyBy(n => n).join(numbers)
  })

  claim('numeric actions exist on numbers only', () => {
    expectTypeOf(mesh.range(3).sum()).resolves.toEqualTypeOf<number>()
    // @ts-expect-error strings have no sum
    void mesh.parallelize(['a']).sum()
    // @ts-expect-error strings have no mean
    void mesh.parallelize(['a']).mean()
  })

  claim('joins know which side may miss', () => {
    const left = mesh.parallelize([['a', 1]])
    const right = mesh.parallelize([['a', true]])
    expectTypeOf(left.join(right)).toEqualTypeOf<RDD<Pair<string, Pair<number, boolean>>>>()
    expectTypeOf(left.leftOuterJoin(right)).toEqualTypeOf<RDD<Pair<string, Pair<number, boolean | null>>>>()
    expectTypeOf(left.rightOuterJoin(right)).toEqualTypeOf<RDD<Pair<string, Pair<number | null, boolean>>>>()
    expectTypeOf(left.fullOuterJoin(right)).toEqualTypeOf<
      RDD<Pair<string, Pair<number | null, boolean | null>>>
    >()
    expectTypeOf(left.cogroup(right)).toEqualTypeOf<RDD<Pair<string, Pair<number[], boolean[]>>>>()
    // @ts-expect-error keys of another type never match
    left.join(mesh.parallelize([[1, 1]]))
  })

  claim('filter narrows with a type guard', () => {
    const mixed = mesh.parallelize<string | null>(['a', null])
    expectTypeOf(mixed.filter(value => value !== null)).toEqualTypeOf<RDD<string>>()
    expectTypeOf(mixed.filter(value => value?.length)).toEqualTypeOf<RDD<string | null>>()
  })

  claim('union of two types is of either', () => {
    expectTypeOf(mesh.range(3).union(mesh.parallelize(['a']))).toEqualTypeOf<RDD<number | string>>()
    expectTypeOf(mesh.union([mesh.range(3), mesh.range(4)])).toEqualTypeOf<RDD<number>>()
    expectTypeOf(mesh.emptyRDD<string>().union(mesh.parallelize(['a']))).toEqualTypeOf<RDD<string>>()
  })

  claim('aggregations carry the type of their zero', () => {
    const sums = mesh.range(3).aggregate(
      { sum: 0, count: 0 },
      (acc, n) => ({ sum: acc.sum + n, count: acc.count + 1 }),
      (a, b) => ({ sum: a.sum + b.sum, count: a.count + b.count }),
    )
    expectTypeOf(sums).resolves.toEqualTypeOf<{ sum: number; count: number }>()
    const sets = mesh.parallelize([['a', 1]]).aggregateByKey<string, number, number[]>(
      [],
      (acc, n) => [...acc, n],
      (a, b) => [...a, ...b],
    )
    expectTypeOf(sets).toEqualTypeOf<RDD<Pair<string, number[]>>>()
    const combined = mesh.parallelize([['a', 1]]).combineByKey(
      n => [n],
      (all, n) => [...all, n],
      (a, b) => [...a, ...b],
    )
    expectTypeOf(combined.collectAsMap()).resolves.toEqualTypeOf<Map<string, number[]>>()
  })

  claim('folding literals gives what they are literals of', () => {
    const ones = mesh.parallelize([1, 2] as const)
    expectTypeOf(ones).toEqualTypeOf<RDD<1 | 2>>()
    expectTypeOf(ones.reduce((a, b) => a + b)).resolves.toEqualTypeOf<number>()
    expectTypeOf(ones.fold(0, (a, b) => a + b)).resolves.toEqualTypeOf<number>()
    expectTypeOf(ones.treeReduce((a, b) => Math.max(a, b))).resolves.toEqualTypeOf<number>()
    expectTypeOf(
      ones.aggregate(
        0,
        (sum, n) => sum + n,
        (a, b) => a + b,
      ),
    ).resolves.toEqualTypeOf<number>()
    expectTypeOf(ones.sum()).resolves.toEqualTypeOf<number>()
    expectTypeOf(ones.map(n => n)).toEqualTypeOf<RDD<1 | 2>>()
    const flags = mesh.parallelize([true, false])
    expectTypeOf(flags.reduce((a, b) => a && b)).resolves.toEqualTypeOf<boolean>()
    const people = mesh.parallelize([{ name: 'a', age: 1 }])
    expectTypeOf(people.reduce((a, b) => (a.age > b.age ? a : b))).resolves.toEqualTypeOf<{
      name: string
      age: number
    }>()
    const words = mesh.textFile('/a').flatMap(line => line.split(' '))
    const counts = words.map(w => [w, 1] as const).reduceByKey((a, b) => a + b)
    expectTypeOf(counts).toEqualTypeOf<RDD<Pair<string, number>>>()
    expectTypeOf(counts.takeOrdered(10, ([, n]) => -n)).resolves.toEqualTypeOf<Pair<string, number>[]>()
    expectTypeOf(
      words
        .map(w => [w, 1] as const)
        .foldByKey(0, (a, b) => a + b)
        .collectAsMap(),
    ).resolves.toEqualTypeOf<Map<string, number>>()
  })

  claim('types go through a whole chain', () => {
    const found = mesh
      .csv('/people.csv', { header: true })
      .map(row => ({ city: row['city'] ?? '', age: Number(row['age']) }))
      .filter(({ age }) => age >= 18)
      .keyBy(({ city }) => city)
      .mapValues(({ age }) => ({ total: age, count: 1 }))
      .reduceByKey((a, b) => ({ total: a.total + b.total, count: a.count + b.count }))
      .mapValues(({ total, count }) => total / count)
      .join(mesh.parallelize([['Bern', { canton: 'BE' }]]))
      .map(([city, [mean, { canton }]]) => ({ city, mean, canton }))
      .sortBy(({ mean }) => mean)
    expectTypeOf(found).toEqualTypeOf<RDD<{ city: string; mean: number; canton: string }>>()
    expectTypeOf(found.context).toEqualTypeOf<DatasetContext>()
  })

  claim('streams are sources', () => {
    async function* rows(): AsyncGenerator<readonly [string, number]> {
      yield ['a', 1]
    }
    expectTypeOf(mesh.fromAsync(rows())).resolves.toEqualTypeOf<RDD<readonly [string, number]>>()
    expectTypeOf(mesh.fromAsync(new Set(['a']))).resolves.toEqualTypeOf<RDD<string>>()
    // @ts-expect-error parallelize takes what is here already
    mesh.parallelize(rows())
  })

  claim('for await gives the elements', () => {
    async function first(): Promise<string | undefined> {
      for await (const word of mesh.textFile('/a')) return word
      return undefined
    }
    expectTypeOf(first).returns.resolves.toEqualTypeOf<string | undefined>()
  })

  claim('every operator carries types through', () => {
    const words = mesh.parallelize(['a', 'b'])
    const counts = words.map(word => [word, 1] as const)
    expectTypeOf(words.sample(false, 0.5)).toEqualTypeOf<RDD<string>>()
    expectTypeOf(words.randomSplit([1, 2])).toEqualTypeOf<RDD<string>[]>()
    expectTypeOf(words.takeSample(true, 3)).resolves.toEqualTypeOf<string[]>()
    expectTypeOf(words.zipWithIndex()).toEqualTypeOf<RDD<Pair<string, number>>>()
    expectTypeOf(words.zipByIndex(mesh.range(2))).toEqualTypeOf<RDD<Pair<string, number>>>()
    expectTypeOf(words.subtract(mesh.range(2))).toEqualTypeOf<RDD<string>>()
    expectTypeOf(words.intersection(words)).toEqualTypeOf<RDD<string>>()
    expectTypeOf(words.pipe('sort')).toEqualTypeOf<RDD<string>>()
    expectTypeOf(words.mapAsync(async word => word.length)).toEqualTypeOf<RDD<number>>()
    expectTypeOf(words.mapAsync(async word => [word, 1])).toEqualTypeOf<RDD<[string, number]>>()
    expectTypeOf(words.mapAsync(word => [word, 1]).reduceByKey((a, b) => a + b)).toEqualTypeOf<
      RDD<Pair<string, number>>
    >()
    expectTypeOf(
      words.flatMapAsync(async function* (word) {
        yield word.length
      }),
    ).toEqualTypeOf<RDD<number>>()
    expectTypeOf(words.countAsync()).toExtend<Promise<number>>()
    words.countAsync().cancel('changed my mind')
    expectTypeOf(counts.reduceByKeyLocally((a, b) => a + b)).resolves.toEqualTypeOf<Map<string, number>>()
    expectTypeOf(counts.filterByRange('a', 'b').sortByKey()).toEqualTypeOf<RDD<Pair<string, 1>>>()
    expectTypeOf(
      counts.groupWith(
        words.keyBy(word => word),
        counts.mapValues(() => true),
      ),
    ).toEqualTypeOf<RDD<Pair<string, readonly [1[], string[], boolean[]]>>>()
    expectTypeOf(mesh.range(3).histogram(2)).resolves.toEqualTypeOf<[bounds: number[], counts: number[]]>()
    const lengths = words.treeAggregate(
      0,
      (sum, word) => sum + word.length,
      (a, b) => a + b,
    )
    expectTypeOf(lengths).resolves.toEqualTypeOf<number>()
    expectTypeOf(counts.sampleByKey(false, { a: 1 })).toEqualTypeOf<RDD<Pair<string, 1>>>()
    // @ts-expect-error no pairs
    words.filterByRange('a', 'b')
    // @ts-expect-error no pairs
    words.sampleByKey(false, { a: 1 })
    // @ts-expect-error no pairs
    words.groupWith(counts)
    // @ts-expect-error keys of another type never match
    counts.subtractByKey(mesh.range(3).keyBy(n => n))
    // @ts-expect-error bounds of another type
    counts.filterByRange(1, 2)
    // @ts-expect-error strings have no histogram
    void words.histogram(2)
    // @ts-expect-error strings have no sum
    void words.sumApprox(10)
  })

  claim('an RDD is an async iterable of its elements', () => {
    expectTypeOf(mesh.range(3)[Symbol.asyncIterator]()).toExtend<AsyncIterator<number>>()
    expectTypeOf(mesh.range(3).toLocalIterator()).toExtend<AsyncIterable<number>>()
  })

  claim('an RDD of one type is not an RDD of another', () => {
    // @ts-expect-error numbers are no strings
    const strings: RDD<string> = mesh.range(3)
    void strings
  })

  claim('every action takes options last', () => {
    const options = { signal: new AbortController().signal, name: 'a job' }
    void mesh.range(3).count(options)
    void mesh.range(3).take(1, options)
    void mesh.range(3).reduce((a, b) => a + b, options)
    void mesh.range(3).top(1, n => n, options)
    // @ts-expect-error no such option
    void mesh.range(3).count({ timeout: 3 })
  })
})

describe('types of shared variables', () => {
  claim('a broadcast has the type of its value, with and without await', () => {
    const shared = mesh.broadcast({ names: new Map([['a', 1]]) })
    expectTypeOf(shared.value).toEqualTypeOf<{ names: Map<string, number> }>()
    expectTypeOf<Awaited<typeof shared>>().toEqualTypeOf<typeof shared>()
    // @ts-expect-error read-only
    shared.value = { names: new Map() }
  })

  claim('accumulators take what they add and give what they come to', () => {
    expectTypeOf(mesh.accumulator(0).value).toEqualTypeOf<number>()
    expectTypeOf(mesh.accumulator(0n).value).toEqualTypeOf<bigint>()
    // @ts-expect-error a sum of numbers adds no bigints
    mesh.accumulator(0).add(1n)
    const list = mesh.accumulator<string>([])
    expectTypeOf(list.value).toEqualTypeOf<string[]>()
    list.add('a')
    // @ts-expect-error a list of texts
    list.add(1)
    const lengths = mesh.accumulator({
      zero: new Set<number>(),
      add: (set: Set<number>, text: string) => set.add(text.length),
      merge: (set: Set<number>, other: Set<number>) => new Set([...set, ...other]),
    })
    expectTypeOf(lengths.value).toEqualTypeOf<Set<number>>()
    lengths.add('a')
    // @ts-expect-error adds texts
    lengths.add(1)
    // @ts-expect-error neither a start nor { zero, add, merge }
    mesh.accumulator('')
  })
})
