export {
  packageMissing,
  Packages,
  usePackagesOf,
  type PackageLack,
  type PackageNeed,
} from './closure/index.ts'
export { decodeRows, encodeRows, wholeBatchBytes } from './codec/index.ts'
export * from './config.ts'
export * from './context.ts'
export * from './detached-job.ts'
export { sizeOf, type FoundFile } from './file-layout.ts'
export * from './job-event.ts'
export * from './job-event-messages.ts'
export * from './job-runner.ts'
export { JobTracer } from './job-tracer.machine.ts'
export * from './jobs.machine.ts'
export * from './messages.ts'
export { packLocations, unpackLocations } from './packed-locations.ts'
export * from './partition-inputs.ts'
export * from './plan.ts'
export * from './planner.ts'
export { RDD } from './rdd.ts'
export type { Accumulator, AccumulatorParam } from './accumulator.ts'
export {
  chunkCount,
  destroyed,
  isChunkGood,
  type Broadcast,
  type BroadcastRef,
  type BroadcastSource,
} from './broadcast.ts'
export { decodeValue } from './shared-codec.ts'
export * from './shared-config.ts'
export * from './shared-messages.ts'
export { JobOutput } from './job-output.ts'
export { RateLimit } from './rate-limit.ts'
export * from './task-output.ts'
export type { SharedAtRequester } from './shared-variables.ts'
export * from './scheduler-types.ts'
export { Scheduler } from './scheduler.machine.ts'
export * from './job-view.ts'
export { plannedStages } from './stage-label.ts'
export * from './task.ts'
export * from './text-splits.ts'
export { decodePlan, encodePlan } from './plan-codec.ts'
export {
  checkFrame,
  damaged,
  FRAME_HEAD_BYTES,
  framedChunks,
  frameHead,
  readFrameHead,
  TaskRunner,
} from './engine/index.ts'
export type { BoundedNumber } from './approximate.ts'
export type { ActionOptions, Partitioner } from './dataset-actions.ts'
export type { Elements, Pair } from './dataset.ts'
export type { DetachedActions } from './detached-actions.ts'
export type { FutureAction } from './future-actions.ts'
export { createLocal, type LocalDatasets, type LocalOptions } from './local-runner.ts'
export { partialOf } from './partial-of.ts'
export type { Stats } from './stat-counter.ts'
export * from './storage-level.ts'
