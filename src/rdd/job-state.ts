import type { WireError } from '../base/errors.ts'
import type { OutputRegistry } from './output-registry.ts'
import type { JobProgress, JobSpec } from './scheduler-types.ts'
import type { Stage, TaskId } from './task.ts'

export interface TaskState {
  readonly partition: number
  /** Result tasks only: sealed on a live executor or accepted. Map tasks ask the output registry. */
  done: boolean
  /** Where the sealed result waits for the requester; undefined once accepted. */
  sealedAt: string | undefined
  accepted: boolean
  /** It was done once and its output was lost. */
  wasDone: boolean
  readonly running: Map<string, { id: TaskId; peer: string }>
  /** Attempts that this leader started. */
  attempts: number
  readonly errors: { peer: string; error: WireError }[]
  readonly workersKilled: string[]
  fetchFailures: number
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
  readonly #stages: { stage: Stage; tasks: Map<number, TaskState> }[]
  readonly #result: { stage: Stage; tasks: Map<number, TaskState> }

  constructor(spec: JobSpec) {
    this.spec = spec
    this.#stages = spec.stages.map(stage => ({
      stage,
      tasks: new Map(stage.partitions.map(partition => [partition, newTask(partition)])),
    }))
    this.#result = this.#stages.find(({ stage }) => stage.sink.kind === 'result')!
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

  task(id: TaskId): TaskState | undefined {
    return this.#stages[id.stage]?.tasks.get(id.partition)
  }

  *tasks(): Generator<TaskState> {
    for (const { tasks } of this.#stages) yield* tasks.values()
  }

  get running(): number {
    let count = 0
    for (const task of this.tasks()) count += task.running.size
    return count
  }

  sealResult(partition: number, peer: string): void {
    const task = this.#result.tasks.get(partition)
    if (task === undefined || task.accepted) return
    task.done = true
    task.sealedAt = peer
    this.changed = true
  }

  accept(partitions: readonly number[]): void {
    for (const partition of partitions) {
      const task = this.#result.tasks.get(partition)
      if (task === undefined) continue
      task.done = true
      task.accepted = true
      task.sealedAt = undefined
      this.changed = true
    }
  }

  /** The sealed result at that peer cannot be had. */
  loseResult(partition: number, peer: string): void {
    const task = this.#result.tasks.get(partition)
    if (task?.sealedAt !== peer) return
    task.done = false
    task.sealedAt = undefined
    task.wasDone = true
    this.changed = true
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
    for (const task of this.#result.tasks.values()) if (!task.accepted) return false
    return true
  }

  /** Attempts on the peer are over, results that waited there are lost. */
  losePeer(peer: string): void {
    for (const task of this.tasks()) {
      for (const [key, attempt] of task.running) if (attempt.peer === peer) task.running.delete(key)
      if (task.sealedAt === peer) this.loseResult(task.partition, peer)
    }
    this.changed = true
  }

  /**
   * Tasks to start now: of the stages that the action needs, transitively, whose inputs are all there. A stage whose
   * outputs are all there is skipped with everything above it.
   */
  waiting(outputs: OutputRegistry): { stage: Stage; task: TaskState }[] {
    const out: { stage: Stage; task: TaskState }[] = []
    const seen = new Set<number>()
    const need = (index: number): void => {
      if (seen.has(index)) return
      seen.add(index)
      const { stage, tasks } = this.#stages[index]!
      const missing: TaskState[] = []
      for (const task of tasks.values()) if (!this.#isDone(stage, task, outputs)) missing.push(task)
      if (missing.length === 0) return
      const incomplete = stage.parents.filter(parent => !this.#isComplete(parent, outputs))
      for (const parent of incomplete) need(parent)
      if (incomplete.length > 0) return
      for (const task of missing) if (task.running.size === 0) out.push({ stage, task })
    }
    need(this.#result.stage.id)
    return out
  }

  #isDone(stage: Stage, task: TaskState, outputs: OutputRegistry): boolean {
    if (stage.sink.kind === 'result') return task.done
    const done = outputs.has(this.spec.shuffles[stage.sink.node]!.key, task.partition)
    if (done) task.wasDone = true
    return done
  }

  #isComplete(index: number, outputs: OutputRegistry): boolean {
    const { stage } = this.#stages[index]!
    if (stage.sink.kind === 'result') return false
    const shuffle = this.spec.shuffles[stage.sink.node]!
    return outputs.complete(shuffle.key, shuffle.maps)
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
  }
}
