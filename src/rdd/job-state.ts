import { invariant, type WireError } from '../base/errors.ts'
import { SCHEDULER } from './config.ts'
import type { OutputRegistry } from './output-registry.ts'
import type { JobProgress, JobSpec } from './scheduler-types.ts'
import type { Stage, TaskId } from './task.ts'

export interface Attempt {
  id: TaskId
  peer: string
  /** When it was handed out, or found. */
  startedMs: number
}

export interface Waiting {
  stage: Stage
  task: TaskState
}

interface StageState {
  stage: Stage
  tasks: Map<number, TaskState>
  /** What may have to begin, in order; looked through from `next`. Who is done or runs by then is passed over. */
  queue: TaskState[]
  next: number
  /** Losses of outputs that the queue knows of: after more, finished tasks may have to begin again. */
  losses: number
  /** How long its finished attempts took, in ms: a sample. */
  durationsMs: number[]
  finished: number
}

export interface TaskState {
  readonly partition: number
  /** Result tasks only: sealed on a live executor or accepted. Map tasks ask the output registry. */
  done: boolean
  /** Where the sealed result waits for the requester; undefined once accepted. */
  sealedAt: string | undefined
  accepted: boolean
  /** It was done once and its output was lost. */
  wasDone: boolean
  readonly running: Map<string, Attempt>
  /** Attempts that this leader started. */
  attempts: number
  readonly errors: { peer: string; error: WireError }[]
  readonly workersKilled: string[]
  fetchFailures: number
  /** Map tasks whose input has changed: attempts with lower numbers, and those of earlier leaders, read what was there before. */
  staleBelow: number | undefined
}

/** One job as the scheduler sees it: its stages' tasks and how far they are. */
export class JobState {
  spec: JobSpec
  /** Every result partition is accepted; only `job-closed` is awaited. */
  finished = false
  /** Something a progress bar shows has changed. */
  changed = true
  started = 0
  /** When a task last began where its kept input is; at first, when the job came. */
  nearMs = 0
  retried = 0
  /** When the last progress was said, and when the job came. */
  reportedMs = 0
  readonly #stages: StageState[]
  readonly #result: StageState
  #running = 0
  #unaccepted: number
  /** Results that are neither accepted nor sealed. */
  #missing: number

