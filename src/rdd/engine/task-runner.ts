import { crc32 } from 'node:zlib'
import { reviveClosure, type ReviveContext } from '../closure/index.ts'
import { declareClass, isDeclared } from '../codec/index.ts'
import type { Plan } from '../plan.ts'
import type { TaskInput, TaskOutcome, TaskPorts } from '../task.ts'
import { StageCode } from './stage-code.ts'
import { failedOutcome } from './task-error.ts'
import { TaskContext } from './task-context.ts'
import { TaskRun } from './task-run.ts'
import { TaskShared } from './task-shared.ts'

export interface TaskRunnerOptions {
  /** Makes the function of a captured closure, anew with each call. @default reviveClosure */
  revive?: (closure: Uint8Array, context: ReviveContext) => Function
}

/** Numbers the runners of a thread, so that no two of them give a loop the same text. */
let runners = 0

/**
 * Runs the tasks of one worker, one after the other or interleaved at their awaits. What it compiles for a stage it keeps
 * until the job ends. The same plan and input give the same bytes on every peer.
 */
export class TaskRunner {
  readonly #revive: (closure: Uint8Array, context: ReviveContext) => Function
  readonly #jobs = new Map<string, { code: StageCode; shared: TaskShared }>()
  readonly #number = runners++

  constructor(options: TaskRunnerOptions = {}) {
    this.#revive = options.revive ?? reviveClosure
  }

  /** Never rejects: whatever goes wrong is in the outcome. */
  async runTask(jobKey: string, plan: Plan, input: TaskInput, ports: TaskPorts): Promise<TaskOutcome> {
    const scope = `${this.#number}:${jobKey}:${input.id.stage}`
    let job: { code: StageCode; shared: TaskShared }
    try {
      job = this.#jobOf(jobKey, plan)
    } catch (error) {
      return failedOutcome(error, input)
    }
    const { code, shared } = job
    const revive = (closure: Uint8Array): Function => this.#revive(closure, { shared })
    const environment = { ports, code, scope, revive }
    shared.begin(ports)
    const context = new TaskContext(plan, input, environment)
    try {
      return withUpdates(await new TaskRun(context).run(), shared.updates())
    } catch (error) {
      return failedOutcome(error, input)
    } finally {
      context.close()
    }
  }

  /** Drops what was compiled for the job. */
  endJob(jobKey: string): void {
    this.#jobs.delete(jobKey)
  }

  #jobOf(jobKey: string, { classes = [] }: Plan): { code: StageCode; shared: TaskShared } {
    let job = this.#jobs.get(jobKey)
    if (job === undefined) {
      job = { code: new StageCode(), shared: new TaskShared() }
      for (const { id, closure } of classes) {
        if (!isDeclared(id)) declareClass(id, this.#revive(closure, { shared: job.shared }))
      }
      this.#jobs.set(jobKey, job)
    }
    return job
  }
}

/** What was added to accumulators goes the way of the rows, so that both count or neither does. */
function withUpdates(outcome: TaskOutcome, updates: Uint8Array | undefined): TaskOutcome {
  if (updates === undefined || outcome.type === 'failed') return outcome
  if (outcome.type !== 'result') return { ...outcome, updates }
  const bytes = new Uint8Array(outcome.bytes.byteLength + updates.byteLength)
  bytes.set(outcome.bytes)
  bytes.set(updates, outcome.bytes.byteLength)
  const checksum = crc32(updates, outcome.checksum)
  return { ...outcome, bytes, checksum, updateBytes: updates.byteLength }
}
