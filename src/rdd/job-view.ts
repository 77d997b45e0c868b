import type { JobEvent, JobEventOf, PlannedStage, Skew, TaskFigures } from './job-event.ts'

/** A job as its events show it, from the first to the last that is known. */
export interface JobView {
  jobId: string
  name: string
  action: string
  requester: string
  /** Undefined while nobody has said that it began. */
  status: 'running' | 'done' | 'failed' | 'cancelled' | undefined
  error: { code: string; message: string } | undefined
  /** Wall clock of the leader that saw it begin, and end. */
  startedMs: number | undefined
  endedMs: number | undefined
  /** Who led it, the first first. */
  leaders: { peer: string; term: number; sinceMs: number }[]
  stages: StageView[]
  peers: PeerView[]
  /** Finished attempts that took longest, the slowest first. */
  slowest: FinishedTask[]
  /** Attempts that went wrong, the latest last; `failed` counts them all. */
  failures: JobEventOf<'task-ended'>[]
  failed: number
  /** Attempts under way by the last event. */
  running: Span[]
  /** Every attempt of which begin and end are known, in order of their ends: for a timeline. */
  spans: Span[]
  /** What happened beside: executors that came and went, lost inputs and results, second attempts. */
  notes: JobEvent[]
  outputLines: number
  outputSuppressed: number
  /** Events that were not kept, said; and numbers missing between those that are there. */
  dropped: number
  gaps: { term: number; after: number; before: number }[]
}

export type StageState = 'waiting' | 'running' | JobEventOf<'stage-ended'>['outcome']

export interface StageSums {
  inBytes: number
  inRecords: number
  outBytes: number
  outRecords: number
  shuffleReadBytes: number
  shuffleWriteBytes: number
  spilledBytes: number
  spilledRecords: number
  cacheHits: number
  cpuMs: number
  peakBytes: number
}

export interface StageView extends PlannedStage {
  state: StageState
  /** Attempts: begun, under way, come to a good end (tasks, not attempts), begun again, gone wrong. */
  started: number
  running: number
  done: number
  retried: number
  failed: number
  sums: StageSums
  taskMsMedian: number
  taskMsMax: number
  startedMs: number | undefined
  durationMs: number
  skew: Skew[]
}

export interface PeerView {
  peer: string
  started: number
  running: number
  done: number
  failed: number
  lost: number
  /** Time of its finished attempts, together. */
  taskMs: number
  inBytes: number
  inRecords: number
  spilledBytes: number
  isGone: boolean
}

export interface FinishedTask {
  stage: number
  partition: number
  attempt: number
  peer: string
  leaderMs: number
  figures: TaskFigures
}

export interface Span {
  stage: number
  partition: number
  attempt: number
  peer: string
  speculative: boolean
  startedMs: number
  endedMs: number | undefined
  outcome: JobEventOf<'task-ended'>['outcome'] | undefined
}

const SLOWEST_MAX = 10
const FAILURES_MAX = 20
const NOTES_MAX = 50

/** Reads the events of one job, in order, and can be asked for what they come to at any time. */
export class JobViewer {
  readonly #view: JobView
  readonly #running = new Map<string, Span>()
  readonly #peers = new Map<string, PeerView>()
  /** Stage → what its tasks did, by the leader that heard of it. */
  readonly #sums = new Map<string, { sums: StageSums; isWhole: boolean }>()
  readonly #times = new Map<number, number[]>()
  readonly #doneTasks = new Set<string>()
  readonly #begunTasks = new Set<string>()
  #last: JobEvent | undefined

