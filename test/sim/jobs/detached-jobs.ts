import type { Plan } from '../../../src/rdd/plan.ts'
import { Jobs } from '../../../src/rdd/jobs.machine.ts'
import { check } from '../check.ts'
import { oracle } from './job-plans.ts'
import type { SimOutputs } from './sim-outputs.ts'

/** Jobs that need no requester, as the log and the files of the mesh know them: whoever leads goes on with them. */
export class DetachedJobs {
  readonly #jobs = new Jobs()
  /** The files in which the mesh keeps them. */
  readonly #plans = new Map<string, Plan>()
  readonly #outputs: SimOutputs
  #index = 0

  constructor(outputs: SimOutputs) {
    this.#outputs = outputs
  }

  begin(plan: Plan, nowMs: number): string {
    const jobId = `detached${this.#plans.size}/1`
    this.#plans.set(jobId, plan)
    const output = { kind: 'files', path: outputOf(jobId), overwrite: false } as const
    const partitions = partitionsOf(plan).length
    const job = { jobId, name: jobId, requester: 'requester', relay: 'p0', planHash: jobId }
    const detached = { partitions, suffix: '', output }
    const result = this.#jobs.apply({ type: 'detach', job: { ...job, detached } }, this.#context(nowMs))
    check(result.ok, `${jobId} is refused`)
    return jobId
  }

  has(jobId: string): boolean {
    return this.#plans.has(jobId)
  }

  /** Those to go on with. */
  running(): { jobId: string; plan: Plan; kept: number[] }[] {
    return this.#jobs
      .list()
      .filter(({ status }) => status === 'running')
      .map(({ jobId }) => {
        const plan = this.#plans.get(jobId)!
        const kept = this.#outputs.kept(directoryOf(jobId))
        return { jobId, plan, kept: partitionsOf(plan).filter((_, index) => kept.includes(index)) }
      })
  }

  keep(jobId: string, partition: number, value: number, nowMs: number): void {
    const index = partitionsOf(this.#plans.get(jobId)!).indexOf(partition)
    this.#outputs.keep(directoryOf(jobId), index, value, nowMs)
  }

  /** All parts are there: makes them visible, and the job done. */
  finish(jobId: string, nowMs: number): void {
    if (this.#jobs.get(jobId)?.status !== 'running') return
    const files = partitionsOf(this.#plans.get(jobId)!).length
    const made = this.#outputs.gather(outputOf(jobId), jobId, directoryOf(jobId), files, nowMs)
    check(made.ok, `${jobId} is not gathered: ${made.ok ? '' : made.error.message}`)
    this.#end(jobId, 'done', nowMs)
  }

  fail(jobId: string, nowMs: number): void {
    this.#end(jobId, 'failed', nowMs)
  }

  /** Every one has come to its end, with all its parts, each right. */
  verify(): void {
    for (const { jobId, status } of this.#jobs.list()) {
      const right = [...oracle(this.#plans.get(jobId)!).values()].join()
      const there = this.#outputs.read(outputOf(jobId))?.join()
      check(status === 'done', `${jobId} is ${status}`)
      check(there === right, `${jobId} has saved ${there}, not ${right}`)
    }
  }

  #end(jobId: string, status: 'done' | 'failed', nowMs: number): void {
    this.#jobs.apply({ type: 'jobs', changes: [{ type: 'job-end', jobId, status }] }, this.#context(nowMs))
    this.#jobs.assertInvariants()
  }

  #context(nowMs: number): { index: number; term: number; timeMs: number } {
    return { index: ++this.#index, term: 1, timeMs: nowMs }
  }
}

function partitionsOf(plan: Plan): readonly number[] {
  return plan.only ?? Array.from({ length: plan.nodes.at(-1)!.partitions }, (_, partition) => partition)
}

const directoryOf = (jobId: string): string => `/.jobs/${jobId.replace('/', '-')}/out`
const outputOf = (jobId: string): string => `/detached/${jobId.replace('/', '-')}`
