import { reviveClosure } from '../closure/index.ts'
import type { Plan } from '../plan.ts'
import type { TaskInput, TaskOutcome, TaskPorts } from '../task.ts'
import { StageCode } from './stage-code.ts'
import { failedOutcome } from './task-error.ts'
import { TaskContext } from './task-context.ts'
import { TaskRun } from './task-run.ts'

export interface TaskRunnerOptions {
  /** Makes the function of a captured closure, anew with each call. @default reviveClosure */
  revive?: (closure: Uint8Array) => Function
}

/** Numbers the runners of a thread, so that no two of them give a loop the same text. */
let runners = 0

/**
 * Runs the tasks of one worker, one after the other or interleaved at their awaits. What it compiles for a stage it keeps
 * until the job ends. The same plan and input give the same bytes on every peer.
 */
export class TaskRunner {
  readonly #revive: (closure: Uint8Array) => Function
  readonly #jobs = new Map<string, StageCode>()
  readonly #number = runners++

  constructor(options: TaskRunnerOptions = {}) {
    this.#revive = options.revive ?? reviveClosure
  }

  /** Never rejects: whatever goes wrong is in the outcome. */
  async runTask(jobKey: string, plan: Plan, input: TaskInput, ports: TaskPorts): Promise<TaskOutcome> {
    const scope = `${this.#number}:${jobKey}:${input.id.stage}`
    const environment = { ports, code: this.#codeOf(jobKey), scope, revive: this.#revive }
    const context = new TaskContext(plan, input, environment)
    try {
      return await new TaskRun(context).run()
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

  #codeOf(jobKey: string): StageCode {
    let code = this.#jobs.get(jobKey)
    if (code === undefined) this.#jobs.set(jobKey, (code = new StageCode()))
    return code
  }
}
