import { SingleBar } from 'cli-progress'
import type { JobEvent } from '../../node/index.ts'
import { drawBar } from '../byte-progress.ts'
import { colors, isWatched } from '../terminal.ts'
import { counted, humanMs } from '../units.ts'

type Progress = Extract<JobEvent, { type: 'progress' }>['progress']

/** Jobs that end sooner are not worth a bar that flickers. */
const QUIET_MS = 300
const TICK_MS = 100

/** One bar on stderr for the jobs that run now, below whatever was printed; nothing where nobody looks. */
export class JobBar implements Disposable {
  readonly #running = new Map<
    string,
    { name: string; startedMs: number; progress: Progress | undefined; note: string }
  >()
  readonly #isWatched = isWatched()
  #bar: SingleBar | undefined
  #timer: NodeJS.Timeout | undefined

  onEvent(event: JobEvent): void {
    if (!this.#isWatched) return
    if (event.type === 'submitted') {
      this.#running.set(event.jobId, {
        name: event.name,
        startedMs: performance.now(),
        progress: undefined,
        note: '',
      })
      this.#timer ??= setInterval(() => this.#draw(), TICK_MS).unref()
      return
    }
    const job = this.#running.get(event.jobId)
    if (job === undefined) return
    if (event.type === 'progress') job.progress = event.progress
    if (event.type === 'leader-changed') job.note = ', another peer leads now'
    if (event.type === 'reattached') job.note = ', attached to another peer now'
    if (event.type === 'settled') {
      this.#running.delete(event.jobId)
      if (this.#running.size === 0) this[Symbol.dispose]()
    }
  }

  #draw(): void {
    const [job] = this.#running.values()
    if (job === undefined || performance.now() - job.startedMs < QUIET_MS) return
    this.#bar ??= this.#start()
    const more = this.#running.size === 1 ? '' : ` (and ${counted(this.#running.size - 1, 'other job')})`
    const elapsedMs = performance.now() - job.startedMs
    this.#bar.update(0, { line: jobLine(job.name, job.progress, elapsedMs) + job.note + more })
  }

  #start(): SingleBar {
    const bar = new SingleBar({
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
      linewrap: true,
      forceRedraw: true,
      gracefulExit: false,
      format: (_options, _params, { line }: { line?: string }) => line ?? '',
    })
    bar.start(1, 0, { line: '' })
    return bar
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#bar?.stop()
    this.#bar = undefined
  }
}

/** 'reduceByKey ━━━━╌╌╌╌ 4 of 8 tasks, stage 1 of 2, 2 run, on 5 peers, 1 again, 1.2 s'. */
export function jobLine(name: string, progress: Progress | undefined, elapsedMs: number): string {
  if (progress === undefined)
    return `${name} ${drawBar(0)} ${colors.dim(`waits for the leader, ${humanMs(elapsedMs)}`)}`
  const { stages, retried, executors } = progress
  const sum = (pick: (stage: Progress['stages'][number]) => number): number =>
    stages.reduce((total, stage) => total + pick(stage), 0)
  const [tasks, done, running] = [
    sum(({ tasks }) => tasks),
    sum(({ done }) => done),
    sum(({ running }) => running),
  ]
  const ended = stages.filter(stage => stage.done === stage.tasks).length
  const parts = [`${done} of ${counted(tasks, 'task')}`]
  if (stages.length > 1) parts.push(`stage ${Math.min(ended + 1, stages.length)} of ${stages.length}`)
  if (running > 0) parts.push(`${running} running on ${counted(executors, 'peer')}`)
  if (retried > 0) parts.push(`${retried} again`)
  parts.push(humanMs(elapsedMs))
  return `${name} ${drawBar(tasks === 0 ? 0 : done / tasks)} ${parts.join(', ')}`
}
