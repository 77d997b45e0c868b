/**
 * Micro-benchmarks of the engine inside a worker, as ratios to hand-written loops and to other libraries, measured
 * interleaved in one process (targets: engine.md section 7). Run alone: `node scripts/bench/engine.ts [name…]`.
 */
import { MemoryKept } from '../../src/rdd/memory-kept.ts'
import { deserialize, serialize, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Packr } from 'msgpackr'
import { capture, encodeClosure } from '../../src/rdd/closure/index.ts'
import { decodeBatches, decodeRows, encodeRows } from '../../src/rdd/codec/index.ts'
import { AggregationTable } from '../../src/rdd/engine/aggregation-table.ts'
import { TaskRunner } from '../../src/rdd/engine/index.ts'
import { sortOrder } from '../../src/rdd/engine/sort.ts'
import { TaskMemory } from '../../src/rdd/engine/task-memory.ts'
import type { Action, FunctionRef, Plan, PlanNode, Step } from '../../src/rdd/plan.ts'
import type { TaskInput, TaskOutcome, TaskPorts } from '../../src/rdd/task.ts'

interface Contender {
  name: string
  run: () => unknown
}

interface Contest {
  name: string
  /** What the ratio of the first contender to each other should reach; by the other's name. */
  targets: Record<string, number>
  /** The first one is ours. Ratios are times of the others divided by ours. */
  contenders: Contender[]
  rounds?: number
}

const median = (times: number[]): number => times.toSorted((a, b) => a - b)[times.length >> 1]!

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** CPU time of this thread, which other processes on the machine disturb less than the time on the wall. */
function threadMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

async function compete({ name, targets, contenders, rounds = 9 }: Contest): Promise<void> {
  const times = new Map<string, number[]>(contenders.map(each => [each.name, []]))
  for (let round = -2; round < rounds; round++) {
    for (const { name, run } of contenders) {
      // Nobody pays for the garbage of the one before.
      collectGarbage()
      const start = threadMs()
      await run()
      if (round >= 0) times.get(name)!.push(threadMs() - start)
    }
  }
  const ours = median(times.get(contenders[0]!.name)!)
  for (const other of contenders.slice(1)) {
    const theirs = median(times.get(other.name)!)
    const target = targets[other.name]
    const verdict =
      target === undefined
        ? ''
        : `  (target ${target.toFixed(2)}${theirs / ours >= target ? '' : ', MISSED'})`
    console.log(
      `${name.padEnd(38)} ${ours.toFixed(1).padStart(8)} ms   against ${other.name.padEnd(24)} ${theirs.toFixed(1).padStart(8)} ms` +
        `   ${(theirs / ours).toFixed(2)}x${verdict}`,
    )
  }
}

// Plans by hand, with captured closures as jobs have them.

class Job {
  readonly closures: Uint8Array[] = []
  readonly nodes: PlanNode[] = []

  fn(fn: (...values: never[]) => unknown): FunctionRef {
    return { kind: 'closure', id: this.closures.push(encodeClosure(capture(fn))) - 1 }
  }

  add(node: Pick<PlanNode, 'op'> & Record<string, unknown>): number {
    const id = this.nodes.length
    this.nodes.push({
      partitions: 1,
      fingerprint: `node${id}`,
      cached: false,
      label: node.op,
      ...node,
    } as unknown as PlanNode)
    return id
  }

  range(count: number): number {
    return this.add({ op: 'range', start: 0, step: 1, count })
  }

  rows(rows: unknown[]): number {
    return this.add({ op: 'parallelize', slices: [encodeRows(rows)] })
  }

  steps(parent: number, steps: Step[]): number {
    return this.add({ op: 'steps', parent, steps })
  }

  plan(action: Action): Plan {
    return { version: 1, nodes: this.nodes, closures: this.closures, action }
  }
}

const blocks = new Map<string, Uint8Array>()
const ports: TaskPorts = {
  *readBlock(blockId, start, end) {
    const block = blocks.get(blockId)!
    for (let at = start; at < end; at += 1 << 20) yield block.subarray(at, Math.min(at + (1 << 20), end))
  },
  async *fetchBuckets() {},
  kept: new MemoryKept(),
  async writeOutput() {},
  cancelled: () => false,
  memoryLimitBytes: 2 ** 32,
  reserveMemory: () => true,
  openSpill() {
    throw new Error('nothing spills here')
  },
}

const runner = new TaskRunner()
let jobs = 0

function task(plan: Plan, job: string): Promise<TaskOutcome> {
  const sink: TaskInput['sink'] = plan.nodes.some(node => node.op === 'shuffle')
    ? { kind: 'shuffle', node: plan.nodes.length - 1 }
    : { kind: 'result' }
  const root = sink.kind === 'shuffle' ? plan.nodes.length - 2 : plan.nodes.length - 1
  const id = { stage: 0, partition: 0, attempt: 0, term: 1 }
  return runner.runTask(job, plan, { id, root, sink, shuffles: [], holders: {} }, ports)
}

