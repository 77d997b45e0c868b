import type { AbortOptions } from '../base/deadline.ts'
import type { Plan } from './plan.ts'

/** Jobs that need no client: what is agreed about them, and what a program sees of them. */

/** How the rows of the parts, in partition order, make the result that waits for whoever asks. */
export type DetachedFold =
  /** All of them, as an array. */
  | 'rows'
  /** The only one; EMPTY_RDD when there is none. */
  | 'row'
  /** Their sum. */
  | 'sum'

export type DetachedOutput =
  /** A mesh directory of part files, which appears whole at the end. */
  | { kind: 'files'; path: string; overwrite: boolean }
  /** Kept in the mesh until it is taken or its time is over. */
  | { kind: 'result'; fold: DetachedFold; ttlMs: number }

/** Part of the job's record in the replicated state. */
export interface DetachedTerms {
  /** Part files to make, one for each partition of the plan's last node. */
  partitions: number
  /** Appended to the name of each, e.g. `.csv`. */
  suffix: string
  output: DetachedOutput
}

/** Where a detached job keeps its plan and its finished parts while it runs, and its result until that is taken. */
export function detachedDirectory(jobId: string): string {
  return `${DETACHED_ROOT}/${jobId.replace('/', '-')}`
}

export const DETACHED_ROOT = '/.jobs'

export function partName(partition: number, suffix: string): string {
  return `part-${String(partition).padStart(5, '0')}${suffix}`
}

/** Which part of which detached job a file is; undefined for every other file. */
export function detachedPartAt(path: string): { jobId: string; partition: number } | undefined {
  const found = /^\/\.jobs\/([0-9a-z]+)-1\/out\/part-(\d{5,})(?:\.[^/]*)?$/.exec(path)
  if (found === null) return undefined
  return { jobId: `${found[1]}/1`, partition: Number(found[2]) }
}

/** How a detached job stands, as the mesh knows it. */
export interface DetachedStatus {
  jobId: string
  name: string
  status: 'running' | 'done' | 'failed' | 'cancelled'
  /** Milliseconds since the epoch. */
  startedMs: number
  endedMs?: number
  /** Why it failed or was cancelled. */
  reason?: string
  /** Parts that are finished and durable: no crash makes them run again. */
  parts: { done: number; of: number }
  /** Directory that the job writes, if that is what it does. */
  path?: string
  /** The result waits until then. */
  keptUntilMs?: number
}

export interface ResultOptions extends AbortOptions {
  /** Leave the result where it is, for others, until its time is over. @default false: it goes when it has been read whole */
  keep?: boolean
}

/** A job that goes on whether or not this program does. Get it again elsewhere with `mesh.detachedJob(jobId)`. */
export interface DetachedJob<R> {
  readonly jobId: string
  /** @throws JOB_UNKNOWN for one that the mesh has forgotten: ended long ago, or never begun */
  status(options?: AbortOptions): Promise<DetachedStatus>
  /** Resolves when it is done. @throws what it failed with, JOB_CANCELLED, JOB_UNKNOWN */
  wait(options?: AbortOptions): Promise<void>
  /**
   * Waits, and gives what the action of the same name gives; nothing of one that saves. Once it is taken it is gone from the
   * mesh, but not from this object. @throws as `wait`; RESULT_GONE when it was taken before or its time is over
   */
  result(options?: ResultOptions): Promise<R>
  /** @throws JOB_UNKNOWN when it does not run */
  cancel(reason?: string, options?: AbortOptions): Promise<void>
}

export interface DetachOptions extends AbortOptions {
  /** For job lists. @default the action's name */
  name?: string
  /** As for every action: a task that runs longer is ended. @default no limit */
  taskTimeoutMs?: number
  /** How long a result waits to be taken. @default DETACHED.ttlMs, a day */
  ttlMs?: number
}

/** What datasets need of the mesh for this: a port, as `JobRunner` is. */
export interface Detacher {
  /** Resolves when the job is accepted: its plan is stored with three owners, and the log knows of it. */
  detach<R>(
    plan: Plan,
    terms: DetachedTerms,
    options: AbortOptions & { name: string },
  ): Promise<DetachedJob<R>>
}
