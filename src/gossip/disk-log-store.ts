import type { FileHandle } from 'node:fs/promises'
import { mkdir, open, readdir, readFile, stat, unlink } from 'node:fs/promises'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { z } from 'zod'
import { hasCode, invariant, pack, ShoalError, unpack } from '../base/index.ts'
import type { PeerId } from '../base/index.ts'
import type { DiskSpaceOptions } from './config.ts'
import { DiskSpace } from './disk-space.ts'
import type { OpenFile, SpaceState } from './disk-space.ts'
import { placeFile, prepareFile, replaceFile, syncDirectory, TEMPORARY_SUFFIX } from './durable-file.ts'
import { finishSettingAside, readLife, readSummed, setAside, summed, writeLife } from './log-damage.ts'
import type { LifeRecord } from './log-damage.ts'
import { corrupt, encodeEntry, LogSegment, segmentFirstIndex } from './log-segment.ts'
import type { LogStore, StoredLog } from './log-store.ts'
import { peerId } from './messages.ts'
import type { HardState, PersistEffect, RaftEntry, Snapshot } from './raft-types.ts'
import { readSnapshotFile, snapshotIndex, snapshotName, snapshotParts } from './snapshot-file.ts'

export interface DiskLogStoreOptions {
  /** A segment is closed when it has grown to this: what is deleted, and read back, at a time. @default 16 MiB */
  segmentBytes?: number
  /**
   * The peer whose log it is. A log of its that is damaged is set aside, and the peer begins anew as a learner, unless it was
   * the only voter. Without it, damage is LOG_CORRUPT and nothing is touched.
   */
  self?: PeerId
  /** @default no reserve */
  space?: Partial<DiskSpaceOptions>
  /** @default that of node:fs */
  openFile?: OpenFile
  /** @default Date.now */
  wallMs?: () => number
}

const SEGMENT_BYTES = 16 * 1024 * 1024
/** The older one serves when the newer is damaged, for as long as the log reaches back to it. */
const SNAPSHOTS_KEPT = 2

const HARD_STATE_FILE = 'hard'
/** How far the log is durable, after each flush. Not synced: it outlives the process, not always the machine. */
const MARK_FILE = 'mark'
const MARK_BYTES = 12
/** Who votes, as of the last entry that said so: whether a damaged log can be fetched from others. */
const VOTERS_FILE = 'voters'
const hardStateSchema = z.object({
  term: z.number(),
  votedFor: peerId.optional(),
  /** Every entry up to here was durable when this was written: if it is missing now, it was not a crash that took it. */
  durableIndex: z.number(),
})

/**
 * The log in a directory: `hard` (term, vote), `log-<first index>` segments, `snap-<index>` snapshots. `hard` and
 * snapshots are replaced whole; segments only grow at the end, are cut at the end, or are deleted. Beside them: `mark`,
 * `voters`, the `reserve` (see `DiskSpace`), and, of a peer whose log was lost once, `life` and `damaged-<time>/`.
 */
export class DiskLogStore implements LogStore {
  readonly #directory: string
  readonly #segmentBytes: number
  readonly #self: PeerId | undefined
  readonly #space: DiskSpace
  readonly #openFile: OpenFile
  readonly #wallMs: () => number
  #life: LifeRecord | undefined
  #mark: FileHandle | undefined
  #hardState: HardState = { term: 0 }
  /** From the first write on: a log without it has lost it. */
  #hasHardState = false
  /** The mark in `hard`. */
  #markedIndex = 0
  /** Ascending; entries are appended to the last. */
  #segments: LogSegment[] = []
  /** Index of each snapshot file, ascending. */
  #snapshots: number[] = []
  /** Data of the snapshot that is on the disk but not in its place. */
  #staged: Uint8Array | undefined

  constructor(directory: string, options: DiskLogStoreOptions = {}) {
    this.#directory = directory
    this.#segmentBytes = options.segmentBytes ?? SEGMENT_BYTES
    this.#self = options.self
    this.#openFile = options.openFile ?? open
    this.#wallMs = options.wallMs ?? Date.now
    this.#space = new DiskSpace(directory, options.space ?? { reserveBytes: 0 }, this.#openFile)
  }

