import { mkdir, open, readdir, readFile, unlink } from 'node:fs/promises'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { z } from 'zod'
import { invariant, pack, unpack } from '../base/index.ts'
import { replaceFile, sumInSlices, syncDirectory, TEMPORARY_SUFFIX } from './durable-file.ts'
import { corrupt, encodeEntry, LogSegment, segmentFirstIndex } from './log-segment.ts'
import type { LogStore, StoredLog } from './log-store.ts'
import { peerId } from './messages.ts'
import type { HardState, PersistEffect, RaftEntry, Snapshot } from './raft-types.ts'

export interface DiskLogStoreOptions {
  /** A segment is closed when it has grown to this: what is deleted, and read back, at a time. @default 16 MiB */
  segmentBytes?: number
}

const SEGMENT_BYTES = 16 * 1024 * 1024
/** The older one serves when the newer is damaged, for as long as the log reaches back to it. */
const SNAPSHOTS_KEPT = 2

const HARD_STATE_FILE = 'hard'
const SUM_BYTES = 4
const SNAPSHOT_MAGIC = Buffer.from('SHOALSN1')
/** Magic, sum, length of the head. */
const SNAPSHOT_PREFIX_BYTES = 16
const SNAPSHOT_NAME = /^snap-(\d{16})$/

const hardStateSchema = z.object({
  term: z.number(),
  votedFor: peerId.optional(),
  /** Every entry up to here was durable when this was written: if it is missing now, it was not a crash that took it. */
  durableIndex: z.number(),
})

const snapshotMetaSchema = z.object({
  index: z.number(),
  term: z.number(),
  timeMs: z.number(),
  voters: z.array(peerId),
})

/**
 * The log in a directory: `hard` (term, vote), `log-<first index>` segments, `snap-<index>` snapshots. `hard` and
 * snapshots are replaced whole; segments only grow at the end, are cut at the end, or are deleted.
 */
export class DiskLogStore implements LogStore {
  readonly #directory: string
  readonly #segmentBytes: number
  #hardState: HardState = { term: 0 }
  /** The mark in `hard`. */
  #markedIndex = 0
  /** Ascending; entries are appended to the last. */
  #segments: LogSegment[] = []
  /** Index of each snapshot file, ascending. */
  #snapshots: number[] = []

  constructor(directory: string, options: DiskLogStoreOptions = {}) {
    this.#directory = directory
    this.#segmentBytes = options.segmentBytes ?? SEGMENT_BYTES
  }

  async load(): Promise<StoredLog> {
    try {
      return await this.#load()
    } catch (error) {
      await this.#closeSegments()
      throw error
    }
  }