  constructor(spec: JobSpec) {
    this.spec = spec
    this.#stages = spec.stages.map(stage => {
      const queue = stage.partitions.map(newTask)
      const tasks = new Map(queue.map(task => [task.partition, task]))
      return { stage, tasks, queue, next: 0, losses: 0, durationsMs: [], finished: 0 }
    })
    this.#result = this.#stages.find(({ stage }) => stage.sink.kind === 'result')!
    this.#unaccepted = this.#result.tasks.size
    this.#missing = this.#unaccepted
    this.accept(spec.accepted)
  }

  /** The same job again, from a requester that attached elsewhere or that found a new leader. */
  resubmit(spec: JobSpec): void {
    this.spec = { ...spec, stages: this.spec.stages }
    this.accept(spec.accepted)
  }

  /** Peers that keep what the task would compute first. */
  keptAt(stage: Stage, task: TaskState): readonly string[] {
    return this.spec.keptAt[stage.id]?.[task.partition] ?? []
  }

  /** None of the stage's tasks has a place that is better than others. */
  runsAnywhere(stage: Stage): boolean {
    const { preferred, keptAt } = this.spec
    return isEmpty(preferred[stage.id]) && isEmpty(keptAt[stage.id])
  }

  task(id: TaskId): TaskState | undefined {
    return this.#stages[id.stage]?.tasks.get(id.partition)
  }

  *tasks(): Generator<TaskState> {
    for (const { tasks } of this.#stages) yield* tasks.values()
  }

  /** Attempts under way. */
  get running(): number {
    return this.#running
  }

  begin(task: TaskState, key: string, attempt: Attempt): void {
    if (!task.running.has(key)) this.#running += 1
    task.running.set(key, attempt)
    this.changed = true
  }

  /** An attempt is over, however. The attempt, if it was under way. */
  end(task: TaskState, key: string): Attempt | undefined {
    const attempt = task.running.get(key)
    if (attempt === undefined) return undefined
    task.running.delete(key)
    this.#running -= 1
    this.changed = true
    return attempt
  }

  /** How long an attempt took that came to a good end. */
  took(stage: number, durationMs: number): void {
    const state = this.#stages[stage]!
    // A ring: the latest say most about those that run.
    state.durationsMs[state.finished % DURATIONS_MAX] = durationMs
    state.finished += 1
  }

  /** A result that is sealed already stays where it is: the first complete attempt counts. */
  sealResult(partition: number, peer: string): void {
    const task = this.#result.tasks.get(partition)
    if (task === undefined || task.accepted || task.sealedAt !== undefined) return
    this.#missing -= 1
    task.done = true
    task.sealedAt = peer
    this.changed = true
  }

  accept(partitions: readonly number[]): void {
    for (const partition of partitions) {
      const task = this.#result.tasks.get(partition)
      if (task === undefined || task.accepted) continue
      this.#unaccepted -= 1
      if (!task.done) this.#missing -= 1
      task.done = true
      task.accepted = true
      task.sealedAt = undefined
      this.changed = true
    }
  }

  /** The sealed result cannot be had. */
  loseResult(partition: number): void {
    const task = this.#result.tasks.get(partition)
    if (task?.sealedAt === undefined) return
    this.#missing += 1
    task.done = false
    task.sealedAt = undefined
    task.wasDone = true
    this.changed = true
    this.again(this.#result.stage.id, task)
  }

  /** A result that was begun may be with the requester by now, and cannot be taken back. */
  get hasBegunResults(): boolean {
    for (const task of this.#result.tasks.values())
      if (task.attempts > 0 || task.done || task.running.size > 0) return true
    return false
  }

  /** Stages whose tasks read the shuffle. */
  readersOf(shuffle: string): StageState[] {
    return this.#stages.filter(({ stage }) =>
      stage.reads.some(node => this.spec.shuffles[node]?.key === shuffle),
    )
  }

  isDone(id: TaskId, outputs: OutputRegistry): boolean {
    const stage = this.#stages[id.stage]
    const task = stage?.tasks.get(id.partition)
    return stage !== undefined && task !== undefined && this.#isDone(stage.stage, task, outputs)
  }

  *doneTasks(outputs: OutputRegistry): Generator<TaskState> {
    for (const { stage, tasks } of this.#stages)
      for (const task of tasks.values()) if (this.#isDone(stage, task, outputs)) yield task
  }

  allAccepted(): boolean {
    return this.#unaccepted === 0
  }

  /** Attempts on the peer are over, results that waited there are lost. */
  losePeer(peer: string): void {
    for (const task of this.tasks()) {
      for (const [key, attempt] of task.running) {
        if (attempt.peer !== peer) continue
        this.end(task, key)
        this.again(attempt.id.stage, task)
      }
      if (task.sealedAt === peer) this.loseResult(task.partition)
    }
    this.changed = true
  }

  /**
   * Stages with tasks to start now: those that the action needs, transitively, whose inputs are all there. A stage whose
   * outputs are all there is skipped with everything above it.
   */
  #due(outputs: OutputRegistry): StageState[] {
    const due: StageState[] = []
    const seen = new Set<number>()
    const need = (index: number): void => {
      if (seen.has(index)) return
      seen.add(index)
      if (this.#isComplete(index, outputs)) return
      const incomplete = this.#stages[index]!.stage.parents.filter(
        parent => !this.#isComplete(parent, outputs),
      )
      for (const parent of incomplete) need(parent)
      if (incomplete.length === 0) due.push(this.#stages[index]!)
    }
    need(this.#result.stage.id)
    return due
  }

  /** About how many tasks wait: no fewer than there are. */
  waitingAbout(outputs: OutputRegistry): number {
    let count = 0
    for (const state of this.#due(outputs)) {
      this.#refresh(state, outputs)
      count += state.queue.length - state.next
    }
    return count
  }

  /** Tasks to start now, in order. Those that are not begun meanwhile are met again the next time. */
  *waiting(outputs: OutputRegistry): Generator<Waiting> {
    for (const state of this.#due(outputs)) {
      this.#refresh(state, outputs)
      const { stage, queue } = state
      const isWaiting = (task: TaskState): boolean =>
        task.running.size === 0 && !this.#isDone(stage, task, outputs)
      // What has been begun in the order of the queue is never looked at again.
      while (state.next < queue.length && !isWaiting(queue[state.next]!)) state.next += 1
      for (let at = state.next; at < queue.length; at++) {
        const task = queue[at]!
        if (isWaiting(task)) yield { stage, task }
      }
    }
  }

  /** After a loss any finished task of the stage may have to begin again. */
  #refresh(state: StageState, outputs: OutputRegistry): void {
    if (state.losses === outputs.losses) return
    state.losses = outputs.losses
    if (state.stage.sink.kind === 'result') return
    state.queue = [...state.tasks.values()]
    state.next = 0
  }

  /** Its turn has passed, and it has come to nothing: it waits once more. */
  again(stage: number, task: TaskState): void {
    const state = this.#stages[stage]!
    if (state.queue.length > 2 * state.tasks.size) {
      state.queue = [...state.tasks.values()]
      state.next = 0
    } else state.queue.push(task)
  }

  /**
   * Attempts that take far longer than most of their stage did, each the only one at its task; only in stages that are
   * nearly done. Nothing for a stage whose tasks must not run twice at once.
   */
  *stragglers(outputs: OutputRegistry, nowMs: number): Generator<Waiting> {
    for (const state of this.#due(outputs)) {
      const { stage, tasks, durationsMs } = state
      if (durationsMs.length === 0 || (this.spec.runsOnce && stage.sink.kind === 'result')) continue
      let done = 0
      for (const task of tasks.values()) if (this.#isDone(stage, task, outputs)) done += 1
      if (done < SCHEDULER.speculationQuantile * tasks.size) continue
      const median = durationsMs.toSorted((a, b) => a - b)[durationsMs.length >> 1]!
      const longMs = Math.max(SCHEDULER.speculationMinMs, SCHEDULER.speculationMultiplier * median)
      for (const task of tasks.values()) {
        if (task.running.size !== 1) continue
        const [attempt] = task.running.values()
        if (nowMs - attempt!.startedMs > longMs) yield { stage, task }
      }
    }
  }

  #isDone(stage: Stage, task: TaskState, outputs: OutputRegistry): boolean {
    if (stage.sink.kind === 'result') return task.done
    const done = outputs.has(this.spec.shuffles[stage.sink.node]!.key, task.partition)
    if (done) task.wasDone = true
    return done
  }

  #isComplete(index: number, outputs: OutputRegistry): boolean {
    const { stage } = this.#stages[index]!
    if (stage.sink.kind === 'result') return this.#missing === 0
    const shuffle = this.spec.shuffles[stage.sink.node]!
    return outputs.complete(shuffle.key, shuffle.maps)
  }

  /** What is counted and queued is what there is. */
  assertInvariants(outputs: OutputRegistry): void {
    let running = 0
    for (const task of this.tasks()) running += task.running.size
    invariant(running === this.#running, `${this.spec.jobId} counts ${this.#running} attempts of ${running}`)
    const unaccepted = [...this.#result.tasks.values()].filter(task => !task.accepted).length
    invariant(
      unaccepted === this.#unaccepted,
      `${this.spec.jobId} awaits ${unaccepted} results, not ${this.#unaccepted}`,
    )
    const missing = [...this.#result.tasks.values()].filter(task => !task.done).length
    invariant(missing === this.#missing, `${this.spec.jobId} lacks ${missing} results, not ${this.#missing}`)
    const waiting = new Set(Array.from(this.waiting(outputs), ({ task }) => task))
    for (const { stage, tasks } of this.#due(outputs)) {
      for (const task of tasks.values()) {
        if (task.running.size > 0 || this.#isDone(stage, task, outputs)) continue
        invariant(waiting.has(task), `task ${stage.id}.${task.partition} of ${this.spec.jobId} is left out`)
      }
    }
  }

  progress(executors: number): JobProgress {
    return {
      stages: this.#stages.map(({ stage, tasks }) => {
        let done = 0
        let running = 0
        for (const task of tasks.values()) {
          if (task.running.size > 0) running += 1
          else if (task.done || task.wasDone) done += 1
        }
        return { id: stage.id, tasks: tasks.size, done, running }
      }),
      started: this.started,
      retried: this.retried,
      executors,
    }
  }
}

function isEmpty(record: object | undefined): boolean {
  for (const _ in record) return false
  return true
}

/** Durations kept of a stage: enough for a median. */
const DURATIONS_MAX = 101

function newTask(partition: number): TaskState {
  return {
    partition,
    done: false,
    sealedAt: undefined,
    accepted: false,
    wasDone: false,
    running: new Map(),
    attempts: 0,
    errors: [],
    workersKilled: [],
    fetchFailures: 0,
    staleBelow: undefined,
  }
}
