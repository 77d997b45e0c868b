import { DETACHED_ROOT, detachedDirectory, type JobChange, type JobRecord } from '../../rdd/index.ts'

type JobEnd = Extract<JobChange, { type: 'job-end' }>

/** What the leader can see of detached jobs. */
export interface DetachedView {
  /** As log time, about: milliseconds since the epoch. */
  nowMs: number
  /** All that the replicated state knows of. */
  jobs: readonly JobRecord[]
  /** Those whose plan this leader has taken up, and not let go. */
  taken: ReadonlySet<string>
  /** Of those: all parts are there. With what it took. */
  complete: ReadonlyMap<string, { tasks: number; retried: number }>
  /** How jobs ended, as this leader has decided and the log does not say yet. */
  verdicts: ReadonlyMap<string, JobEnd>
  /** Directories of detached jobs that there are. */
  directories: readonly { name: string; modifiedMs: number }[]
  /** The job still has a directory for its parts. */
  hasParts(jobId: string): boolean
  /** A directory that no job claims stays so long: its job may be about to be handed over. */
  orphanMs: number
}

export type DetachedDuty =
  /** Read its plan, count the parts that are there, and have the rest computed. */
  | { type: 'take-up'; job: JobRecord }
  /** Make its output visible, or find that it was. */
  | { type: 'commit'; job: JobRecord; tasks?: number; retried?: number }
  | { type: 'end'; end: JobEnd }
  /** The scheduler may forget it. */
  | { type: 'let-go'; jobId: string }
  /** Nobody took its result in time. */
  | { type: 'expire'; jobId: string }
  | { type: 'remove'; directory: string }

/**
 * What a leader has to do now about detached jobs. Derived from the state alone, again and again, so that it does not matter which
 * leader began it, how far it came and what of it was lost. Pure.
 */
export function detachedDuties(view: DetachedView): DetachedDuty[] {
  const duties: DetachedDuty[] = []
  const claimed = new Set<string>()
  const known = new Set<string>()
  for (const job of view.jobs) {
    const { jobId, status, detached, keptUntilMs } = job
    if (detached === undefined) continue
    const directory = detachedDirectory(jobId)
    known.add(directory)
    if (status === 'running') {
      claimed.add(directory)
      duties.push(...dutiesOf(job, view))
      continue
    }
    if (view.taken.has(jobId)) duties.push({ type: 'let-go', jobId })
    if (keptUntilMs === undefined) continue
    claimed.add(directory)
    if (keptUntilMs <= view.nowMs) duties.push({ type: 'expire', jobId })
  }
  for (const { name, modifiedMs } of view.directories) {
    const directory = `${DETACHED_ROOT}/${name}`
    if (claimed.has(directory)) continue
    if (known.has(directory) || modifiedMs + view.orphanMs <= view.nowMs)
      duties.push({ type: 'remove', directory })
  }
  return duties
}

function dutiesOf(job: JobRecord, view: DetachedView): DetachedDuty[] {
  const { jobId, detached } = job
  const verdict = view.verdicts.get(jobId)
  if (verdict !== undefined) return [{ type: 'end', end: verdict }]
  const figures = view.complete.get(jobId)
  const saves = detached?.output.kind === 'files'
  if (!view.hasParts(jobId)) {
    // They go all at once, when they become the output: an earlier leader did that, and could not say so any more.
    if (saves) return [{ type: 'commit', job, ...figures }]
    const reason = 'its parts were removed while it ran'
    return [{ type: 'end', end: { type: 'job-end', jobId, status: 'failed', reason, code: 'NOT_FOUND' } }]
  }
  if (figures !== undefined) {
    if (saves) return [{ type: 'commit', job, ...figures }]
    return [{ type: 'end', end: { type: 'job-end', jobId, status: 'done', ...figures } }]
  }
  return view.taken.has(jobId) ? [] : [{ type: 'take-up', job }]
}
