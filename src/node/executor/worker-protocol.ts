import type { WireError } from '../../base/index.ts'
import type {
  KeptContent,
  KeptKey,
  PrintedLine,
  ShuffleLocations,
  TaskInput,
  TaskOutcome,
} from '../../rdd/index.ts'

/**
 * Messages between the peer's main thread and a worker thread. Bytes are transferred, never cloned; streams towards the
 * worker are bounded by credit, so back-pressure reaches from the user's loop to the sending peer.
 */

/** Bytes of one stream that may be on the way to a worker before it asks for more. */
export const STREAM_CREDIT_BYTES = 4 * 1024 * 1024

/** Bytes of a saved part that a worker may be ahead of what its peer has taken, so that both work at the same time. */
export const OUTPUT_CREDIT_BYTES = 4 * 1024 * 1024

export interface WorkerSettings {
  /** Holds this peer's blocks, for direct reads. */
  dataDirectory: string
  self: string
  /** What one task may hold. */
  memoryLimitBytes: number
  /** What the tasks of all workers may hold together, and where they keep account of it (memory-grants.ts). */
  memoryBytes: number
  memoryCells: Int32Array<SharedArrayBuffer>
  /** This worker's cell. */
  worker: number
  /** For what tasks have no memory for. */
  spillDirectory: string
  /** For partitions that are to be kept on disk. */
  keptDirectory: string
  /** Free space of the disk that such files leave. */
  diskReserveBytes: number
  /** Directory to find packages from that closures name. */
  packages: string
  /** One Int32: 1 while the running task should stop. */
  cancelFlag: SharedArrayBuffer
  /** Two Int32: lines of the running task that the peer has not been told of (task-console.ts). */
  outputCounts: SharedArrayBuffer
}

/** Where a kept partition is read: the same memory, or the same file, for all workers of the peer. */
export type KeptAt = { chunks: Uint8Array<SharedArrayBuffer>[] } | { file: string; fileBytes: number }

export type ToWorker =
  /**
   * `plan` comes with the first task of the job that this worker gets. `keptFile` is the name of the file for an output
   * that does not fit into memory.
   */
  | { type: 'run'; jobId: string; plan: Uint8Array | undefined; input: TaskInput; keptFile: string }
  | { type: 'forget-job'; jobId: string }
  | { type: 'cached'; key: KeptKey; at: KeptAt }
  /** The answer to a `room`. */
  | { type: 'room-made'; request: number; granted: boolean }
  | { type: 'uncached'; key: KeptKey }
  /** Before the first task that reads it. */
  | { type: 'broadcast'; id: string; bytes: Uint8Array<SharedArrayBuffer> }
  | { type: 'forget-broadcasts'; ids: string[] }
  /** `map`: which map output the bytes are of, when the stream is a shuffle's. */
  | { type: 'chunk'; stream: number; bytes: Uint8Array; map?: number }
  | { type: 'end'; stream: number }
  | { type: 'error'; stream: number; error: WireError }
  /** `task` as the `output` had it. */
  | { type: 'output-taken'; task: number; bytes: number; error?: WireError }

export type FromWorker =
  | { type: 'ended'; outcome: TaskOutcome }
  | { type: 'read-block'; stream: number; blockId: string; start: number; end: number; holders: string[] }
  | { type: 'fetch-buckets'; stream: number; locations: ShuffleLocations; reduce: number }
  | { type: 'credit'; stream: number; bytes: number }
  /** The reader lost interest. */
  | { type: 'close-stream'; stream: number }
  /** The running task printed. */
  | { type: 'printed'; lines: PrintedLine[] }
  | { type: 'fetch-kept'; stream: number; key: KeptKey; holders: readonly string[] }
  | { type: 'room'; request: number; place: 'memory' | 'disk'; key: KeptKey; bytes: number }
  | { type: 'keep'; content: KeptContent }
  /** A cached partition was read, or cannot be. */
  | { type: 'used'; key: KeptKey; damaged: boolean }
  /** `task` numbers the tasks of the worker. */
  | { type: 'output'; task: number; bytes: Uint8Array }