  async #load(): Promise<StoredLog> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    const names = (await readdir(this.#directory)).sort()
    for (const name of names) {
      if (name.endsWith(TEMPORARY_SUFFIX)) await unlink(path.join(this.#directory, name))
    }
    if (names.includes(HARD_STATE_FILE)) await this.#loadHardState()
    this.#snapshots = names.flatMap(name => {
      const digits = SNAPSHOT_NAME.exec(name)?.[1]
      return digits === undefined ? [] : [Number(digits)]
    })
    let entries = await this.#loadSegments(
      names.flatMap(name => {
        const firstIndex = segmentFirstIndex(name)
        return firstIndex === undefined ? [] : [firstIndex]
      }),
    )
    const snapshot = await this.#loadSnapshot(entries.at(-1)?.index ?? 0)
    const first = entries[0]
    if (first !== undefined && first.index > (snapshot?.index ?? 0) + 1) {
      throw corrupt(
        this.#segments[0]!.file,
        0,
        `entries ${(snapshot?.index ?? 0) + 1} to ${first.index - 1} are gone`,
      )
    }
    if (snapshot !== undefined && first !== undefined) {
      const held = entries.find(entry => entry.index === snapshot.index)
      if (first.index <= snapshot.index && held?.term !== snapshot.term) {
        // The crash came between taking in a leader's snapshot and dropping the log that it replaces.
        await this.#dropSegments()
        entries = []
      }
    }
    const lastIndex = entries.at(-1)?.index ?? snapshot?.index ?? 0
    if (lastIndex < this.#markedIndex) {
      const file = this.#segments.at(-1)?.file ?? path.join(this.#directory, HARD_STATE_FILE)
      throw corrupt(file, 0, `entries ${lastIndex + 1} to ${this.#markedIndex} were durable and are gone`)
    }
    const { data: _, ...meta } = snapshot ?? { data: undefined }
    return {
      state: { hardState: this.#hardState, snapshot: 'index' in meta ? meta : undefined, entries },
      snapshot,
    }
  }

  async write(batch: readonly PersistEffect[]): Promise<void> {
    // Terms and votes only go up, so the last says it all; first, because no entry may be of a later term than it.
    const hardState = batch.findLast(effect => effect.hardState !== undefined)?.hardState
    if (hardState !== undefined) await this.#writeHardState(hardState, this.#lastIndex)
    let unsynced = false
    for (const effect of batch) {
      if (effect.snapshot !== undefined) await this.#writeSnapshot(effect.snapshot, effect.log === 'reset')
      if (effect.truncateFrom !== undefined) await this.#truncateFrom(effect.truncateFrom)
      if (effect.entries !== undefined) {
        await this.#append(effect.entries)
        unsynced = true
      }
    }
    // None is left when a snapshot from the leader has replaced the entries before it.
    if (unsynced) await this.#segments.at(-1)?.sync()
  }

  async readSnapshot(): Promise<Snapshot | undefined> {
    const index = this.#snapshots.at(-1)
    return index === undefined ? undefined : await this.#readSnapshotFile(index)
  }

  /** Also marks how far the log is durable, so that damage while the peer is down is told from a torn record. */
  async close(): Promise<void> {
    const durableIndex = this.#lastIndex
    await this.#closeSegments()
    if (durableIndex !== this.#markedIndex) await this.#writeHardState(this.#hardState, durableIndex)
  }

  async #closeSegments(): Promise<void> {
    for (const segment of this.#segments) await segment.close()
    this.#segments = []
  }

  get #lastIndex(): number {
    return Math.max(this.#segments.at(-1)?.lastIndex ?? 0, this.#snapshots.at(-1) ?? 0)
  }

  // ---- Term and vote

  async #loadHardState(): Promise<void> {
    const file = path.join(this.#directory, HARD_STATE_FILE)
    const bytes = await readFile(file)
    const body = bytes.subarray(SUM_BYTES)
    if (bytes.byteLength <= SUM_BYTES || bytes.readUInt32LE(0) !== crc32(body)) {
      throw corrupt(file, 0, 'term and vote are unreadable')
    }
    const { term, votedFor, durableIndex } = hardStateSchema.parse(unpack(body))
    this.#hardState = { term, votedFor }
    this.#markedIndex = durableIndex
  }

  async #writeHardState(hardState: HardState, durableIndex: number): Promise<void> {
    const { term, votedFor } = hardState
    const body = pack(votedFor === undefined ? { term, durableIndex } : { term, votedFor, durableIndex })
    const sum = Buffer.alloc(SUM_BYTES)
    sum.writeUInt32LE(crc32(body))
    await replaceFile(path.join(this.#directory, HARD_STATE_FILE), [sum, body])
    this.#hardState = hardState
    this.#markedIndex = durableIndex
  }

  // ---- Entries

  async #loadSegments(firstIndexes: readonly number[]): Promise<RaftEntry[]> {
    const ascending = firstIndexes.toSorted((a, b) => a - b)
    const entries: RaftEntry[] = []
    for (const [at, firstIndex] of ascending.entries()) {
      const last = at === ascending.length - 1
      const loaded = await LogSegment.load(this.#directory, firstIndex, last)
      const expected = (entries.at(-1)?.index ?? firstIndex - 1) + 1
      if (firstIndex !== expected && loaded.entries.length === 0) {
        await loaded.segment.remove()
        continue
      }
      this.#segments.push(loaded.segment)
      if (firstIndex !== expected) throw corrupt(loaded.segment.file, 0, `entry ${expected} belongs here`)
      for (const entry of loaded.entries) entries.push(entry)
    }
    return entries
  }

  async #append(entries: readonly RaftEntry[]): Promise<void> {
    let records: Buffer[] = []
    let bytes = 0
    for (const entry of entries) {
      const segment = this.#segments.at(-1)
      if (segment === undefined || segment.sizeBytes + bytes >= this.#segmentBytes) {
        // The old segment must be durable first: a gap between files would look like lost entries.
        await segment?.append(records)
        await segment?.sync()
        records = []
        bytes = 0
        this.#segments.push(await LogSegment.create(this.#directory, entry.index))
        await syncDirectory(this.#directory)
      }
      invariant(
        this.#segments.at(-1)!.lastIndex + records.length + 1 === entry.index,
        'entries go in without a gap',
      )
      const record = encodeEntry(entry)
      records.push(record)
      bytes += record.byteLength
    }
    if (records.length > 0) await this.#segments.at(-1)!.append(records)
  }

  async #truncateFrom(index: number): Promise<void> {
    if (index <= this.#markedIndex) await this.#writeHardState(this.#hardState, index - 1)
    // From the end backwards, so that a crash leaves no gap.
    while (this.#segments.length > 0 && this.#segments.at(-1)!.firstIndex >= index) {
      await this.#segments.pop()!.remove()
      await syncDirectory(this.#directory)
    }
    const segment = this.#segments.at(-1)
    if (segment !== undefined && segment.lastIndex >= index) await segment.truncateFrom(index)
  }

  async #dropSegments(): Promise<void> {
    while (this.#segments.length > 0) {
      await this.#segments.pop()!.remove()
      await syncDirectory(this.#directory)
    }
  }

  // ---- Snapshots

  async #writeSnapshot(snapshot: Snapshot, reset: boolean): Promise<void> {
    const { data, ...meta } = snapshot
    if (reset && this.#markedIndex > meta.index) await this.#writeHardState(this.#hardState, meta.index)
    const head = pack(meta)
    const prefix = Buffer.alloc(SNAPSHOT_PREFIX_BYTES)
    SNAPSHOT_MAGIC.copy(prefix)
    prefix.writeUInt32LE(head.byteLength, 12)
    prefix.writeUInt32LE(await sumInSlices([prefix.subarray(12), head, data]), 8)
    await replaceFile(this.#snapshotFile(snapshot.index), [prefix, head, data])
    this.#snapshots.push(snapshot.index)
    // A leader's snapshot replaces everything: the older one no longer leads to it through the log.
    const kept = reset ? 1 : SNAPSHOTS_KEPT
    while (this.#snapshots.length > kept) await unlink(this.#snapshotFile(this.#snapshots.shift()!))
    if (reset) await this.#dropSegments()
    else await this.#dropSegmentsBefore(this.#snapshots[0]! + 1)
    await syncDirectory(this.#directory)
  }

  /** Segments that hold only older entries, oldest first, so that a crash leaves no gap. */
  async #dropSegmentsBefore(index: number): Promise<void> {
    while (this.#segments.length > 1 && this.#segments[1]!.firstIndex <= index) {
      await this.#segments.shift()!.remove()
    }
  }

  /** The newest sound one, if the log goes on from it to all that was durable. */
  async #loadSnapshot(lastLogIndex: number): Promise<Snapshot | undefined> {
    const newest = this.#snapshots.at(-1)
    if (newest === undefined) return undefined
    for (const index of this.#snapshots.toReversed()) {
      const snapshot = await this.#readSnapshotFile(index)
      if (snapshot === undefined) continue
      if (index !== newest && lastLogIndex < newest) break
      for (const damaged of this.#snapshots.filter(other => other > index))
        await unlink(this.#snapshotFile(damaged))
      this.#snapshots = this.#snapshots.filter(other => other <= index)
      return snapshot
    }
    throw corrupt(this.#snapshotFile(newest), 0, 'no snapshot is readable from which the log goes on')
  }

  /** Undefined when it is damaged. */
  async #readSnapshotFile(index: number): Promise<Snapshot | undefined> {
    await using handle = await open(this.#snapshotFile(index), 'r')
    const bytes = await handle.readFile()
    if (bytes.byteLength < SNAPSHOT_PREFIX_BYTES || !bytes.subarray(0, 8).equals(SNAPSHOT_MAGIC))
      return undefined
    if ((await sumInSlices([bytes.subarray(12)])) !== bytes.readUInt32LE(8)) return undefined
    const dataAt = SNAPSHOT_PREFIX_BYTES + bytes.readUInt32LE(12)
    const meta = snapshotMetaSchema.parse(unpack(bytes.subarray(SNAPSHOT_PREFIX_BYTES, dataAt)))
    return {
      ...meta,
      data: new Uint8Array(bytes.buffer, bytes.byteOffset + dataAt, bytes.byteLength - dataAt),
    }
  }

  #snapshotFile(index: number): string {
    return path.join(this.#directory, `snap-${String(index).padStart(16, '0')}`)
  }
}
