import { describe, expect, test } from 'vitest'
import { SCHEDULER } from '../../../src/rdd/config.ts'
import type { EndedOutcome } from '../../../src/rdd/scheduler-types.ts'
import {
  begun,
  cancelled,
  failureOf,
  jobOf,
  mapOutputOf,
  resultOf,
  Scene,
  sealed,
  startOf,
  starts,
  typesOf,
} from './scheduler-support.ts'
import type { Start } from './scheduler-support.ts'

/** Four tasks on four peers, all but that of `d` done after 100 ms. */
function nearlyDone(scene: Scene, shape: { runsOnce?: boolean } = {}): { slow: Start; others: Start[] } {
  const all = starts(scene.submit(jobOf({ stages: [4], ...shape })))
  const slow = all.find(({ peer }) => peer === 'd')!
  const others = all.filter(start => start !== slow)
  scene.nowMs = 100
  for (const { peer, id } of others) scene.ended(peer, id, resultOf())
  return { slow, others }
}

function changed(outcome: EndedOutcome): EndedOutcome {
  return outcome.type === 'map-output' ? { ...outcome, checksum: 99 } : outcome
}

const FOUR = { a: 1, b: 1, c: 1, d: 1 }

describe('a slow task', () => {
  test('gets a second attempt elsewhere once its stage is nearly done and it takes far longer, and no third one', () => {
    const scene = new Scene(1, FOUR)
    const { slow } = nearlyDone(scene)
    expect(begun(scene.tickAt(SCHEDULER.speculationMinMs))).toEqual([])
    const again = starts(scene.tickAt(SCHEDULER.speculationMinMs + 1))
    expect(again).toHaveLength(1)
    expect(again[0]!.peer).not.toBe('d')
    expect(again[0]!.id).toEqual({ ...slow.id, attempt: 1 })
    expect(begun(scene.tickAt(14_000))).toEqual([])
  })

  test('the first of the two that ends well counts, and the other one is stopped', () => {
    for (const first of ['old', 'new']) {
      const scene = new Scene(1, FOUR)
      const { slow } = nearlyDone(scene)
      const [again] = starts(scene.tickAt(2_000))
      const [winner, loser] = first === 'old' ? [slow, again!] : [again!, slow]
      const effects = scene.ended(winner.peer, winner.id, resultOf())
      expect(typesOf(effects)).toContain('job-done')
      expect(cancelled(effects)).toEqual([`${loser.peer}: 0.${loser.id.partition}.1.${loser.id.attempt}`])
      expect(typesOf(scene.ended(loser.peer, loser.id, resultOf()))).toEqual([])
    }
  })

  test('the failure of one attempt leaves the other alone', () => {
    const scene = new Scene(1, FOUR)
    const { slow } = nearlyDone(scene)
    const [again] = starts(scene.tickAt(2_000))
    expect(begun(scene.step({ type: 'executor-gone', peer: again!.peer }))).toEqual([])
    expect(typesOf(scene.ended('d', slow.id, resultOf()))).toContain('job-done')
  })

  test('is let alone while a quarter of its stage has yet to end, and when its effects are not to be had twice', () => {
    const half = new Scene(1, FOUR)
    const all = starts(half.submit(jobOf({ stages: [4] })))
    half.nowMs = 100
    for (const { peer, id } of all.slice(0, 2)) half.ended(peer, id, resultOf())
    expect(begun(half.tickAt(14_000))).toEqual([])
    const once = new Scene(1, FOUR)
    nearlyDone(once, { runsOnce: true })
    expect(begun(once.tickAt(14_000))).toEqual([])
  })

  test('waits for a worker that has nothing else to do', () => {
    const scene = new Scene(1, FOUR)
    nearlyDone(scene)
    scene.submit(jobOf({ jobId: 't/1', session: 't', stages: [60] }))
    expect(starts(scene.tickAt(14_000)).filter(({ jobId }) => jobId === 's/1')).toEqual([])
  })

  test('a long stage is slow as a whole: twice the median is what counts', () => {
    const scene = new Scene(1, FOUR)
    const all = starts(scene.submit(jobOf({ stages: [4] })))
    scene.nowMs = 5_000
    for (const { peer, id } of all.filter(each => each.peer !== 'd')) scene.ended(peer, id, resultOf())
    expect(begun(scene.tickAt(10_000))).toEqual([])
    expect(begun(scene.tickAt(10_001))).toHaveLength(1)
  })
})

