import type { JobEvent, JobView, StageView } from '../../node/index.ts'
import { table, type Column } from '../table.ts'
import { colors } from '../terminal.ts'
import { counted, humanBytes, humanMs, humanTime } from '../units.ts'
import { skewLine } from './skew-line.ts'
import { timeline } from './job-timeline.ts'

export interface ReportOptions {
  nameOf: (peer: string) => string
  nowMs: number
  /** Of the terminal, in characters. */
  width: number
  timeline: boolean
  /** Members that may know more and did not answer. */
  silent: readonly string[]
}

const STATUS_COLORS = {
  running: colors.cyan,
  done: colors.green,
  failed: colors.red,
  cancelled: colors.yellow,
} as const

/** All about one job: `shoal job`, and `.job` in the REPL. */
export function describeJob(view: JobView, options: ReportOptions): string {
  const { nameOf } = options
  const parts = [header(view, options), stageTable(view, options)]
  if (view.peers.length > 0) parts.push(peerTable(view, nameOf))
  if (view.slowest.length > 0) parts.push(slowestTable(view, nameOf))
  if (view.failures.length > 0) parts.push(failureList(view, nameOf))
  const skewed = view.stages.flatMap(stage => stage.skew.map(skew => `  ${skewLine(stage.id, skew)}`))
  if (skewed.length > 0) parts.push(titled('skew', skewed))
  if (view.notes.length > 0)
    parts.push(
      titled(
        'beside',
        view.notes.map(note => `  ${noteLine(note, view, nameOf)}`),
      ),
    )
  if (options.timeline)
    parts.push(titled('timeline', [timeline(view, nameOf, options.width, endOf(view, options.nowMs))]))
  const missing = missingLines(view, options)
  if (missing.length > 0) parts.push(titled('not known', missing))
  return parts.join('\n\n')
}

function header(view: JobView, { nameOf, nowMs }: ReportOptions): string {
  const { jobId, name, action, status, startedMs, leaders, requester, error } = view
  const state = status === undefined ? colors.dim('not known') : STATUS_COLORS[status](status)
  const took =
    startedMs === undefined
      ? ''
      : ` ${status === 'running' ? 'for' : 'in'} ${humanMs(Math.max(0, endOf(view, nowMs) - startedMs))}`
  const lines = [`job ${colors.bold(jobId)}  ${state}${took}`]
  const what = [name, name === action || action === '' ? '' : `(${action})`].filter(part => part !== '')
  if (what.length > 0) lines.push(`  ${what.join(' ')}`)
  if (startedMs !== undefined)
    lines.push(`  began ${humanTime(startedMs)}, asked for by ${nameOf(requester)}`)
  if (leaders.length > 0) {
    const line = leaders.map(({ peer, term }) => `${nameOf(peer)} (term ${term})`).join(', then ')
    lines.push(`  led by ${line}`)
  }
  if (error !== undefined) lines.push(`  ${colors.red(error.code)}: ${error.message}`)
  if (view.outputLines + view.outputSuppressed > 0) {
    const more =
      view.outputSuppressed === 0 ? '' : `, and ${grouped(view.outputSuppressed)} that were too many`
    lines.push(`  its tasks wrote ${counted(view.outputLines, 'line')}${more}`)
  }
  return lines.join('\n')
}

function stageTable(view: JobView, { nowMs }: ReportOptions): string {
  const rows = view.stages.map(stage => [
    String(stage.id),
    stateOf(stage),
    `${stage.done}/${stage.tasks}`,
    some(stage.retried, grouped),
    some(stage.failed, grouped),
    some(stage.sums.inBytes, humanBytes),
    some(stage.sums.inRecords, grouped),
    some(stage.sums.outBytes, humanBytes),
    some(stage.sums.outRecords, grouped),
    some(stage.sums.shuffleReadBytes, humanBytes),
    some(stage.sums.shuffleWriteBytes, humanBytes),
    some(stage.sums.spilledBytes, humanBytes),
    some(stage.sums.peakBytes, humanBytes),
    stage.taskMsMax === 0 ? '' : `${humanMs(stage.taskMsMedian)} / ${humanMs(stage.taskMsMax)}`,
    some(durationOf(stage, nowMs), humanMs),
    stage.label,
  ])
  return shownColumns(
    [
      { title: 'STAGE', align: 'right' },
      { title: 'STATE' },
      { title: 'DONE', align: 'right' },
      { title: 'AGAIN', align: 'right' },
      { title: 'FAILED', align: 'right' },
      { title: 'READ', align: 'right' },
      { title: 'ROWS IN', align: 'right' },
      { title: 'WROTE', align: 'right' },
      { title: 'ROWS OUT', align: 'right' },
      { title: 'FETCHED', align: 'right' },
      { title: 'SHUFFLED', align: 'right' },
      { title: 'SPILLED', align: 'right' },
      { title: 'PEAK', align: 'right' },
      { title: 'TASK MEDIAN / MAX', align: 'right' },
      { title: 'TOOK', align: 'right' },
      { title: 'RUNS' },
    ],
    rows,
  )
}

