import type { WireError } from '../base/errors.ts'
import type { NodeId } from './plan.ts'
import type { KeptLevel } from './storage-level.ts'

/** Vocabulary between planner, scheduler, executor and worker. Job → stage → task → attempt. */

/** A run of narrow operators that ends in a shuffle or in the action. The planner makes them from the plan alone. */
export interface Stage {
  /** Position in the job's stages; parents come first. */
  id: number
  /** The node whose partitions its tasks compute. */
  root: NodeId
  /** A shuffle node to write map outputs for, or the plan's action. */
  sink: { kind: 'shuffle'; node: NodeId } | { kind: 'result' }
  /** Partitions to compute, ascending. */
  partitions: number[]
  /** Stages whose map outputs this one reads. */
  parents: number[]
  /** Shuffle nodes that its tasks read. */
  reads: NodeId[]
}

/** One attempt at one task. Attempts are numbered by the leader that starts them, so its term is part of the name. */
export interface TaskId {
  stage: number
  partition: number
  /** From 0, for each term anew. */
  attempt: number
  term: number
}

export function attemptKey(id: TaskId): string {
  return `${id.stage}.${id.partition}.${id.term}.${id.attempt}`
}

/** Where the map outputs of one shuffle are: `peers[map]` holds the buckets of that map partition. */
export interface ShuffleLocations {
  /** `<session>/<fingerprint of the shuffle node>`. */
  shuffle: string
  node: NodeId
  peers: string[]
}

/** What a worker needs for one attempt, beside the plan. */
export interface TaskInput {
  id: TaskId
  root: NodeId
  sink: Stage['sink']
  shuffles: ShuffleLocations[]
  /** Holders of the blocks and kept partitions that this partition reads, best first: blockId or keptBlockId → peers. */
  holders: Record<string, string[]>
}

export interface TaskMetrics {
  recordsRead: number
  bytesRead: number
  /** Bytes fetched from other peers. */
  bytesFetched: number
  bytesWritten: number
  durationMs: number
  /** Partitions served from the cache. */
  cacheHits: number
  /** Bytes and rows written to disk for want of memory; what was written twice counts twice. */
  spilledBytes: number
  spilledRecords: number
  /** The most that tables and buffers held at once, by estimate. */
  peakBytes: number
  /** Values of the largest group that was made: a partition far above the others has one heavy key, or many keys. */
  largestGroup: number
  /** Its key as text, shortened. */
  largestKey?: string
  /** Rows of the map output or the result. */
  recordsWritten?: number
  /** Of the thread, in ms. */
  cpuMs?: number
  /** Lines written with console.log and the like that were passed on, and those that were too many. */
  outputLines?: number
  outputSuppressed?: number
}

/** How an attempt ended. */
export type TaskOutcome =
  /** Buckets of all reduce partitions, one after the other; bucket r is bytes [offsets[r], offsets[r+1]). */
  | {
      type: 'map-output'
      bytes: Uint8Array
      offsets: number[]
      checksum: number
      metrics: TaskMetrics
      /** What it added to accumulators (accumulator.ts). */
      updates?: Uint8Array
    }
  /** The same when memory did not suffice: in a sealed file of `TaskPorts.openSpill`. */
  | {
      type: 'map-file'
      file: string
      sizeBytes: number
      offsets: number[]
      checksum: number
      metrics: TaskMetrics
      updates?: Uint8Array
    }
  /** Rows of the partition's partial result, in the row codec (one batch after the other), with their CRC-32. */
  | {
      type: 'result'
      bytes: Uint8Array
      rows: number
      checksum: number
      metrics: TaskMetrics
      /** So many of the last bytes are what it added to accumulators. They go with the rows, whole or not at all. */
      updateBytes?: number
    }
  /** The same when memory did not suffice: in a sealed file. The updates are not in it. */
  | {
      type: 'result-file'
      file: string
      sizeBytes: number
      rows: number
      checksum: number
      metrics: TaskMetrics
      updates?: Uint8Array
    }
  /** `fetch` names the map output that could not be read: not the task's fault. */
  | { type: 'failed'; error: WireError; fetch?: { node: NodeId; map: number; peer: string } }

/**
 * What a task may ask of the process around it. In a worker thread these are messages to the peer's main thread, or
 * direct reads of local files and shared memory.
 */
export interface TaskPorts {
  /** Bytes [start, end) of a block, checksums verified, in chunks of about 64 KiB to 1 MiB; sync when local. */
  readBlock(
    blockId: string,
    start: number,
    end: number,
    holders: string[],
  ): AsyncIterable<Uint8Array> | Iterable<Uint8Array>
  /** The buckets for one reduce partition, strictly in map order; throws FETCH_FAILED {shuffle, map, peer}. */
  fetchBuckets(locations: ShuffleLocations, reduce: number): AsyncIterable<{ map: number; bytes: Uint8Array }>
  /** Partitions of cached RDDs. */
  kept: KeptPorts
  /** The value of a broadcast that the plan names, decoded once in the thread. Absent where plans have none. */
  broadcast?(id: string): unknown
  /** Writes the next bytes of a saved part file; resolves when more may come. */
  writeOutput(chunk: Uint8Array): Promise<void>
  /** True once the attempt should stop; looked at once per slice. */
  cancelled(): boolean
  /** Bytes a task may hold in tables and buffers; what is more goes to disk. */
  memoryLimitBytes: number
  /** The attempt wants to hold so many bytes in all; false when the peer has no more to give, and nothing has changed. */
  reserveMemory(totalBytes: number): boolean
  /** A new file for what there is no memory for. `kept`: it will be sealed and outlives the attempt. */
  openSpill(kind: 'scratch' | 'kept'): SpillFile
}

export interface KeptKey {
  fingerprint: string
  partition: number
}

/** A kept partition: rows as chunks of whole batches, in shared memory or (each with its checksum, kept-rows.ts) in a file. */
export type KeptContent = KeptKey & { level: KeptLevel; sizeBytes: number } & (
    | { chunks: Uint8Array<SharedArrayBuffer>[] }
    | { file: string; fileBytes: number }
  )

/** Chunks of whole batches in the row codec. */
export type KeptRows = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

export interface KeptPorts {
  /** Of this peer, else of the first holder that has it; undefined when none has. Throws KEPT_DAMAGED while it is read. */
  read(key: KeptKey, holders: readonly string[]): KeptRows | undefined | Promise<KeptRows | undefined>
  /**
   * So much more is to be kept of a partition; 0 gives back what it was granted so far. Others, used longest ago, make room, but none of
   * the same RDD: it would be needed next. False when that does not suffice.
   */
  room(place: 'memory' | 'disk', key: KeptKey, bytes: number): Promise<boolean>
  /** Hands over a whole partition, for which there was room. */
  keep(content: KeptContent): void
  /** A file for a partition, to be sealed and handed over. */
  openFile(): SpillFile
  readFile(content: { file: string; fileBytes: number }): Iterable<Uint8Array>
}

/** The name of a kept partition among the blocks that a task reads. */
export function keptBlockId({ fingerprint, partition }: KeptKey): string {
  return `kept/${fingerprint}/${partition}`
}

/** A file of one attempt, read and written at once, without waiting. All but `close` throw DISK_FULL or DISK_FAILED. */
export interface SpillFile {
  /** Adds at the end; where the bytes begin. */
  append(bytes: Uint8Array): number
  read(start: number, end: number): Uint8Array
  /** Complete; the name by which it is handed over. It is closed by this. */
  seal(): string
  /** Removes it, unless it was sealed. */
  close(): void
}