describe('a map output that comes out different the second time', () => {
  const job = jobOf({ stages: [2, 2, 2] })

  /** Both maps of the first stage, and one of the second. */
  function half(scene: Scene): void {
    const maps = starts(scene.submit(job))
    for (const { peer, id } of maps) scene.ended(peer, id, mapOutputOf(job, id))
    const [second] = scene.effects.flatMap(effect => starts([effect])).filter(({ id }) => id.stage === 1)
    scene.ended(second!.peer, second!.id, mapOutputOf(job, second!.id))
  }

  test('has the stages that read the old one computed again, whole', () => {
    const scene = new Scene(1, { a: 1, b: 1 })
    half(scene)
    scene.step({ type: 'executor-joined', peer: 'c', workers: 1 })
    const lost = starts(scene.step({ type: 'executor-gone', peer: 'a' }))
    expect(lost.map(({ id }) => id.stage)).toEqual([0])
    const { id } = lost[0]!
    const before = scene.effects.length
    const again = scene.ended('c', id, changed(mapOutputOf(job, id)))
    scene.finishAll(again, job)
    const second = starts(scene.effects.slice(before)).filter(each => each.id.stage === 1)
    expect(new Set(second.map(each => each.id.partition))).toEqual(new Set([0, 1]))
    expect(failureOf(scene.effects)).toBeUndefined()
  })

  test('makes what was computed from the old one worthless, whenever its report comes and wherever it is found', () => {
    const scene = new Scene(1, { a: 1, b: 1 })
    const all = starts(scene.submit(job))
    for (const { peer, id } of all) scene.ended(peer, id, mapOutputOf(job, id))
    const old = startOf(scene.effects, 1, 0)
    scene.ended(old.peer, old.id, mapOutputOf(job, old.id))
    const gone = startOf(scene.effects, 0, old.peer === 'a' ? 1 : 0)
    scene.step({ type: 'executor-joined', peer: 'c', workers: 4 })
    const [lost] = starts(scene.step({ type: 'executor-gone', peer: old.peer === 'a' ? 'b' : 'a' }))
    expect(lost!.id).toMatchObject({ stage: 0, partition: gone.id.partition })
    scene.ended('c', lost!.id, changed(mapOutputOf(job, lost!.id)))
    // The answer to its report was lost, so that it comes again; and a peer comes back that has one, too.
    scene.ended(old.peer, old.id, mapOutputOf(job, old.id))
    scene.step({ type: 'executor-joined', peer: 'd', workers: 1 })
    const output = sealed(job, old.id)
    scene.step({ type: 'inventory-received', peer: 'd', running: [], outputs: [output] })
    const anew = starts(scene.effects).filter(({ id }) => id.stage === 1 && id.partition === 0)
    expect(anew).toHaveLength(2)
    scene.ended(anew[1]!.peer, anew[1]!.id, changed(mapOutputOf(job, anew[1]!.id)))
    const other = starts(scene.effects).findLast(({ id }) => id.stage === 1 && id.partition === 1)!
    scene.ended(other.peer, other.id, mapOutputOf(job, other.id))
    const reads = scene.effects.findLast(effect => effect.type === 'run-tasks' && effect.stage.id === 2)
    expect(reads).toMatchObject({ shuffles: [{ peers: [anew[1]!.peer, other.peer] }] })
    expect(failureOf(scene.effects)).toBeUndefined()
  })

  test('ends the job when results of the old one may be out', () => {
    const two = jobOf({ stages: [2, 2] })
    const scene = new Scene(1, { a: 1, b: 1 })
    for (const { peer, id } of starts(scene.submit(two))) scene.ended(peer, id, mapOutputOf(two, id))
    scene.step({ type: 'executor-joined', peer: 'c', workers: 1 })
    const [remade] = starts(scene.step({ type: 'executor-gone', peer: 'a' }))
    const outcome = changed(mapOutputOf(two, remade!.id))
    expect(failureOf(scene.ended('c', remade!.id, outcome))?.code).toBe('TASK_NONDETERMINISTIC')
  })

  test('the same again is no news', () => {
    const two = jobOf({ stages: [2, 2] })
    const scene = new Scene(1, { a: 1, b: 1 })
    for (const { peer, id } of starts(scene.submit(two))) scene.ended(peer, id, mapOutputOf(two, id))
    scene.step({ type: 'executor-joined', peer: 'c', workers: 1 })
    const [remade] = starts(scene.step({ type: 'executor-gone', peer: 'a' }))
    expect(failureOf(scene.ended('c', remade!.id, mapOutputOf(two, remade!.id)))).toBeUndefined()
  })
})