function durationOf({ state, startedMs, durationMs }: StageView, nowMs: number): number {
  return state === 'running' && startedMs !== undefined ? Math.max(0, nowMs - startedMs) : durationMs
}

function stateOf({ state, kept, tasks }: StageView): string {
  if (state === 'skipped') return colors.dim('skipped: was there')
  if (state === 'enough') return 'had enough'
  const from = kept === 0 ? '' : kept === tasks ? ', cached' : `, ${kept} cached`
  return `${state}${from}`
}

function peerTable(view: JobView, nameOf: (peer: string) => string): string {
  const peers = view.peers.toSorted((a, b) => (nameOf(a.peer) < nameOf(b.peer) ? -1 : 1))
  return shownColumns(
    [
      { title: 'PEER' },
      { title: 'TASKS', align: 'right' },
      { title: 'RUNNING', align: 'right' },
      { title: 'FAILED', align: 'right' },
      { title: 'LOST', align: 'right' },
      { title: 'READ', align: 'right' },
      { title: 'ROWS IN', align: 'right' },
      { title: 'SPILLED', align: 'right' },
      { title: 'TASK TIME', align: 'right' },
      { title: '' },
    ],
    peers.map(peer => [
      nameOf(peer.peer),
      grouped(peer.done),
      some(peer.running, grouped),
      some(peer.failed, grouped),
      some(peer.lost, grouped),
      some(peer.inBytes, humanBytes),
      some(peer.inRecords, grouped),
      some(peer.spilledBytes, humanBytes),
      humanMs(peer.taskMs),
      peer.isGone ? colors.red('gone') : '',
    ]),
  )
}

function slowestTable(view: JobView, nameOf: (peer: string) => string): string {
  return shownColumns(
    [
      { title: 'SLOWEST' },
      { title: 'PEER' },
      { title: 'TOOK', align: 'right' },
      { title: 'PROCESSOR', align: 'right' },
      { title: 'WAITED', align: 'right' },
      { title: 'READ', align: 'right' },
      { title: 'ROWS IN', align: 'right' },
      { title: 'SPILLED', align: 'right' },
      { title: 'PEAK', align: 'right' },
      { title: 'LARGEST GROUP' },
    ],
    view.slowest
      .slice(0, SLOWEST_SHOWN)
      .map(({ stage, partition, peer, leaderMs, figures }) => [
        `${stage}.${partition}`,
        nameOf(peer),
        humanMs(figures.durationMs),
        some(figures.cpuMs, humanMs),
        some(Math.max(0, leaderMs - figures.durationMs), humanMs),
        some(figures.inBytes + figures.shuffleReadBytes, humanBytes),
        some(figures.inRecords, grouped),
        some(figures.spilledBytes, humanBytes),
        some(figures.peakBytes, humanBytes),
        figures.largestGroup === 0
          ? ''
          : `${grouped(figures.largestGroup)} of ${figures.largestKey ?? 'one key'}`,
      ]),
  )
}

function failureList(view: JobView, nameOf: (peer: string) => string): string {
  const rows = view.failures.map(({ stage, partition, attempt, peer, outcome, code, message }) => {
    const why = code === undefined ? outcome : `${code}: ${firstLine(message ?? '')}`
    return `  ${stage}.${partition} attempt ${attempt} at ${nameOf(peer)}: ${why}`
  })
  const earlier = view.failed - view.failures.length
  if (earlier > 0) rows.unshift(`  … and ${grouped(earlier)} before`)
  return titled('went wrong', rows)
}

