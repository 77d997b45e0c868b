import type { AbortOptions } from '../base/deadline.ts'
import type { FoundFile } from './file-layout.ts'
import type { JobLabels } from './job-groups.ts'
import type { DropBroadcast, SharedAtRequester } from './shared-variables.ts'
import type { Plan, TextSplit } from './plan.ts'

/** What datasets need of the mesh around them, as ports: `src/node` plugs in the mesh, tests and createLocal memory. */

export interface RunOptions extends AbortOptions {
  /** For job lists and progress. */
  name?: string
  /** Groups and tags to cancel it by (job-groups.ts). @default those set when it runs */
  labels?: JobLabels
  /** Hand over partitions in ascending order; else as they come. */
  ordered: boolean
  /** Run by an operator, to find out about its parent (sort bounds): what its results add to accumulators does not count. */
  isHelper?: boolean
}

/** What peers keep of one RDD. */
export interface KeptReport {
  fingerprint: string
  /** Partitions of which there is a copy at least. */
  partitions: number
  /** Of all partitions together. */
  copies: number
  memoryBytes: number
  diskBytes: number
}

/** One partition's partial result: row-codec bytes, complete and verified. */
export interface PartialResult {
  partition: number
  bytes: Uint8Array
  /** What its task added to accumulators. */
  updates?: Uint8Array
}

export interface JobRunner {
  /** Told once where the shared variables of its requester are. */
  share?(variables: SharedAtRequester): void
  /** Has peers drop their copies of a broadcast, up to this generation; best effort, does not wait. */
  dropBroadcast?: DropBroadcast
  /**
   * Runs the plan and hands over each partition's partial result exactly once. Holds back while the consumer is busy;
   * ending the iteration early cancels what still runs. Rejects with the job's error, or with the signal's reason.
   */
  run(plan: Plan, options: RunOptions): AsyncIterable<PartialResult>
  /** Forgets cached partitions with these fingerprints, wherever they are; best effort, does not wait. */
  forget(fingerprints: readonly string[]): void
  /** What is kept under these fingerprints, as far as the leader has heard; none of those of which nothing is. Without it nobody knows. */
  kept?(fingerprints: readonly string[], options?: AbortOptions): Promise<KeptReport[]>
}

/** One part file of a saved dataset, as its task reported it. */
export interface OutputPart {
  file: string
  bytes: number
}

export interface CommitOptions extends AbortOptions {
  /** Appended to the name of each part file, e.g. `.csv`. @default '' */
  suffix?: string
  /** What is there goes to the trash, in the same moment. @default false: ALREADY_EXISTS */
  overwrite?: boolean
}

export interface ResolveOptions extends AbortOptions {
  /** How files of the requester's own machine (`file:` paths) are cut into blocks when they are stored. @default 'binary' */
  cut?: FoundFile['cut']
}

export interface FileResolver {
  /** Splits of all files, in the order of the paths, at least `minPartitions` of them where the bytes allow. Throws NOT_FOUND. */
  resolveText(paths: readonly string[], minPartitions: number, options?: AbortOptions): Promise<TextSplit[]>
  /** The files themselves, in the same order. Throws NOT_FOUND. */
  resolveFiles(paths: readonly string[], options?: ResolveOptions): Promise<FoundFile[]>
  /** Stores bytes for as long as the session lasts. */
  keep(content: Uint8Array, options?: AbortOptions): Promise<FoundFile>
  /** Throws ALREADY_EXISTS, so that a job fails before it runs and not after. */
  checkOutput(path: string, options?: AbortOptions): Promise<void>
  /** Keeps the parts saved so far until they are committed, however long the rest takes. Without it nothing ends them. */
  holdOutput?(parts: () => readonly OutputPart[]): Disposable
  /** Makes the saved parts visible, whole and at once, in partition order. */
  commitOutput(path: string, parts: readonly OutputPart[], options?: CommitOptions): Promise<void>
}