/** A stage with its own compiled loop; runs it once per call. */
function stage(make: (job: Job) => Action): () => Promise<unknown> {
  const job = new Job()
  const plan = job.plan(make(job))
  const key = `bench${jobs++}`
  return async () => {
    const outcome = await task(plan, key)
    if (outcome.type === 'failed') throw new Error(outcome.error.message)
    return outcome
  }
}

/** Other jobs through the same executor, so that whatever is shared has seen many shapes. */
async function otherJobs(): Promise<void> {
  for (let i = 0; i < 20; i++) {
    const kind = i % 4
    await stage(job => {
      const source =
        kind === 0
          ? job.range(20_000)
          : job.rows(
              Array.from({ length: 20_000 }, (_, n) =>
                kind === 1 ? `${n}` : kind === 2 ? { n } : [n, `${n}`],
              ),
            )
      job.steps(source, [
        { op: 'map', fn: job.fn((x: unknown) => ({ x, i: 1 })) },
        { op: 'filter', fn: job.fn((x: { x: unknown }) => x.x !== 7) },
        { op: 'flatMap', fn: job.fn((x: unknown) => [x, x]) },
      ])
      return { kind: 'reduce', fn: job.fn((a: unknown) => a) }
    })()
  }
}

const sumOf = (job: Job): Action => ({ kind: 'reduce', fn: job.fn((a: number, b: number) => a + b) })

/** The chains, each through the engine and as a person would write it for one thread. */
function chains(): Record<string, [() => Promise<unknown>, () => unknown, number]> {
  const count = 10_000_000
  const records = Array.from({ length: 500_000 }, (_, i) => ({ id: i, price: (i % 1000) / 8, tags: i % 3 }))
  const strings = Array.from({ length: 300_000 }, (_, i) => `user${i % 977} did ${i % 13} things`)
  return {
    'range map filter reduce': [
      stage(job => {
        job.steps(job.range(count), [
          { op: 'map', fn: job.fn((x: number) => x * x) },
          { op: 'filter', fn: job.fn((x: number) => x % 2 === 1) },
        ])
        return sumOf(job)
      }),
      () => {
        let sum = 0
        for (let i = 0; i < count; i++) {
          const square = i * i
          if (square % 2 === 1) sum += square
        }
        return sum
      },
      0.9,
    ],
    'records, 5 operators': [
      stage(job => {
        job.steps(job.rows(records), [
          { op: 'filter', fn: job.fn((r: { price: number }) => r.price > 10) },
          {
            op: 'map',
            fn: job.fn((r: { id: number; price: number; tags: number }) => ({
              id: r.id,
              gross: r.price * 1.19,
              tags: r.tags,
            })),
          },
          { op: 'filter', fn: job.fn((r: { tags: number }) => r.tags !== 1) },
          {
            op: 'map',
            fn: job.fn((r: { id: number; gross: number }) => ({ key: r.id % 10, gross: r.gross })),
          },
          { op: 'map', fn: job.fn((r: { key: number; gross: number }) => r.key * r.gross) },
        ])
        return sumOf(job)
      }),
      ((bytes: Uint8Array) => () => {
        let sum = 0
        for (const batch of decodeBatches(bytes)) {
          for (let i = 0; i < batch.length; i++) {
            const { id, price, tags } = batch[i] as (typeof records)[number]
            if (!(price > 10)) continue
            const a = { id, gross: price * 1.19, tags }
            if (a.tags === 1) continue
            const b = { key: a.id % 10, gross: a.gross }
            sum += b.key * b.gross
          }
        }
        return sum
      })(encodeRows(records)),
      0.85,
    ],
    'strings, 5 operators': [
      stage(job => {
        job.steps(job.rows(strings), [
          { op: 'map', fn: job.fn((s: string) => s.split(' ')) },
          { op: 'filter', fn: job.fn((s: string[]) => s.length === 4) },
          { op: 'map', fn: job.fn((s: string[]) => s[0]!.toUpperCase()) },
          { op: 'filter', fn: job.fn((s: string) => !s.endsWith('7')) },
          { op: 'map', fn: job.fn((s: string) => s.length) },
        ])
        return sumOf(job)
      }),
      ((bytes: Uint8Array) => () => {
        let sum = 0
        for (const batch of decodeBatches(bytes)) {
          for (let i = 0; i < batch.length; i++) {
            const parts = (batch[i] as string).split(' ')
            if (parts.length !== 4) continue
            const upper = parts[0]!.toUpperCase()
            if (!upper.endsWith('7')) sum += upper.length
          }
        }
        return sum
      })(encodeRows(strings)),
      0.9,
    ],
    'flatMap(split) filter map': [
      stage(job => {
        job.steps(job.rows(strings), [
          { op: 'flatMap', fn: job.fn((s: string) => s.split(' ')) },
          { op: 'filter', fn: job.fn((s: string) => s.length > 3) },
          { op: 'map', fn: job.fn((s: string) => s.length) },
        ])
        return sumOf(job)
      }),
      ((bytes: Uint8Array) => () => {
        let sum = 0
        for (const batch of decodeBatches(bytes)) {
          for (let i = 0; i < batch.length; i++) {
            for (const word of (batch[i] as string).split(' ')) if (word.length > 3) sum += word.length
          }
        }
        return sum
      })(encodeRows(strings)),
      0.9,
    ],
  }
}

