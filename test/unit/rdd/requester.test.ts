import { describe, expect, test } from 'vitest'
import { encodeRows } from '../../../src/rdd/codec/index.ts'
import { createDatasets } from '../../../src/rdd/context.ts'
import type { JobRunner, PartialResult, RunOptions } from '../../../src/rdd/job-runner.ts'
import { LocalFiles } from '../../../src/rdd/local-files.ts'
import { LocalRunner } from '../../../src/rdd/local-runner.ts'
import type { Plan } from '../../../src/rdd/plan.ts'
import { gather } from '../../support/gather.ts'
import { partials } from '../../../src/rdd/requester.ts'

/** A runner that hands over what another computes in another order, unless order is asked for. */
class ShufflingRunner implements JobRunner {
  readonly #inner = new LocalRunner()
  readonly #order: (results: PartialResult[]) => PartialResult[]

  constructor(order: (results: PartialResult[]) => PartialResult[]) {
    this.#order = order
  }

  async *run(plan: Plan, options: RunOptions): AsyncGenerator<PartialResult, void, undefined> {
    const results = await gather(this.#inner.run(plan, options))
    yield* options.ordered ? results : this.#order(results)
  }

  forget(): void {}
}

const orders: Record<string, (results: PartialResult[]) => PartialResult[]> = {
  backwards: results => results.toReversed(),
  'odd ones first': results => results.toSorted((a, b) => (b.partition % 2) - (a.partition % 2)),
  'first one last': results => [...results.slice(1), ...results.slice(0, 1)],
}

describe('partial results', () => {
  for (const [name, order] of Object.entries(orders)) {
    test(`are folded in partition order when they arrive ${name}`, async () => {
      const mesh = createDatasets({ runner: new ShufflingRunner(order), files: new LocalFiles() })
      const letters = mesh.parallelize('abcdefghij'.split(''), 7)
      expect(await letters.collect()).toEqual('abcdefghij'.split(''))
      expect(await letters.reduce((a, b) => a + b)).toBe('abcdefghij')
      expect(await letters.fold('', (a, b) => a + b)).toBe('abcdefghij')
      expect(await letters.take(9)).toEqual('abcdefghi'.split(''))
      expect(await letters.top(3, () => 0)).toEqual(['a', 'b', 'c'])
      expect([...(await letters.countByValue()).keys()]).toEqual('abcdefghij'.split(''))
      expect(await gather(letters)).toEqual('abcdefghij'.split(''))
      expect(await letters.keyBy(() => 1).lookup(1)).toEqual('abcdefghij'.split(''))
      const thirds = mesh.range(1, 200, 1, 7).map(n => 1 / n)
      const inOrder = createDatasets({ runner: new LocalRunner(), files: new LocalFiles() })
      const expected = inOrder.range(1, 200, 1, 7).map(n => 1 / n)
      expect(await thirds.sum()).toBe(await expected.sum())
      expect(await thirds.stats()).toEqual(await expected.stats())
    })
  }
})

describe('a runner that breaks its contract', () => {
  const plan: Plan = {
    version: 1,
    nodes: [
      {
        op: 'range',
        start: 0,
        step: 1,
        count: 3,
        partitions: 3,
        fingerprint: 'f',
        cached: false,
        label: 'range',
      },
    ],
    closures: [],
    action: { kind: 'collect' },
  }

  function runner(partitions: number[]): JobRunner {
    return {
      async *run() {
        for (const partition of partitions) yield { partition, bytes: encodeRows([partition]) }
      },
      forget() {},
    }
  }

  async function read(partitions: number[], ordered: boolean): Promise<number[]> {
    const results = await gather(partials(runner(partitions), plan, { ordered }))
    return results.map(({ partition }) => partition)
  }

  test('is found out: a partition twice, too many, too few, or out of the order asked for', async () => {
    expect(await read([2, 0, 1], false)).toEqual([2, 0, 1])
    for (const partitions of [[0, 1, 1], [0, 1, 2, 3], [0, 2], []]) {
      await expect(read(partitions, false), String(partitions)).rejects.toMatchObject({ code: 'INTERNAL' })
    }
    await expect(read([1, 0, 2], true)).rejects.toMatchObject({ code: 'INTERNAL' })
  })

  test('malformed rows are a coded error', async () => {
    const garbage: JobRunner = {
      async *run() {
        yield { partition: 0, bytes: new Uint8Array([1, 2, 3]) }
      },
      forget() {},
    }
    await expect(gather(partials(garbage, plan, { ordered: false }))).rejects.toMatchObject({
      code: 'BAD_MESSAGE',
    })
  })
})

describe('back-pressure', () => {
  test('the next partition is asked for only when the elements of this one are used up', async () => {
    const asked: number[] = []
    const counting: JobRunner = {
      async *run() {
        for (let partition = 0; partition < 5; partition++) {
          asked.push(partition)
          yield { partition, bytes: encodeRows([partition, partition]) }
        }
      },
      forget() {},
    }
    const mesh = createDatasets({ runner: counting, files: new LocalFiles() })
    const iterator = mesh.range(0, 10, 1, 5).toLocalIterator()
    expect(asked).toEqual([])
    await iterator.next()
    await iterator.next()
    expect(asked).toEqual([0])
    await iterator.next()
    expect(asked).toEqual([0, 1])
    await iterator.return()
    expect(asked).toEqual([0, 1])
  })

  test('leaving the loop ends the job', async () => {
    let ended = false
    const runner: JobRunner = {
      async *run() {
        try {
          for (let partition = 0; partition < 5; partition++)
            yield { partition, bytes: encodeRows([partition]) }
        } finally {
          ended = true
        }
      },
      forget() {},
    }
    const mesh = createDatasets({ runner, files: new LocalFiles() })
    for await (const n of mesh.range(0, 5, 1, 5)) if (n === 1) break
    expect(ended).toBe(true)
  })
})

test('actions pass their name and signal on, and say whether they need order', async () => {
  const seen: RunOptions[] = []
  const inner = new LocalRunner()
  const runner: JobRunner = {
    run(plan, options) {
      seen.push(options)
      return inner.run(plan, options)
    },
    forget() {},
  }
  const mesh = createDatasets({ runner, files: new LocalFiles() })
  const abort = new AbortController()
  const { signal } = abort
  await mesh.range(3).count()
  await mesh.range(3).mean({ name: 'average age', signal })
  await gather(mesh.range(3))
  await mesh
    .range(3)
    .sortBy(n => n)
    .first({ signal })
  abort.abort(new Error('enough'))
  expect(seen.map(({ name, ordered, signal }) => [name, ordered, signal?.aborted])).toEqual([
    ['count', false, false],
    ['average age', false, true],
    ['toLocalIterator', true, false],
    ['sortBy: sampling', false, true],
    ['first', false, true],
  ])
})

test('unpersist tells the runner which cached partitions to forget', async () => {
  const forgotten: string[][] = []
  const inner = new LocalRunner()
  const plans: Plan[] = []
  const runner: JobRunner = {
    run(plan, options) {
      plans.push(plan)
      return inner.run(plan, options)
    },
    forget: fingerprints => void forgotten.push([...fingerprints]),
  }
  const mesh = createDatasets({ runner, files: new LocalFiles() })
  const cached = mesh.range(3).map(n => n + 1)
  cached.unpersist()
  expect(forgotten).toEqual([])
  await cached.cache().count()
  cached.unpersist()
  expect(forgotten).toEqual([[plans[0]!.nodes[1]!.fingerprint]])
  expect(plans[0]!.nodes.map(({ cached }) => cached)).toEqual([false, true])
})
