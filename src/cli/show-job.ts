import { ShoalError } from '../base/errors.ts'
import { JobViewer, viewJob, type JobEvent, type JobView, type Mesh } from '../node/index.ts'
import { attached } from './attached.ts'
import { describeJob, noteLine } from './job/job-report.ts'
import type { Settings } from './settings.ts'
import { print, printJson } from './terminal.ts'

export interface ShowJobOptions {
  /** Goes on until the job has ended. */
  follow: boolean
  timeline: boolean
  /** The events themselves, as JSON lines. */
  events: boolean
}

/** Where nobody says how wide it is. */
const WIDTH = 100

/** `shoal job`. @param jobId The latest one, when it is not given. */
export async function showJob(
  jobId: string | undefined,
  options: ShowJobOptions,
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const id = jobId ?? (await latestJob(mesh, signal))
    if (options.follow) await followJob(mesh, id, options, settings, signal)
    else if (options.events) for await (const event of mesh.jobEvents(id, { signal })) printLine(event)
    else if (settings.json) {
      const { events, silent } = await mesh.jobHistory(id, { signal })
      printJson({ ...viewJob(id, events), silent })
    } else print(await jobText(mesh, id, options.timeline, signal))
  })
}

/** What is known of a job now, for people. */
export async function jobText(
  mesh: Mesh,
  jobId: string,
  withTimeline: boolean,
  signal: AbortSignal,
): Promise<string> {
  const [history, nameOf] = await Promise.all([mesh.jobHistory(jobId, { signal }), names(mesh, signal)])
  return report(viewJob(jobId, history.events), nameOf, history.silent, withTimeline)
}

/** Of a mesh that has had a job. @throws JOB_UNKNOWN */
export async function latestJob(mesh: Mesh, signal: AbortSignal): Promise<string> {
  const last = (await mesh.jobs({ signal })).at(-1)
  if (last !== undefined) return last.jobId
  throw new ShoalError('JOB_UNKNOWN', { job: '' }, 'the mesh remembers no job yet')
}

async function followJob(
  mesh: Mesh,
  jobId: string,
  options: ShowJobOptions,
  settings: Settings,
  signal: AbortSignal,
): Promise<void> {
  const nameOf = await names(mesh, signal)
  const viewer = new JobViewer(jobId)
  for await (const event of mesh.jobEvents(jobId, { follow: true, signal })) {
    viewer.add(event)
    if (options.events || settings.json) printLine(event)
    else if (isForPeople(event)) print(noteLine(event, viewer.view(), nameOf))
  }
  if (options.events || settings.json) return
  print(`\n${report(viewer.view(), nameOf, [], options.timeline)}`)
}

/** Tasks that go well are too many to read. */
function isForPeople(event: JobEvent): boolean {
  if (event.type === 'task-started') return false
  return event.type !== 'task-ended' || (event.outcome !== 'done' && event.outcome !== 'cancelled')
}

function report(
  view: JobView,
  nameOf: (peer: string) => string,
  silent: readonly string[],
  withTimeline: boolean,
): string {
  const width = process.stdout.columns ?? WIDTH
  return describeJob(view, { nameOf, nowMs: Date.now(), width, timeline: withTimeline, silent })
}

async function names(mesh: Mesh, signal: AbortSignal): Promise<(peer: string) => string> {
  const { members } = await mesh.status({ signal })
  const known = new Map(members.map(({ peerId, name }) => [peerId, name]))
  return peer => known.get(peer) ?? peer.slice(-6)
}

function printLine(event: JobEvent): void {
  print(JSON.stringify(event))
}