async function loops(): Promise<void> {
  for (const phase of ['fresh', 'after 20 jobs']) {
    if (phase !== 'fresh') await otherJobs()
    for (const [name, [ours, hand, target]] of Object.entries(chains())) {
      await compete({
        name: `${name}, ${phase}`,
        targets: { 'hand-written loop': target },
        contenders: [
          { name: 'engine', run: ours },
          { name: 'hand-written loop', run: hand },
        ],
        rounds: 7,
      })
    }
  }
}

async function codec(): Promise<void> {
  const count = 100_000
  const samples: Record<string, unknown[]> = {
    '[string, number]': Array.from({ length: count }, (_, i) => [`word${(i * 7919) % 40_000}`, i % 1000]),
    '[string, object of 5]': Array.from({ length: count }, (_, i) => [
      `user${(i * 7919) % 40_000}`,
      {
        id: i,
        name: `name ${i % 977}`,
        price: (i % 1000) / 8,
        tags: i % 3 === 0 ? 'b' : 'a',
        ok: i % 2 === 0,
      },
    ]),
    '[number, number]': Array.from({ length: count }, (_, i) => [(i * 7919) % 40_000, i * 0.37]),
    '[string, number[]]': Array.from({ length: count / 10 }, (_, i) => [
      `key${i}`,
      Array.from({ length: 10 }, (_, n) => i + n),
    ]),
    mixed: Array.from({ length: count }, (_, i) => (i % 2 === 0 ? [i, new Date(i)] : { [`k${i % 7}`]: i })),
  }
  const batches = (rows: unknown[]): unknown[][] =>
    Array.from({ length: Math.ceil(rows.length / 8192) }, (_, i) => rows.slice(i * 8192, (i + 1) * 8192))
  for (const [name, rows] of Object.entries(samples)) {
    const parts = batches(rows)
    const packr = new Packr({ useRecords: true, structures: [], moreTypes: true })
    console.log(`  ${name}: ${(encodeRows(rows).length / rows.length).toFixed(1)} bytes per row`)
    await compete({
      name: `codec ${name}`,
      targets: name === '[string, number]' ? { 'msgpackr records': 1.5, 'v8.serialize': 2 } : {},
      contenders: [
        { name: 'row codec', run: () => parts.map(part => decodeRows(encodeRows(part))) },
        {
          name: 'msgpackr records',
          run: () => parts.map(part => packr.unpack(Uint8Array.from(packr.pack(part))) as unknown),
        },
        { name: 'v8.serialize', run: () => parts.map(part => deserialize(serialize(part)) as unknown) },
      ],
    })
  }
}

async function tables(): Promise<void> {
  const total = 2_000_000
  for (const [name, target, fresh] of [
    ['string keys, 1e4 distinct', 1.3, freshStrings(total, 10_000)],
    ['string keys, 1e6 distinct', 1.3, freshStrings(total, 1_000_000)],
    ['number keys, 1e6 distinct', 1, () => [Array.from({ length: total }, (_, i) => (i * 7919) % 1_000_000)]],
  ] as const) {
    await compete({
      name: `count by ${name}`,
      targets: { Map: target },
      rounds: 5,
      contenders: [
        {
          name: 'table',
          run: () => {
            const table = new AggregationTable(new TaskMemory(2 ** 40).holding('bench'), { freezes: true })
            for (const keys of fresh()) {
              for (const key of keys) {
                const at = table.locate(key)
                if (at >= 0) table.values[at] = (table.values[at] as number) + 1
                else table.values.push(1)
              }
            }
            return table.size
          },
        },
        {
          name: 'Map',
          run: () => {
            const map = new Map<string | number, number>()
            for (const keys of fresh()) for (const key of keys) map.set(key, (map.get(key) ?? 0) + 1)
            return map.size
          },
        },
      ],
    })
  }
}