  async load(): Promise<StoredLog> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    let stored: StoredLog
    try {
      await this.#loadLife()
      stored = await this.#load()
    } catch (error) {
      await this.#closeFiles()
      if (!hasCode(error, 'LOG_CORRUPT') || this.#self === undefined) throw error
      await this.#refuseIfAlone(error)
      this.#life = await setAside(this.#directory, error.message, this.#wallMs())
      this.#hardState = { term: 0 }
      this.#hasHardState = false
      this.#markedIndex = 0
      this.#snapshots = []
      stored = await this.#load()
    }
    this.#mark = await this.#openFile(path.join(this.#directory, MARK_FILE), 'a+', 0o600)
    await this.#mark.close()
    this.#mark = await this.#openFile(path.join(this.#directory, MARK_FILE), 'r+', 0o600)
    this.#space.start()
    if (this.#life === undefined) return stored
    const { number, forgot, damages } = this.#life
    return { ...stored, state: { ...stored.state, life: { number, forgot } }, damages }
  }

  async #loadLife(): Promise<void> {
    const file = path.join(this.#directory, 'life')
    this.#life = await readLife(this.#directory).catch((error: unknown) => {
      throw corrupt(file, 0, error instanceof Error ? error.message : String(error))
    })
    if (this.#life?.moving === true) this.#life = await finishSettingAside(this.#directory, this.#life)
  }