/** One event for people, in one line. */
export function noteLine(
  event: JobEvent,
  view: Pick<JobView, 'startedMs'>,
  nameOf: (peer: string) => string,
): string {
  const at =
    view.startedMs === undefined ? '' : `${humanMs(Math.max(0, event.timeMs - view.startedMs)).padStart(8)}  `
  return at + whatOf(event, nameOf)
}

function whatOf(event: JobEvent, nameOf: (peer: string) => string): string {
  switch (event.type) {
    case 'job-started':
      return `${event.resumed ? 'goes on' : 'begins'}, led by ${nameOf(event.leader)}: ${event.name}, ${counted(event.stages.length, 'stage')}`
    case 'job-ended':
      return `is ${event.status}${event.error === undefined ? '' : ` (${event.error.code}: ${firstLine(event.error.message)})`}, ${counted(event.started, 'attempt')}`
    case 'stage-started':
      return `stage ${event.stage} begins${event.again ? ' again' : ''}, ${counted(event.tasks, 'task')}`
    case 'stage-ended':
      return `stage ${event.stage} ${event.outcome === 'skipped' ? 'is skipped, its outputs are there' : `ends (${event.outcome}) after ${humanMs(event.durationMs)}`}`
    case 'task-started':
      return `${taskOf(event)} begins at ${nameOf(event.peer)}`
    case 'task-ended':
      return `${taskOf(event)} at ${nameOf(event.peer)} ${event.outcome}${event.code === undefined ? '' : ` (${event.code}: ${firstLine(event.message ?? '')})`}`
    case 'speculated':
      return `${taskOf(event)} begins a second time, at ${nameOf(event.peer)}, after ${humanMs(event.ranMs)} at ${nameOf(event.besides)}`
    case 'fetch-failed':
      return `${taskOf(event)} could not get map output ${event.map} from ${nameOf(event.from)} (${event.code})`
    case 'result-lost':
      return `the result of partition ${event.partition} is lost with ${nameOf(event.peer)}`
    case 'executor-lost':
      return `${nameOf(event.peer)} is gone, with ${counted(event.attempts, 'attempt')} of this job`
    case 'executor-joined':
      return `${nameOf(event.peer)} takes tasks, ${counted(event.workers, 'worker')}`
    case 'nondeterministic':
      return `stage ${event.stage} starts again: an output that it read came out different`
    case 'task-output':
      return `${taskOf(event)} wrote ${counted(event.lines, 'line')}${event.suppressed === 0 ? '' : `, and ${grouped(event.suppressed)} that were too many`}`
    case 'events-dropped':
      return `${grouped(event.events)} events of single tasks are not kept`
    case 'submitted':
    case 'settled':
    case 'leader-changed':
    case 'reattached':
    case 'progress':
      return event.type
  }
}

function missingLines(view: JobView, { silent, nameOf }: ReportOptions): string[] {
  const lines: string[] = []
  if (silent.length > 0)
    lines.push(`  ${silent.map(nameOf).join(', ')} did not answer, and may have led this job for a while`)
  for (const { term, after, before } of view.gaps)
    lines.push(`  of term ${term}, events ${after + 1} to ${before - 1} are missing`)
  if (view.dropped > 0) lines.push(`  ${grouped(view.dropped)} events of single tasks were not kept`)
  return lines
}

/** Columns in which something stands. */
function shownColumns(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const shown = columns.map((_, index) => rows.some(row => row[index] !== ''))
  return table(
    columns.filter((_, index) => shown[index]),
    rows.map(row => row.filter((_, index) => shown[index])),
  )
}

function titled(title: string, lines: readonly string[]): string {
  return [colors.dim(title), ...lines].join('\n')
}

function endOf({ endedMs }: JobView, nowMs: number): number {
  return endedMs ?? nowMs
}

function taskOf({ stage, partition }: { stage: number; partition: number }): string {
  return `task ${stage}.${partition}`
}

function some(value: number, show: (value: number) => string): string {
  return value === 0 ? '' : show(value)
}

function grouped(value: number): string {
  return value.toLocaleString('en-US')
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0]!
}

const SLOWEST_SHOWN = 5
