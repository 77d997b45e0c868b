import type { WireError } from '../base/errors.ts'
import type { NodeId } from './plan.ts'
import type { ShuffleLocations, Stage, TaskId, TaskMetrics } from './task.ts'

/** Who gets the results of a job: a client behind the peer that relays for it, or a peer that is its own relay. */
export interface Requester {
  client: string
  relay: string
  /** Rises each time the client attaches to another peer; older deliveries are refused. */
  epoch: number
}

/** What the scheduler must know of a job. Derived from the plan alone, but for `preferred`, `keptAt` (hints) and `accepted`. */
export interface JobSpec {
  jobId: string
  name: string
  /** Owner of shuffle outputs and cached partitions: the client. */
  session: string
  requester: Requester
  stages: Stage[]
  /** Shuffle node → name of its map outputs in the mesh: `<session>/<fingerprint>`. */
  shuffles: Record<NodeId, { key: string; maps: number }>
  /** Stage id → partition → peers that hold its input or its cached partition, best first. */
  preferred: Record<number, Record<number, string[]>>
  /** Stage id → partition → peers that keep the cached partition it reads; tasks wait a moment for them. */
  keptAt: Record<number, Record<number, string[]>>
  /** Stage id → partition → blockId → holders, handed through to the task. */
  holders: Record<number, Record<number, Record<string, string[]>>>
  /** The tasks of the result stage act on the world outside (`forEach`): no second attempt beside one that runs. */
  runsOnce: boolean
  /** Result partitions that the requester has already. */
  accepted: number[]
}

/** An output that an executor has sealed, as it reports it itself. */
export interface SealedOutput {
  jobId: string
  id: TaskId
  /** Set for a map output. */
  shuffle?: { key: string; map: number }
  checksum: number
  sizeBytes: number
}

export type EndedOutcome =
  | { type: 'map-output'; shuffle: string; checksum: number; sizeBytes: number; metrics: TaskMetrics }
  /** `accepted`: the requester has it already (small results travel at once). */
  | {
      type: 'result'
      checksum: number
      sizeBytes: number
      rows: number
      accepted: boolean
      metrics: TaskMetrics
    }
  | { type: 'failed'; error: WireError; fetch?: { node: NodeId; map: number; peer: string } }
  /** The worker thread died under the task. */
  | { type: 'worker-died'; error: WireError }

export type SchedulerEvent =
  | { type: 'executor-joined'; peer: string; workers: number }
  /** Its connection is closed and re-dialling refused, or membership says dead. */
  | { type: 'executor-gone'; peer: string }
  /** What a surviving executor has, asked for by a new leader. */
  | {
      type: 'inventory-received'
      peer: string
      running: { jobId: string; id: TaskId }[]
      outputs: SealedOutput[]
    }
  | { type: 'job-submitted'; job: JobSpec }
  | { type: 'task-ended'; peer: string; jobId: string; id: TaskId; outcome: EndedOutcome }
  | { type: 'result-accepted'; jobId: string; partitions: number[] }
  /** The requester could not fetch a result that is sealed at the peer. */
  | { type: 'result-lost'; jobId: string; partition: number; peer: string }
  /** The requester is done with the job. */
  | { type: 'job-closed'; jobId: string }
  | { type: 'job-cancelled'; jobId: string; reason: string }
  /** As the requester saw it when it spoke: its open jobs, and how many it had begun. */
  | { type: 'lease-renewed'; session: string; jobs: string[]; begun: number }
  /** An executor keeps outputs of a session that this leader has not heard from: its lease starts afresh, in full. */
  | { type: 'session-found'; session: string }
  | { type: 'tick' }

export interface JobProgress {
  stages: { id: number; tasks: number; done: number; running: number }[]
  /** Attempts that this leader has started; what earlier leaders started is not in it. */
  started: number
  /** Attempts started beyond the first of their task. */
  retried: number
  executors: number
}

export type SchedulerEffect =
  | {
      type: 'run-tasks'
      peer: string
      jobId: string
      stage: Stage
      shuffles: ShuffleLocations[]
      tasks: { id: TaskId; holders: Record<string, string[]> }[]
    }
  | { type: 'cancel-tasks'; peer: string; jobId: string; ids: TaskId[] }
  | { type: 'progress'; jobId: string; progress: JobProgress }
  /** Every result partition is accepted. */
  | { type: 'job-done'; jobId: string; progress: JobProgress }
  | { type: 'job-failed'; jobId: string; error: WireError }
  /** Executors drop what they keep for the job, but for its map outputs, which belong to the session. */
  | { type: 'forget-job'; jobId: string; peers: string[] }
  | { type: 'forget-session'; session: string; peers: string[] }
  /** Nothing to do, something to say: a map output came out different, so this stage of the job, which reads it, starts again. */
  | { type: 'nondeterministic'; jobId: string; stage: number; shuffle: string }