  constructor(jobId: string) {
    this.#view = {
      jobId,
      name: '',
      action: '',
      requester: '',
      status: undefined,
      error: undefined,
      startedMs: undefined,
      endedMs: undefined,
      leaders: [],
      stages: [],
      peers: [],
      slowest: [],
      failures: [],
      failed: 0,
      running: [],
      spans: [],
      notes: [],
      outputLines: 0,
      outputSuppressed: 0,
      dropped: 0,
      gaps: [],
    }
  }

  add(event: JobEvent): void {
    if (event.type === 'progress' || event.type === 'submitted' || event.type === 'settled') return
    if (event.type === 'leader-changed' || event.type === 'reattached') return
    this.#findGap(event)
    this.#last = event
    switch (event.type) {
      case 'job-started':
        this.#onJobStarted(event)
        break
      case 'job-ended':
        this.#view.status = event.status
        this.#view.endedMs = event.timeMs
        this.#view.error = event.error
        break
      case 'stage-started': {
        const stage = this.#stage(event.stage)
        stage.state = 'running'
        stage.startedMs ??= event.timeMs
        break
      }
      case 'stage-ended':
        this.#onStageEnded(event)
        break
      case 'task-started':
        this.#onTaskStarted(event)
        break
      case 'task-ended':
        this.#onTaskEnded(event)
        break
      case 'task-output':
        this.#view.outputLines += event.lines
        this.#view.outputSuppressed += event.suppressed
        break
      case 'events-dropped':
        this.#view.dropped += event.events
        break
      case 'executor-lost':
        this.#peer(event.peer).isGone = true
        this.#note(event)
        break
      case 'executor-joined':
        this.#peer(event.peer).isGone = false
        this.#note(event)
        break
      case 'fetch-failed':
      case 'result-lost':
      case 'speculated':
      case 'nondeterministic':
        this.#note(event)
        break
    }
  }

  view(): JobView {
    return {
      ...this.#view,
      stages: this.#view.stages.map(stage => ({ ...stage, ...this.#figuresOf(stage) })),
      peers: [...this.#peers.values()].map(peer => ({ ...peer })),
      running: [...this.#running.values()],
    }
  }

  #findGap(event: JobEvent): void {
    const last = this.#last
    const before = last !== undefined && last.term === event.term ? last.seq : -1
    if (event.seq > before + 1) this.#view.gaps.push({ term: event.term, after: before, before: event.seq })
  }

  #onJobStarted(event: JobEventOf<'job-started'>): void {
    const view = this.#view
    const { name, action, requester, leader, term, timeMs } = event
    Object.assign(view, { name, action, requester, status: 'running', error: undefined, endedMs: undefined })
    view.startedMs ??= timeMs
    view.leaders.push({ peer: leader, term, sinceMs: timeMs })
    // Planning is deterministic: the stages are those of the leader before. Its attempts are adopted or begun again.
    for (const planned of event.stages) Object.assign(this.#stage(planned.id), planned)
  }

  #onStageEnded({ stage: id, term, outcome, durationMs, totals, skew }: JobEventOf<'stage-ended'>): void {
    const stage = this.#stage(id)
    // One that ran under the leader before is not skipped because the next finds it done.
    if (outcome !== 'skipped' || stage.started === 0) stage.state = outcome
    else stage.state = 'done'
    stage.durationMs += durationMs
    if (skew !== undefined) stage.skew = skew
    if (totals === undefined) return
    const { taskMsMedian, taskMsMax, ...sums } = totals
    this.#sums.set(`${id} ${term}`, { sums, isWhole: true })
    if (!this.#times.has(id)) this.#times.set(id, [taskMsMedian, taskMsMax])
  }

  #onTaskStarted(event: JobEventOf<'task-started'>): void {
    const { stage: id, partition, attempt, peer, speculative, timeMs: startedMs } = event
    const task = `${id}.${partition}`
    const stage = this.#stage(id)
    stage.started += 1
    stage.running += 1
    if (this.#begunTasks.has(task)) stage.retried += 1
    this.#begunTasks.add(task)
    const counts = this.#peer(peer)
    counts.started += 1
    counts.running += 1
    const span = { stage: id, partition, attempt, peer, speculative, startedMs }
    this.#running.set(keyOf(event), { ...span, endedMs: undefined, outcome: undefined })
  }

  #onTaskEnded(event: JobEventOf<'task-ended'>): void {
    const { stage: id, partition, attempt, peer, outcome, figures, leaderMs } = event
    const stage = this.#stage(id)
    const counts = this.#peer(peer)
    const span = this.#running.get(keyOf(event))
    if (span !== undefined) {
      this.#running.delete(keyOf(event))
      stage.running -= 1
      counts.running -= 1
      this.#view.spans.push({ ...span, endedMs: event.timeMs, outcome })
    }
    const task = `${id}.${partition}`
    if (outcome === 'lost') counts.lost += 1
    if (outcome !== 'done' && outcome !== 'cancelled') {
      if (outcome !== 'lost') counts.failed += 1
      stage.failed += 1
      this.#view.failed += 1
      this.#view.failures.push(event)
      if (this.#view.failures.length > FAILURES_MAX) this.#view.failures.shift()
    }
    if (figures === undefined) return
    if (!this.#doneTasks.has(task)) stage.done += 1
    this.#doneTasks.add(task)
    counts.done += 1
    counts.taskMs += figures.durationMs
    counts.inBytes += figures.inBytes + figures.shuffleReadBytes
    counts.inRecords += figures.inRecords
    counts.spilledBytes += figures.spilledBytes
    this.#addSums(`${id} ${event.term}`, figures)
    const times = this.#times.get(id)
    if (times === undefined) this.#times.set(id, [figures.durationMs])
    else times.push(figures.durationMs)
    this.#addSlowest({ stage: id, partition, attempt, peer, leaderMs, figures })
  }

  #addSums(key: string, figures: TaskFigures): void {
    const known = this.#sums.get(key)
    // The stage runs again: it will be summed up anew at its end.
    const sums = known?.sums ?? noSums()
    for (const name of SUMMED) sums[name] += figures[name]
    sums.peakBytes = Math.max(sums.peakBytes, figures.peakBytes)
    this.#sums.set(key, { sums, isWhole: false })
  }

  #addSlowest(task: FinishedTask): void {
    const { slowest } = this.#view
    const at = slowest.findIndex(other => other.figures.durationMs < task.figures.durationMs)
    slowest.splice(at < 0 ? slowest.length : at, 0, task)
    slowest.length = Math.min(slowest.length, SLOWEST_MAX)
  }

  #figuresOf({ id }: StageView): Pick<StageView, 'sums' | 'taskMsMedian' | 'taskMsMax'> {
    const sums = noSums()
    for (const [key, each] of this.#sums) {
      if (!key.startsWith(`${id} `)) continue
      for (const name of SUMMED) sums[name] += each.sums[name]
      sums.peakBytes = Math.max(sums.peakBytes, each.sums.peakBytes)
    }
    const times = (this.#times.get(id) ?? []).toSorted((a, b) => a - b)
    return { sums, taskMsMedian: times[times.length >> 1] ?? 0, taskMsMax: times.at(-1) ?? 0 }
  }

  #stage(id: number): StageView {
    // Also when the beginning of the job is not there.
    for (let next = this.#view.stages.length; next <= id; next++) this.#view.stages.push(emptyStage(next))
    return this.#view.stages[id]!
  }

  #peer(peer: string): PeerView {
    let counts = this.#peers.get(peer)
    if (counts === undefined) this.#peers.set(peer, (counts = emptyPeer(peer)))
    return counts
  }

  #note(event: JobEvent): void {
    this.#view.notes.push(event)
    if (this.#view.notes.length > NOTES_MAX) this.#view.notes.shift()
  }
}

