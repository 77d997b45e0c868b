import { expect, test } from 'vitest'
import { createDatasets } from '../../../../src/rdd/context.ts'
import type { JobRunner, RunOptions } from '../../../../src/rdd/job-runner.ts'
import { createLocal } from '../../../../src/rdd/local-runner.ts'

/** Jobs begin and never end, unless they are cancelled. */
function stuck(): {
  mesh: ReturnType<typeof createDatasets>
  begun: (count: number) => Promise<void>
  names: string[]
} {
  const local = createLocal()
  const names: string[] = []
  const waiting: { count: number; go: () => void }[] = []
  const runner: JobRunner = {
    // oxlint-disable-next-line require-yield -- it never has a result
    async *run(_plan, { name, signal }: RunOptions) {
      names.push(name ?? '')
      for (const { count, go } of waiting) if (names.length >= count) go()
      await new Promise((_, reject) => {
        signal!.addEventListener('abort', () => reject(signal!.reason as Error))
      })
    },
    forget: () => {},
  }
  const begun = (count: number): Promise<void> =>
    new Promise(go => {
      if (names.length >= count) go()
      else waiting.push({ count, go })
    })
  return { mesh: createDatasets({ runner, files: local.files }), begun, names }
}

const outcome = (action: Promise<unknown>): Promise<unknown> =>
  action.then(
    () => 'done',
    (error: unknown) => (error instanceof Error ? error.message : error),
  )

test("cancelling a group ends its jobs and no others; the group is that of the action's call", async () => {
  const { mesh, begun, names } = stuck()
  const rdd = mesh.range(10)
  mesh.setJobGroup('nightly', 'the nightly run')
  const first = outcome(rdd.count())
  const sampled = outcome(rdd.sortBy(n => n).count())
  mesh.setJobGroup('other')
  const second = outcome(rdd.count())
  mesh.setJobGroup()
  const third = outcome(rdd.collect({ name: 'mine' }))
  await begun(4)
  expect(names.toSorted()).toEqual([
    'count',
    'mine',
    'the nightly run: count',
    'the nightly run: sortBy: sampling',
  ])
  expect(mesh.cancelJobGroup('nightly')).toBe(2)
  expect(await first).toMatch(/a job of group nightly was cancelled/)
  expect(await sampled).toMatch(/group nightly/)
  expect(mesh.cancelJobGroup('nightly')).toBe(0)
  expect(mesh.cancelAllJobs()).toBe(2)
  expect(await Promise.all([second, third])).toEqual([
    'a job of this context was cancelled',
    'a job of this context was cancelled',
  ])
})

test('tags are set for all actions to come, or for one', async () => {
  const { mesh, begun } = stuck()
  const rdd = mesh.range(10)
  mesh.addJobTag('a')
  mesh.addJobTag('b')
  expect(mesh.getJobTags()).toEqual(new Set(['a', 'b']))
  const both = outcome(rdd.count())
  mesh.removeJobTag('a')
  const one = outcome(rdd.zipWithIndex().count({ tags: ['mine'] }))
  mesh.clearJobTags()
  const none = outcome(rdd.count())
  await begun(3)
  expect(mesh.cancelJobsWithTag('mine'), 'the job that counts for zipWithIndex').toBe(1)
  expect(await one).toMatch(/tag mine/)
  expect(mesh.cancelJobsWithTag('a')).toBe(1)
  expect(await both).toMatch(/tag a/)
  expect(mesh.cancelJobsWithTag('b')).toBe(0)
  mesh.cancelAllJobs()
  await none
})

test('jobs that ended are forgotten', async () => {
  const mesh = createLocal()
  mesh.setJobGroup('g')
  expect(await mesh.range(5).count()).toBe(5)
  for await (const _ of mesh.range(5)) break
  expect(mesh.cancelJobGroup('g')).toBe(0)
})
