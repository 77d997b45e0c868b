import type { Surroundings } from '../world.ts'

/** Begins something and calls `done` with its outcome, at most once. */
export type Wait = (done: (outcome: unknown) => void) => void

/**
 * Work that waits now and then, written as a generator: promises would run between the events of virtual time, where
 * nothing decides their order. A task whose process crashes is never resumed.
 */
export type Task<Result> = Generator<Wait, Result, unknown>

export function run<Result>(task: Task<Result>, finished?: (result: Result) => void): void {
  const advance = (outcome: unknown): void => {
    const step = task.next(outcome)
    if (step.done === true) {
      finished?.(step.value)
      return
    }
    let settled = false
    step.value(result => {
      if (settled) return
      settled = true
      advance(result)
    })
  }
  advance(undefined)
}

/** The outcome of one wait. */
export function* waitFor<Result>(begin: (done: (outcome: Result) => void) => void): Task<Result> {
  return (yield begin) as Result
}

export function* pause(around: Surroundings, delayMs: number): Task<void> {
  yield done => around.after(delayMs, () => done(undefined))
}
