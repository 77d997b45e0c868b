import { z } from 'zod'
import { message } from '../base/transport.ts'
import { TASK_OUTPUT } from './shared-config.ts'
import { taskId } from './task-id.ts'

/** What tasks print, on its way to whoever called the action. */

const count = z.number().int().nonnegative()

export const OUTPUT_LEVELS = ['log', 'info', 'warn', 'error', 'debug', 'stdout', 'stderr'] as const
/** The method of `console`, or the stream that was written to. */
export type OutputLevel = (typeof OUTPUT_LEVELS)[number]

/** One line, or how many were left out at that place. */
export type PrintedLine = { level: OutputLevel; text: string } | { suppressed: number }

const printedLine: z.ZodType<PrintedLine> = z.union([
  z.object({ level: z.enum(OUTPUT_LEVELS), text: z.string().max(TASK_OUTPUT.lineCharsMax * 2) }),
  z.object({ suppressed: count }),
])

/** Executor → requester: lines of attempts of one job, in order. Before the attempt's result, or the report of its failure. */
export const taskOutput = message({
  name: 'rdd.task.output',
  from: 'peers',
  request: z.object({
    jobId: z.string(),
    peer: z.string(),
    peerName: z.string(),
    printed: z.array(z.object({ id: taskId, lines: z.array(printedLine) })),
  }),
  reply: z.object({}),
})

interface OutputSource {
  jobId: string
  /** The job's. */
  name: string
  stage: number
  partition: number
  /** From 0; each leader numbers anew. */
  attempt: number
  peer: string
  peerName: string
}

export type TaskOutput =
  | ({ type: 'line'; level: OutputLevel; text: string } & OutputSource)
  /** Lines of one attempt beyond its rate. */
  | ({ type: 'suppressed'; lines: number } & OutputSource)
  /** Lines of all tasks of a job beyond the job's rate. */
  | { type: 'job-suppressed'; lines: number; jobId: string; name: string }

/** `[3 map · stage 0 · partition 2 · p1] text`, without a line end. */
export function formatTaskOutput(output: TaskOutput): string {
  const job = `${output.jobId.slice(output.jobId.lastIndexOf('/') + 1)} ${output.name}`
  if (output.type === 'job-suppressed') return `[${job}] … ${lines(output.lines)} of its tasks left out`
  const { stage, partition, attempt, peerName } = output
  const again = attempt > 0 ? ` · attempt ${attempt}` : ''
  const label = `[${job} · stage ${stage} · partition ${partition}${again} · ${peerName}]`
  if (output.type === 'suppressed') return `${label} … ${lines(output.lines)} left out`
  return `${label} ${output.text}`
}

function lines(count: number): string {
  return count === 1 ? '1 line' : `${count} lines`
}
