import { systemClock } from '../../base/index.ts'
import { formatTaskOutput, JobOutput, taskOutput, type TaskOutput } from '../../rdd/index.ts'
import type { MeshAccess } from '../mesh-access.ts'

/** Shows what the tasks of a client's open jobs print. */
export class OutputClient {
  readonly #access: MeshAccess
  readonly #nameOf: (jobId: string) => string | undefined
  readonly #show: (output: TaskOutput) => void
  /** By job; those that have printed. */
  readonly #jobs = new Map<string, JobOutput>()

  /** @param nameOf of an open job; undefined for others, whose lines nobody waits for */
  constructor(
    access: MeshAccess,
    nameOf: (jobId: string) => string | undefined,
    show: (output: TaskOutput) => void = toStderr,
  ) {
    this.#access = access
    this.#nameOf = nameOf
    this.#show = show
  }

  start(): void {
    this.#access.handle(taskOutput, ({ head }) => {
      const { jobId, peer, peerName, printed } = head
      const name = this.#nameOf(jobId)
      if (name === undefined) return {}
      const nowMs = systemClock.nowMs()
      let job = this.#jobs.get(jobId)
      if (job === undefined) this.#jobs.set(jobId, (job = new JobOutput({ jobId, name }, nowMs, this.#show)))
      for (const { id, lines } of printed) {
        const { stage, partition, attempt } = id
        const source = { jobId, name, stage, partition, attempt, peer, peerName }
        for (const line of lines) {
          if ('suppressed' in line) job.take({ type: 'suppressed', lines: line.suppressed, ...source }, nowMs)
          else job.take({ type: 'line', ...line, ...source }, nowMs)
        }
      }
      return {}
    })
  }

  /** The job is over. */
  end(jobId: string): void {
    this.#jobs.get(jobId)?.end()
    this.#jobs.delete(jobId)
  }
}

function toStderr(output: TaskOutput): void {
  // Over a progress bar, which draws itself again.
  const fresh = process.stderr.isTTY === true ? '\r\u001B[K' : ''
  process.stderr.write(`${fresh}${formatTaskOutput(output)}\n`)
}
