import { viewJob, type JobListing, type JobView, type Mesh } from '../node/index.ts'
import { attached } from './attached.ts'
import type { Settings } from './settings.ts'
import { table } from './table.ts'
import { colors, print, printJson } from './terminal.ts'
import { humanMs, humanTime } from './units.ts'

/** `shoal jobs`. */
export async function showJobs(settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    if (settings.json) printJson(await mesh.jobs({ signal }))
    else print(await jobsText(mesh, signal))
  })
}

/** The jobs that the mesh remembers, for people; of those that run, how far they are. */
export async function jobsText(mesh: Mesh, signal: AbortSignal): Promise<string> {
  const jobs = await mesh.jobs({ signal })
  const running = jobs.filter(({ status }) => status === 'running').slice(-LOOKED_AT_MAX)
  const views = await Promise.all(
    running.map(async ({ jobId }) => {
      // It may have ended, and been forgotten, in the meantime.
      const history = await mesh.jobHistory(jobId, { signal }).catch(() => undefined)
      return viewJob(jobId, history?.events ?? [])
    }),
  )
  return jobs.length === 0 ? 'no jobs yet' : jobTable(jobs, Date.now(), views)
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

/** @param views What the events of those that run say. */
export function jobTable(
  jobs: readonly JobListing[],
  nowMs: number,
  views: readonly Pick<JobView, 'jobId' | 'stages'>[] = [],
): string {
  const progress = new Map(views.map(view => [view.jobId, progressOf(view)]))
  const rows = jobs.map(({ jobId, name, status, startedMs, endedMs, reason, ...rest }) => {
    const { tasks, retried } = progress.get(jobId) ?? rest
    return [
      jobId,
      STATUS_COLORS[status](status),
      humanTime(startedMs),
      humanMs(Math.max(0, (endedMs ?? nowMs) - startedMs)),
      tasks === undefined ? '' : String(tasks),
      retried === undefined || retried === 0 ? '' : String(retried),
      (reason === undefined ? name : `${name}: ${reason.replace(`job ${jobId} was cancelled: `, '')}`) +
        detachedNote(rest, nowMs),
    ]
  })
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

function progressOf({ stages }: Pick<JobView, 'stages'>): { tasks?: string; retried?: number } {
  const sum = (pick: (stage: JobView['stages'][number]) => number): number =>
    stages.reduce((total, stage) => total + pick(stage), 0)
  // Those that were there already are none to wait for.
  const counted = (stage: JobView['stages'][number]): number => (stage.state === 'skipped' ? 0 : stage.tasks)
  return stages.length === 0
    ? {}
    : { tasks: `${sum(({ done }) => done)}/${sum(counted)}`, retried: sum(({ retried }) => retried) }
}

/** Running jobs whose events are asked for. */
const LOOKED_AT_MAX = 20

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
