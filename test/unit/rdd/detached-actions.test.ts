import { beforeEach, describe, expect, test } from 'vitest'
import { ShoalError } from '../../../src/base/errors.ts'
import { createDatasets, type DatasetContext } from '../../../src/rdd/context.ts'
import type { DetachedJob, DetachedTerms } from '../../../src/rdd/detached-job.ts'
import { LocalFiles } from '../../../src/rdd/local-files.ts'
import { createLocal, LocalRunner } from '../../../src/rdd/local-runner.ts'
import type { Plan } from '../../../src/rdd/plan.ts'

let handed: { plan: Plan; terms: DetachedTerms; name: string }[]
let context: DatasetContext

beforeEach(() => {
  handed = []
  const files = new LocalFiles({ '/there/part-00000': 'x\n', '/in.txt': 'a\nb\n' })
  const refuse = (): Promise<never> => Promise.reject(new ShoalError('JOB_UNKNOWN', { job: 'a/1' }))
  context = createDatasets({
    runner: new LocalRunner({ files }),
    files,
    defaultPartitions: 3,
    detacher: {
      detach: async <R>(
        plan: Plan,
        terms: DetachedTerms,
        { name }: { name: string },
      ): Promise<DetachedJob<R>> => {
        await Promise.resolve()
        handed.push({ plan, terms, name })
        return { jobId: 'a/1', status: refuse, wait: refuse, result: refuse, cancel: refuse }
      },
    },
  })
})

describe('what is handed over', () => {
  test('is one part for each partition, with where it goes and what it is called', async () => {
    const job = await context.range(0, 9).detached({ name: 'nine' }).saveAsCsv('/out', { overwrite: true })
    expect(job.jobId).toBe('a/1')
    expect(handed).toMatchObject([
      {
        name: 'nine',
        terms: { partitions: 3, suffix: '.csv', output: { kind: 'files', path: '/out', overwrite: true } },
        plan: { action: { kind: 'saveBytes', path: '/out', format: 'csv' } },
      },
    ])
  })

  test.each(['reduce', 'fold', 'aggregate'] as const)(
    'merges on the peers down to one partition: %s',
    async action => {
      const numbers = context.range(0, 100, 1, 40).detached({ ttlMs: 5, taskTimeoutMs: 7 })
      const add = (left: number, right: number): number => left + right
      if (action === 'reduce') await numbers.reduce(add)
      if (action === 'fold') await numbers.fold(0, add)
      if (action === 'aggregate') await numbers.aggregate(0, add, add)
      expect(handed).toMatchObject([
        {
          name: action,
          terms: { partitions: 1, output: { kind: 'result', fold: 'row', ttlMs: 5 } },
          plan: { taskTimeoutMs: 7 },
        },
      ])
    },
  )
})

describe('what is refused', () => {
  test('is an output that is there, a time that is none, and everything without a mesh', async () => {
    await expect(context.range(3).detached().saveAsTextFile('/there')).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    })
    for (const ttlMs of [0, 1.5, 2 ** 50]) expect(() => context.range(3).detached({ ttlMs })).toThrow(/ttlMs/)
    await expect(createLocal().range(3).detached().count()).rejects.toMatchObject({ code: 'PLAN_INVALID' })
    expect(handed).toEqual([])
  })

  test('is what ends with its client: broadcasts, accumulators, partitions that are only kept', async () => {
    const table = context.broadcast(new Map([[1, 'one']]))
    const seen = context.accumulator(0)
    const named = context.range(3).map(each => table.value.get(each))
    const counted = context.range(3).map(each => {
      seen.add(1)
      return each
    })
    await expect(named.detached().collect()).rejects.toThrow(/broadcast/)
    await expect(counted.detached().count()).rejects.toThrow(/accumulator/)
    const local = context.range(3).map(each => each + 1)
    await local.localCheckpoint()
    await expect(local.detached().count()).rejects.toThrow(/as long as their client lives/)
    await (
      await context.textFile('/in.txt').checkpoint()
    )
      .detached()
      .count()
      .then(
        () => expect.unreachable('a checkpoint without a path ends with its client'),
        (error: unknown) => expect(error).toMatchObject({ code: 'PLAN_INVALID' }),
      )
    await context.textFile('/in.txt').detached().count()
    expect(handed).toHaveLength(1)
  })
})
