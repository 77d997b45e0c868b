import { joined, PairEncoder } from '../codec/index.ts'
import type { AggregationTable } from './aggregation-table.ts'
import { ENGINE } from './config.ts'
import { bucketOf } from './hashing.ts'
import type { PartitionOf } from './partition-function.ts'
import type { MemoryHolding } from './task-memory.ts'

/** The buckets that a shuffle-map task fills, one per reduce partition. */
export class MapOutput {
  readonly buckets: PairEncoder[]
  readonly #partitionOf: PartitionOf | null
  readonly #memory: MemoryHolding

  /** @param partitionOf Null for hash partitioning. */
  constructor(partitions: number, partitionOf: PartitionOf | null, memory: MemoryHolding) {
    this.buckets = Array.from({ length: partitions }, () => new PairEncoder())
    this.#partitionOf = partitionOf
    this.#memory = memory
  }

  /** Encodes open batches, which lets go of the texts that their strings are slices of. */
  flush(): void {
    for (const bucket of this.buckets) bucket.flush()
  }

  measure(): void {
    let bytes = 0
    for (const bucket of this.buckets) bytes += bucket.heldBytes
    this.#memory.resize(bytes)
  }

  /** Moves all entries of a table into their buckets, in order of first insertion, and empties it. */
  take(table: AggregationTable): void {
    const { keys, values } = table
    const partitionOf = this.#partitionOf
    if (partitionOf === null) {
      const hashes = table.keyHashes()
      for (let i = 0; i < keys.length; i++) {
        this.buckets[bucketOf(hashes[i]!, this.buckets.length)]!.append(keys[i], values[i])
      }
    } else {
      for (let i = 0; i < keys.length; i++) this.buckets[partitionOf(keys[i])]!.append(keys[i], values[i])
    }
    table.clear()
    this.measure()
  }

  /** Bucket r is bytes [offsets[r], offsets[r + 1]). */
  finish(): { bytes: Uint8Array; offsets: number[] } {
    const chunks: Uint8Array[] = []
    const offsets = [0]
    let total = 0
    for (const bucket of this.buckets) {
      for (const chunk of bucket.finish()) {
        chunks.push(chunk)
        total += chunk.length
      }
      offsets.push(total)
    }
    return { bytes: joined(chunks, total), offsets }
  }
}

/** A full map-side table is written out; where that happens depends on the data alone, never on the peer. */
export function isFull(table: AggregationTable, holding: MemoryHolding): boolean {
  return holding.bytes >= ENGINE.combineBytes || table.size >= ENGINE.combineKeys
}
