import { ShoalError } from '../base/errors.ts'
import { decodeRows } from './codec/index.ts'
import type { JobRunner, RunOptions } from './job-runner.ts'
import type { Plan } from './plan.ts'

/** The requester's end of a job: partial results come in, in any order, and are folded in partition order. */

export interface PartialRows {
  partition: number
  rows: unknown[]
}

/** Partitions of the plan's last node that its action computes. */
export function resultPartitions(plan: Plan): readonly number[] {
  return plan.only ?? Array.from({ length: plan.nodes.at(-1)!.partitions }, (_, partition) => partition)
}

/**
 * Runs the plan; each partition's rows exactly once. A runner that hands one over twice, leaves one out or breaks the
 * order asked for would make results wrong unnoticed: INTERNAL.
 */
export async function* partials(
  runner: JobRunner,
  plan: Plan,
  options: RunOptions,
): AsyncGenerator<PartialRows, void, undefined> {
  options.signal?.throwIfAborted()
  const expected = new Set(resultPartitions(plan))
  if (expected.size === 0) return
  let previous = -1
  for await (const { partition, bytes } of runner.run(plan, options)) {
    if (!expected.delete(partition))
      throw broken(`partition ${partition} was handed over twice or never asked for`)
    if (options.ordered && partition < previous) throw broken(`partition ${partition} came after ${previous}`)
    previous = partition
    yield { partition, rows: decodeRows(bytes) }
  }
  if (expected.size > 0) throw broken(`the job ended without partition ${[...expected].join(', ')}`)
}

/**
 * Calls `fold` with the rows of each partition in partition order, as soon as all before it have come. What came early
 * waits in memory: at most the partials of the partitions in flight, each of a row or a few.
 */
export async function foldInOrder(
  results: AsyncIterable<PartialRows>,
  expected: readonly number[],
  fold: (rows: unknown[]) => void,
): Promise<void> {
  const early = new Map<number, unknown[]>()
  let next = 0
  for await (const { partition, rows } of results) {
    early.set(partition, rows)
    for (let due = expected[next]; due !== undefined; due = expected[next]) {
      const ready = early.get(due)
      if (ready === undefined) break
      early.delete(due)
      fold(ready)
      next++
    }
  }
}

function broken(reason: string): ShoalError<'INTERNAL'> {
  return new ShoalError('INTERNAL', { reason }, `the job runner broke its contract: ${reason}`)
}