  /** What the only voter has lost, nobody else is sure to have. */
  async #refuseIfAlone(error: ShoalError<'LOG_CORRUPT'>): Promise<void> {
    const voters = await this.#knownVoters()
    if (voters === undefined || voters.some(voter => voter !== this.#self)) return
    throw new ShoalError(
      'LOG_CORRUPT',
      error.details,
      `${error.message} It was the only voter, so no other peer is sure to have what is lost, and nothing was changed. ` +
        'Bring back a copy of the directory, or accept the loss: `shoal recover --unsafe` keeps what is readable.',
    )
  }

  async #knownVoters(): Promise<PeerId[] | undefined> {
    const bytes = await readSummed(path.join(this.#directory, VOTERS_FILE)).catch(() => undefined)
    return bytes === undefined ? undefined : z.array(peerId).parse(unpack(bytes))
  }

  async #load(): Promise<StoredLog> {
    const names = (await readdir(this.#directory)).sort()
    for (const name of names) {
      if (name.endsWith(TEMPORARY_SUFFIX)) await unlink(path.join(this.#directory, name))
    }
    if (names.includes(HARD_STATE_FILE)) await this.#loadHardState()
    else if (names.some(name => segmentFirstIndex(name) !== undefined || snapshotIndex(name) !== undefined))
      throw corrupt(path.join(this.#directory, HARD_STATE_FILE), 0, 'term and vote are gone')
    this.#markedIndex = Math.max(this.#markedIndex, await this.#readMark())
    this.#snapshots = names.flatMap(name => snapshotIndex(name) ?? [])
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
    if (hardState !== undefined || !this.#hasHardState)
      await this.#writeHardState(hardState ?? this.#hardState, this.#lastIndex)
    let unsynced = false
    for (const effect of batch) {
      if (effect.settled === true) await this.#settle()
      if (effect.snapshot !== undefined) await this.#writeSnapshot(effect.snapshot, effect.log === 'reset')
      if (effect.truncateFrom !== undefined) await this.#truncateFrom(effect.truncateFrom)
      if (effect.entries !== undefined) {
        await this.#append(effect.entries)
        unsynced = true
      }
    }
    // None is left when a snapshot from the leader has replaced the entries before it.
    if (unsynced) await this.#segments.at(-1)?.sync()
    await this.#writeMark(this.#lastIndex)
  }

  stopWaiting(): void {
    this.#space.stop()
  }

  onSpace(listener: (state: SpaceState) => void): void {
    this.#space.onChange(listener)
  }

  async #settle(): Promise<void> {
    this.#life = { ...this.#life!, forgot: false }
    await this.#space.use(() => writeLife(this.#directory, this.#life!))
  }

  async stageSnapshot(snapshot: Snapshot): Promise<void> {
    this.#staged = undefined
    const parts = await snapshotParts(snapshot)
    await prepareFile(this.#snapshotFile(snapshot.index), parts, this.#openFile)
    this.#staged = snapshot.data
  }

  async readSnapshot(): Promise<Snapshot | undefined> {
    const index = this.#snapshots.at(-1)
    return index === undefined ? undefined : await this.#readSnapshotFile(index)
  }

  /** Also marks how far the log is durable, so that damage while the peer is down is told from a torn record. */
  async close(): Promise<void> {
    const durableIndex = this.#lastIndex
    // What could not be read must not be written over, nor what lies where the log was.
    const isLoaded = this.#mark !== undefined && (await this.#isInPlace())
    await this.#space.stopped()
    await this.#closeFiles()
    if (isLoaded && durableIndex !== this.#markedIndex)
      await this.#writeHardState(this.#hardState, durableIndex)
  }

  /** Open files can be written when their directory is gone, but a file that is replaced would land in another's directory. */
  async #isInPlace(): Promise<boolean> {
    const there = await stat(path.join(this.#directory, MARK_FILE), { bigint: true }).catch(() => undefined)
    const ours = await this.#mark?.stat({ bigint: true })
    return there !== undefined && there.ino === ours?.ino && there.dev === ours.dev
  }

  async #closeFiles(): Promise<void> {
    await this.#mark?.close()
    this.#mark = undefined
    for (const segment of this.#segments) await segment.close()
    this.#segments = []
  }

  get #lastIndex(): number {
    return Math.max(this.#segments.at(-1)?.lastIndex ?? 0, this.#snapshots.at(-1) ?? 0)
  }

  // ---- Term and vote

  async #loadHardState(): Promise<void> {
    const file = path.join(this.#directory, HARD_STATE_FILE)
    const body = await readSummed(file).catch(() => undefined)
    if (body === undefined) throw corrupt(file, 0, 'term and vote are unreadable')
    const { term, votedFor, durableIndex } = hardStateSchema.parse(unpack(body))
    this.#hardState = { term, votedFor }
    this.#hasHardState = true
    this.#markedIndex = durableIndex
  }

  async #writeHardState(hardState: HardState, durableIndex: number): Promise<void> {
    const { term, votedFor } = hardState
    const body = pack(votedFor === undefined ? { term, durableIndex } : { term, votedFor, durableIndex })
    const file = path.join(this.#directory, HARD_STATE_FILE)
    if (this.#mark !== undefined && !(await this.#isInPlace()))
      throw new Error(`${this.#directory} was removed or replaced`)
    await this.#space.use(() => replaceFile(file, summed(body), this.#openFile))
    this.#hardState = hardState
    this.#hasHardState = true
    this.#markedIndex = durableIndex
  }

  /** 0 when there is none, or one that a crash of the machine left half-written. */
  async #readMark(): Promise<number> {
    const bytes = await readFile(path.join(this.#directory, MARK_FILE)).catch(() => Buffer.alloc(0))
    if (bytes.byteLength !== MARK_BYTES || bytes.readUInt32LE(8) !== crc32(bytes.subarray(0, 8))) return 0
    return bytes.readUIntLE(0, 6)
  }

  async #writeMark(index: number): Promise<void> {
    const bytes = Buffer.alloc(MARK_BYTES)
    bytes.writeUIntLE(index, 0, 6)
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 8)), 8)
    await this.#space.use(async () => await this.#mark!.write(bytes, 0, MARK_BYTES, 0))
  }

  /** Before entries that were durable are cut off: neither mark may speak of them any more. */
  async #lowerMarks(index: number): Promise<void> {
    await this.#writeMark(index)
    await this.#mark!.datasync()
    if (index < this.#markedIndex) await this.#writeHardState(this.#hardState, index)
  }

  async #noteVoters(voters: readonly PeerId[]): Promise<void> {
    const file = path.join(this.#directory, VOTERS_FILE)
    await this.#space.use(() => replaceFile(file, summed(pack(voters)), this.#openFile))
  }

  // ---- Entries

  async #loadSegments(firstIndexes: readonly number[]): Promise<RaftEntry[]> {
    const ascending = firstIndexes.toSorted((a, b) => a - b)
    const entries: RaftEntry[] = []
    for (const [at, firstIndex] of ascending.entries()) {
      const last = at === ascending.length - 1
      const loaded = await LogSegment.load(this.#directory, firstIndex, last, this.#openFile)
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
        await this.#appendTo(segment, records)
        await segment?.sync()
        records = []
        bytes = 0
        const create = (): Promise<LogSegment> =>
          LogSegment.create(this.#directory, entry.index, this.#openFile)
        this.#segments.push(await this.#space.use(create))
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
    await this.#appendTo(this.#segments.at(-1), records)
    const config = entries.findLast(entry => entry.kind === 'config')
    if (config !== undefined) await this.#noteVoters(config.voters)
  }

  async #appendTo(segment: LogSegment | undefined, records: readonly Buffer[]): Promise<void> {
    if (segment !== undefined && records.length > 0) await this.#space.use(() => segment.append(records))
  }

  async #truncateFrom(index: number): Promise<void> {
    if (index <= this.#lastIndex) await this.#lowerMarks(index - 1)
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
    const { data: _, ...meta } = snapshot
    if (reset && this.#lastIndex > meta.index) await this.#lowerMarks(meta.index)
    const file = this.#snapshotFile(snapshot.index)
    if (this.#staged === snapshot.data) {
      await placeFile(file)
    } else {
      const parts = await snapshotParts(snapshot)
      await this.#space.use(() => replaceFile(file, parts, this.#openFile))
    }
    this.#staged = undefined
    if (reset) await this.#noteVoters(meta.voters)
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

  async #readSnapshotFile(index: number): Promise<Snapshot | undefined> {
    return await readSnapshotFile(this.#snapshotFile(index))
  }

  #snapshotFile(index: number): string {
    return path.join(this.#directory, snapshotName(index))
  }
}