/** What the events of one job, in order, come to. */
export function viewJob(jobId: string, events: Iterable<JobEvent>): JobView {
  const viewer = new JobViewer(jobId)
  for (const event of events) viewer.add(event)
  return viewer.view()
}

const SUMMED = [
  'inBytes',
  'inRecords',
  'outBytes',
  'outRecords',
  'shuffleReadBytes',
  'shuffleWriteBytes',
  'spilledBytes',
  'spilledRecords',
  'cacheHits',
  'cpuMs',
] as const

function keyOf(event: JobEventOf<'task-started' | 'task-ended'>): string {
  const { stage, partition, attempt, attemptTerm, term } = event
  return `${stage}.${partition}.${attemptTerm ?? term}.${attempt}`
}

export function noSums(): StageSums {
  return {
    inBytes: 0,
    inRecords: 0,
    outBytes: 0,
    outRecords: 0,
    shuffleReadBytes: 0,
    shuffleWriteBytes: 0,
    spilledBytes: 0,
    spilledRecords: 0,
    cacheHits: 0,
    cpuMs: 0,
    peakBytes: 0,
  }
}

function emptyStage(id: number): StageView {
  return {
    id,
    label: '',
    tasks: 0,
    parents: [],
    sink: 'shuffle',
    kept: 0,
    state: 'waiting',
    started: 0,
    running: 0,
    done: 0,
    retried: 0,
    failed: 0,
    sums: noSums(),
    taskMsMedian: 0,
    taskMsMax: 0,
    startedMs: undefined,
    durationMs: 0,
    skew: [],
  }
}

function emptyPeer(peer: string): PeerView {
  return {
    peer,
    started: 0,
    running: 0,
    done: 0,
    failed: 0,
    lost: 0,
    taskMs: 0,
    inBytes: 0,
    inRecords: 0,
    spilledBytes: 0,
    isGone: false,
  }
}
