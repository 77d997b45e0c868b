import { pack, sleep, toWire, type Logger, type PeerId, type Transport } from '../../base/index.ts'
import { tasksEnded, type EndedOutcome, type KeptChange, type TaskId } from '../../rdd/index.ts'
import { EXECUTOR } from '../config.ts'

interface Report {
  task: { jobId: string; id: TaskId; outcome: EndedOutcome }
  kept: KeptChange[]
  tries: number
}

export interface TaskReportsParts {
  transport: Transport
  leader(): PeerId | undefined
  /** Highest term heard of. */
  term(): number
  /** Aborts when the executor closes. */
  signal: AbortSignal
  log: Logger
}

/**
 * Tells whoever leads how tasks ended; a new leader that asked for the inventory since has it from there. One message at a
 * time: what ends while it is on its way goes together with the next one, so that short tasks cost few messages.
 */
export class TaskReports {
  readonly #parts: TaskReportsParts
  /** Bounded by the tasks that the leader lets this executor have, and by `reportTriesMax`. */
  #waiting: Report[] = []
  #isSending = false

  constructor(parts: TaskReportsParts) {
    this.#parts = parts
  }

  add(task: Report['task'], kept: KeptChange[]): void {
    this.#waiting.push({ task, kept, tries: 0 })
    if (this.#isSending) return
    this.#isSending = true
    void this.#send()
  }

  async #send(): Promise<void> {
    const { signal, transport, log } = this.#parts
    // What ends in this turn of the event loop goes together.
    await Promise.resolve()
    while (this.#waiting.length > 0 && !signal.aborted) {
      const batch = this.#take()
      const leader = this.#parts.leader()
      try {
        if (leader !== undefined) {
          const tasks = batch.map(({ task }) => task)
          const kept = batch.flatMap(report => report.kept)
          await transport.call(leader, tasksEnded, { term: this.#parts.term(), tasks, kept })
          continue
        }
      } catch (error) {
        log.debug({ leader, error: toWire(error) }, 'task reports did not reach the leader')
      }
      for (const report of batch) report.tries += 1
      this.#waiting.unshift(...batch.filter(({ tries }) => tries < EXECUTOR.reportTriesMax))
      await sleep(EXECUTOR.reportAgainMs, { signal }).catch(() => {})
    }
    // In the same step as the last look at what waits: whoever adds after it begins anew.
    this.#isSending = false
  }

  /** The oldest, as many as fit into one message; at least one. */
  #take(): Report[] {
    let bytes = 0
    let count = 0
    for (const { task, kept } of this.#waiting) {
      // Errors may be long; what went well is short and of one length.
      bytes += 'error' in task.outcome ? pack(task.outcome).byteLength : REPORT_BYTES
      bytes += kept.length * KEPT_BYTES
      if (count > 0 && bytes > EXECUTOR.reportBytesMax) break
      count += 1
    }
    return this.#waiting.splice(0, count)
  }
}

/** About what a report takes that is no error. */
const REPORT_BYTES = 512
const KEPT_BYTES = 160
