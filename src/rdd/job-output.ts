import { RateLimit } from './rate-limit.ts'
import { TASK_OUTPUT } from './shared-config.ts'
import type { TaskOutput } from './task-output.ts'

/** What the tasks of one job print, as the requester shows it: in order, within the job's rate, and what is left out counted. */
export class JobOutput {
  readonly #show: (output: TaskOutput) => void
  readonly #job: { jobId: string; name: string }
  readonly #rate: RateLimit
  #suppressed = 0

  constructor(job: { jobId: string; name: string }, nowMs: number, show: (output: TaskOutput) => void) {
    this.#job = job
    this.#show = show
    this.#rate = new RateLimit({ burst: TASK_OUTPUT.jobBurst, perSecond: TASK_OUTPUT.jobPerSecond, nowMs })
  }

  take(output: Exclude<TaskOutput, { type: 'job-suppressed' }>, nowMs: number): void {
    if (!this.#rate.pass(nowMs)) {
      this.#suppressed += output.type === 'line' ? 1 : output.lines
      return
    }
    this.#tell()
    this.#show(output)
  }

  /** The job is over: no more lines come. */
  end(): void {
    this.#tell()
  }

  #tell(): void {
    if (this.#suppressed === 0) return
    const lines = this.#suppressed
    this.#suppressed = 0
    this.#show({ type: 'job-suppressed', lines, ...this.#job })
  }
}
