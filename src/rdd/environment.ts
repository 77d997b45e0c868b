import type { CaptureOptions } from './closure/index.ts'
import type { Detacher } from './detached-job.ts'
import type { ClassRegistry } from './class-registry.ts'
import type { DatasetContext } from './context.ts'
import type { JobGroups } from './job-groups.ts'
import type { FileResolver } from './job-runner.ts'
import type { RDD } from './rdd.ts'

/** What every RDD of one context shares. */
export interface DatasetEnvironment {
  context: DatasetContext
  /** Runs jobs, and knows those under way by group and tag. */
  runner: JobGroups
  files: FileResolver
  /** Takes on jobs that need no client; only a mesh does. */
  detacher: Detacher | undefined
  /** RDDs that are to be kept, by id. */
  persisted: Map<number, RDD<unknown>>
  /** Directories of checkpoints that nobody named: they end with the context. */
  checkpoints: Set<string>
  /** Partitions of parallelize, range and (at least) textFile where the call names none. */
  defaultPartitions: number
  /** Those that the user declared. */
  classes: ClassRegistry
  /** Limits of closures, and the global object of a REPL. */
  capture: Omit<CaptureOptions, 'operator'>
  /** Told once for each warning about a captured function, as ready text. */
  onWarning: (text: string) => void
}
