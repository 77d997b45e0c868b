import type { JobListing } from '../node/index.ts'
import { attached } from './attached.ts'
import type { Settings } from './settings.ts'
import { table } from './table.ts'
import { colors, print, printJson } from './terminal.ts'
import { humanMs, humanTime } from './units.ts'

/** `shoal jobs`. */
export async function showJobs(settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const jobs = await mesh.jobs({ signal })
    if (settings.json) printJson(jobs)
    else print(jobs.length === 0 ? 'no jobs yet' : jobTable(jobs, Date.now()))
  })
}

/** `shoal cancel`. @throws JOB_UNKNOWN when it does not run. */
export async function cancelRunning(
  jobId: string,
  reason: string | undefined,
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    await mesh.cancelJob(jobId, reason ?? 'cancelled with `shoal cancel`', { signal })
    if (settings.json) printJson({ jobId, cancelled: true })
    else print(`job ${jobId} is cancelled`)
  })
}

export function jobTable(jobs: readonly JobListing[], nowMs: number): string {
  const rows = jobs.map(({ jobId, name, status, startedMs, endedMs, tasks, retried, reason, ...rest }) => [
    jobId,
    STATUS_COLORS[status](status),
    humanTime(startedMs),
    humanMs(Math.max(0, (endedMs ?? nowMs) - startedMs)),
    tasks === undefined ? '' : String(tasks),
    retried === undefined || retried === 0 ? '' : String(retried),
    (reason === undefined ? name : `${name}: ${reason.replace(`job ${jobId} was cancelled: `, '')}`) +
      detachedNote(rest, nowMs),
  ])
  return table(
    [
      { title: 'JOB' },
      { title: 'STATUS' },
      { title: 'STARTED' },
      { title: 'TOOK', align: 'right' },
      { title: 'TASKS', align: 'right' },
      { title: 'RETRIED', align: 'right' },
      { title: 'NAME' },
    ],
    rows,
  )
}

/** Who reads the list wants to know which jobs go on by themselves, and which still have something for him. */
function detachedNote(
  { detached, keptUntilMs }: Pick<JobListing, 'detached' | 'keptUntilMs'>,
  nowMs: number,
): string {
  if (detached === undefined) return ''
  const { output } = detached
  const what =
    output.kind === 'files'
      ? `detached, to ${output.path}`
      : keptUntilMs === undefined
        ? 'detached'
        : `detached, its result waits ${humanMs(Math.max(0, keptUntilMs - nowMs))} longer`
  return colors.dim(` (${what})`)
}

const STATUS_COLORS = {
  running: colors.cyan,
  done: colors.green,
  failed: colors.red,
  cancelled: colors.yellow,
} as const