describe('many events', () => {
  test('that come together lead to one round of handing out: what is free goes in one batch', () => {
    const scene = new Scene(1, { a: 4 })
    const first = starts(scene.submit(jobOf({ stages: [8] })))
    const events = first.map(
      ({ peer, id, jobId }) => ({ type: 'task-ended', peer, jobId, id, outcome: resultOf() }) as const,
    )
    const effects = scene.scheduler.stepAll(events, 0)
    expect(typesOf(effects)).toEqual(['run-tasks'])
    expect(starts(effects)).toHaveLength(8 - first.length)
  })

  test('progress is said every progressEveryMs at most, and not of a job that is over sooner', () => {
    const scene = new Scene(1, { a: 1 })
    const job = jobOf({ stages: [3] })
    const progress = (): number => scene.effects.filter(({ type }) => type === 'progress').length
    scene.submit(job)
    expect(progress()).toBe(0)
    scene.tickAt(SCHEDULER.progressEveryMs)
    scene.tickAt(SCHEDULER.progressEveryMs + 1)
    expect(progress()).toBe(1)
    scene.nowMs += SCHEDULER.progressEveryMs
    scene.ended('a', { stage: 0, partition: 0, attempt: 0, term: 1 }, resultOf())
    expect(progress()).toBe(2)
  })

  test('what a task costs the scheduler does not grow with their number', () => {
    const msPerTask = (tasks: number): number => {
      const { scheduler } = new Scene(1, {})
      for (const peer of ['a', 'b', 'c', 'd'])
        scheduler.step({ type: 'executor-joined', peer, workers: 2 }, 0)
      const start = process.threadCpuUsage()
      const queue = starts(scheduler.step({ type: 'job-submitted', job: jobOf({ stages: [tasks] }) }, 0))
      let ended = 0
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        ended += 1
        const { peer, jobId, id } = next
        queue.push(...starts(scheduler.step({ type: 'task-ended', peer, jobId, id, outcome: resultOf() }, 0)))
      }
      expect(ended).toBe(tasks)
      // Of this thread, so that others on the machine do not count; the collector's own threads do not either.
      const { user, system } = process.threadCpuUsage(start)
      return (user + system) / 1_000 / tasks
    }
    const least = (tasks: number): number => Math.min(...[1, 2, 3].map(() => msPerTask(tasks)))
    msPerTask(500)
    // Twenty times as many; when each event looked at all tasks, each cost twenty times as much: several tenths of a
    // millisecond. The floor is for clocks that count in coarse steps.
    expect(least(20_000)).toBeLessThan(Math.max(6 * least(1_000), 0.1))
  })
})
