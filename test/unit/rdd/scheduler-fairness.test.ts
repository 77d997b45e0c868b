import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SCHEDULER } from '../../../src/rdd/config.ts'
import type { SchedulerEffect } from '../../../src/rdd/scheduler-types.ts'
import { jobOf, resultOf, Scene, starts, type Start } from './scheduler-support.ts'

const PEERS = { a: 2, b: 1, c: 3 }

/** What a test sees of the jobs: attempts that run, and how many tasks have never begun. */
class Watch {
  readonly running: Start[] = []
  readonly #left = new Map<string, number>()
  readonly #scene: Scene

  constructor(scene: Scene) {
    this.#scene = scene
  }

  submit(jobId: string, tasks: number): void {
    this.#left.set(jobId, tasks)
    const session = jobId.slice(0, jobId.indexOf('/'))
    this.#look(this.#scene.submit(jobOf({ jobId, session, stages: [tasks] })))
  }

  end(index: number): void {
    const [start] = this.running.splice(index, 1)
    this.#look(this.#scene.ended(start!.peer, start!.id, resultOf(), start!.jobId))
  }

  #runningOf(jobId: string): number {
    return this.running.filter(start => start.jobId === jobId).length
  }

  /** Nobody gets a worker for whom more run than for another one that waits. */
  #look(effects: readonly SchedulerEffect[]): void {
    const begun = starts(effects)
    this.running.push(...begun)
    for (const { jobId } of begun) this.#left.set(jobId, this.#left.get(jobId)! - 1)
    for (const [waiting, left] of this.#left) {
      if (left === 0) continue
      for (const jobId of new Set(begun.map(start => start.jobId)))
        if (this.#runningOf(jobId) > this.#runningOf(waiting) + 1)
          throw new Error(`${jobId} gets more workers than ${waiting}, which waits`)
    }
  }
}

describe('jobs at the same time', () => {
  test('whoever has the fewest running tasks is next, however many come and whenever', () => {
    const act = fc.oneof(
      { weight: 1, arbitrary: fc.record({ tasks: fc.integer({ min: 1, max: 40 }) }) },
      { weight: 12, arbitrary: fc.record({ end: fc.nat() }) },
    )
    fc.assert(
      fc.property(fc.array(act, { minLength: 20, maxLength: 100 }), acts => {
        const scene = new Scene(1, PEERS)
        const watch = new Watch(scene)
        let jobs = 0
        for (const each of acts) {
          if ('tasks' in each) watch.submit(`s${++jobs}/1`, each.tasks)
          else if (watch.running.length > 0) watch.end(each.end % watch.running.length)
        }
        while (watch.running.length > 0) watch.end(0)
        expect(scene.effects.filter(({ type }) => type === 'job-done')).toHaveLength(jobs)
      }),
      { numRuns: 40 },
    )
  })

  test('a job of many tasks holds up one of a few by what is queued at the workers, and no more', () => {
    const scene = new Scene(1, { a: 1 })
    const watch = new Watch(scene)
    watch.submit('large/1', 5_000)
    watch.submit('small/1', 2)
    let ended = 0
    while (
      watch.running.some(({ jobId }) => jobId === 'small/1') ||
      ended === 0 ||
      !isDone(scene, 'small/1')
    ) {
      watch.end(0)
      ended += 1
      expect(ended).toBeLessThanOrEqual(SCHEDULER.queueDepthMax + 4)
    }
  })
})

function isDone(scene: Scene, jobId: string): boolean {
  return scene.effects.some(effect => effect.type === 'job-done' && effect.jobId === jobId)
}