/** Batches of keys as a decoded batch gives them: new strings each time, whose hash V8 has not cached yet. */
function freshStrings(total: number, distinct: number): () => Iterable<string[]> {
  const batches = Array.from({ length: Math.ceil(total / 8192) }, (_, batch) =>
    encodeRows(Array.from({ length: 8192 }, (_, i) => `key-${((batch * 8192 + i) * 7919) % distinct}`)),
  )
  return function* () {
    for (const batch of batches) yield decodeRows<string>(batch)
  }
}

async function sorts(): Promise<void> {
  const count = 300_000
  const strings = Array.from(
    { length: count },
    (_, i) => `${((i * 2_654_435_761) % 4_294_967_296).toString(36)}-record-${i}`,
  )
  const numbers = Array.from({ length: count }, (_, i) => ((i * 2_654_435_761) % 4_294_967_296) / 7)
  await compete({
    name: 'sort order of 300,000 strings',
    targets: { 'Array.sort()': 3 },
    rounds: 5,
    contenders: [
      { name: 'radix', run: () => sortOrder(strings, true) },
      { name: 'Array.sort()', run: () => strings.toSorted() },
    ],
  })
  await compete({
    name: 'sort order of 300,000 numbers',
    targets: { 'Array.sort(a - b)': 3 },
    rounds: 5,
    contenders: [
      { name: 'radix', run: () => sortOrder(numbers, true) },
      { name: 'Array.sort(a - b)', run: () => numbers.toSorted((a, b) => a - b) },
    ],
  })
}

async function text(): Promise<void> {
  const words = ['the', 'whale', 'of', 'a', 'sea', 'ship', 'captain', 'and', 'harpoon']
  const lines = Array.from({ length: 400_000 }, (_, i) =>
    Array.from(
      { length: 4 + (i % 9) },
      (_, n) => words[(i * 31 + n * 17) % words.length]! + (((i * 2_654_435_761 + n * 40_503) % 100_000) + 1),
    ).join(' '),
  )
  const bytes = Buffer.from(`${lines.join('\n')}\n`)
  blocks.set('text', bytes)
  const textFile = (job: Job): number =>
    job.add({
      op: 'textFile',
      path: '/text',
      splits: [
        { fileId: 'f', block: 0, blockId: 'text', start: 0, end: bytes.length, blockBytes: bytes.length },
      ],
    })
  const count = stage(job => {
    job.steps(textFile(job), [{ op: 'filter', fn: job.fn((line: string) => line.includes('harpoon11')) }])
    return { kind: 'count' }
  })
  console.log(`  text: ${(bytes.length / 1e6).toFixed(0)} MB`)
  await compete({
    name: 'lines filter(includes) count',
    targets: { 'hand-written loop': 0.9 },
    contenders: [
      { name: 'engine', run: count },
      {
        name: 'hand-written loop',
        run: () => handLines(bytes, line => (line.includes('harpoon11') ? 1 : 0)),
      },
    ],
  })
  const wordCount = stage(job => {
    const parent = job.steps(textFile(job), [
      { op: 'flatMap', fn: job.fn((line: string) => line.split(/\s+/)) },
      { op: 'filter', fn: job.fn((word: string) => word !== '') },
      { op: 'map', fn: job.fn((word: string) => [word, 1] as const) },
    ])
    const combine = { kind: 'reduce', fn: job.fn((a: number, b: number) => a + b) }
    job.add({ op: 'shuffle', parent, partitions: 8, by: { kind: 'hash', partitions: 8 }, combine })
    return { kind: 'count' }
  })
  await compete({
    name: 'word count, map side with its output',
    targets: { 'hand-written loop, Map': 1.4 },
    rounds: 5,
    contenders: [
      { name: 'engine', run: wordCount },
      {
        name: 'hand-written loop, Map',
        run: () => {
          const counts = new Map<string, number>()
          handLines(bytes, line => {
            for (const word of line.split(/\s+/))
              if (word !== '') counts.set(word, (counts.get(word) ?? 0) + 1)
            return 0
          })
          return counts
        },
      },
    ],
  })
}

function handLines(bytes: Buffer, use: (line: string) => number): number {
  let total = 0
  for (let start = 0; start < bytes.length;) {
    const end = bytes.lastIndexOf(10, Math.min(start + 65_536, bytes.length) - 1) + 1
    const text = bytes.toString('latin1', start, end)
    for (
      let at = 0, newline = text.indexOf('\n');
      newline >= 0;
      at = newline + 1, newline = text.indexOf('\n', at)
    ) {
      total += use(text.slice(at, newline))
    }
    start = end
  }
  return total
}

const parts: Record<string, () => Promise<void>> = { loops, codec, tables, sorts, text }
const wanted = process.argv.slice(2)
for (const [name, run] of Object.entries(parts)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  console.log(`\n${name}`)
  await run()
}
