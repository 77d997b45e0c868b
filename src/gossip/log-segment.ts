import type { FileHandle } from 'node:fs/promises'
import { open, readFile, unlink } from 'node:fs/promises'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { z } from 'zod'
import { pack, ShoalError, unpack } from '../base/index.ts'
import type { OpenFile } from './disk-space.ts'
import { peerId } from './messages.ts'
import type { RaftEntry } from './raft-types.ts'

/**
 * One append-only file of log entries: an 8-byte magic, then records
 *
 *   [payload length u32][crc32 u32][term u48][index u48][payload]     (little endian)
 *
 * The sum covers everything but itself. The payload is msgpack: kind, log time, and data or voters.
 */
const MAGIC = Buffer.from('SHOALOG1')
const HEADER_BYTES = 20
/** A longer record is damage: commands are bounded far below. */
const PAYLOAD_BYTES_MAX = 16 * 1024 * 1024

const SEGMENT_NAME = /^log-(\d{16})$/

const payloadSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('no-op'), timeMs: z.number() }),
  z.object({
    kind: z.literal('config'),
    timeMs: z.number(),
    voters: z.array(peerId),
    settles: z.number().optional(),
  }),
  z.object({ kind: z.literal('command'), timeMs: z.number(), data: z.instanceof(Uint8Array) }),
])

export function segmentName(firstIndex: number): string {
  return `log-${String(firstIndex).padStart(16, '0')}`
}

/** Index of its first entry, or undefined when the file is no segment. */
export function segmentFirstIndex(name: string): number | undefined {
  const digits = SEGMENT_NAME.exec(name)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

export function encodeEntry(entry: RaftEntry): Buffer {
  const { term, index, ...payload } = entry
  const body = pack(payload)
  const record = Buffer.allocUnsafe(HEADER_BYTES + body.byteLength)
  record.writeUInt32LE(body.byteLength, 0)
  record.writeUIntLE(term, 8, 6)
  record.writeUIntLE(index, 14, 6)
  record.set(body, HEADER_BYTES)
  record.writeUInt32LE(sumOf(record), 4)
  return record
}

function sumOf(record: Buffer): number {
  return crc32(record.subarray(8), crc32(record.subarray(0, 4)))
}

/** The whole record that begins at `offset`, if its sum is right. */
function recordAt(bytes: Buffer, offset: number): Buffer | undefined {
  if (offset + HEADER_BYTES > bytes.byteLength) return undefined
  const length = bytes.readUInt32LE(offset)
  if (length > PAYLOAD_BYTES_MAX || offset + HEADER_BYTES + length > bytes.byteLength) return undefined
  const record = bytes.subarray(offset, offset + HEADER_BYTES + length)
  return record.readUInt32LE(4) === sumOf(record) ? record : undefined
}

function decodeRecord(file: string, offset: number, record: Buffer): RaftEntry {
  const parsed = payloadSchema.safeParse(unpack(record.subarray(HEADER_BYTES)))
  if (!parsed.success) throw corrupt(file, offset, 'the entry is of a kind that this version does not know')
  const payload = parsed.data
  const entry = { ...payload, term: record.readUIntLE(8, 6), index: record.readUIntLE(14, 6) }
  // The payload is a view of the whole segment, which would keep it in memory as long as one entry lives.
  return entry.kind === 'command' ? { ...entry, data: Uint8Array.from(entry.data) } : entry
}

/** True when any record with this index or a later one begins anywhere after `offset`. */
function hasRecordAfter(bytes: Buffer, offset: number, index: number): boolean {
  for (let at = offset + 1; at + HEADER_BYTES < bytes.byteLength; at++) {
    const found = bytes.readUIntLE(at + 14, 6)
    // Cheap before dear: no segment holds this many entries, so most offsets need no sum.
    if (found >= index && found < index + PAYLOAD_BYTES_MAX && recordAt(bytes, at) !== undefined) return true
  }
  return false
}

/** As many whole records as there are from the start; `isWhole` when nothing but those is there. Reads only. */
export function readableEntries(
  bytes: Buffer,
  firstIndex: number,
): { entries: RaftEntry[]; isWhole: boolean } {
  const entries: RaftEntry[] = []
  if (!bytes.subarray(0, MAGIC.byteLength).equals(MAGIC)) return { entries, isWhole: false }
  let offset = MAGIC.byteLength
  while (offset < bytes.byteLength) {
    const record = recordAt(bytes, offset)
    if (record === undefined) break
    const entry = decodeRecord('', offset, record)
    if (entry.index !== firstIndex + entries.length) break
    entries.push(entry)
    offset += record.byteLength
  }
  return { entries, isWhole: offset === bytes.byteLength }
}

export class LogSegment {
  readonly file: string
  readonly firstIndex: number
  readonly #handle: FileHandle
  /** Where the record of `firstIndex + i` begins; the end of the last one comes after them. */
  readonly #offsets: number[]
  #sizeBytes: number

  private constructor(
    file: string,
    firstIndex: number,
    handle: FileHandle,
    offsets: number[],
    sizeBytes: number,
  ) {
    this.file = file
    this.firstIndex = firstIndex
    this.#handle = handle
    this.#offsets = offsets
    this.#sizeBytes = sizeBytes
  }

  /** The caller syncs the directory. */
  static async create(directory: string, firstIndex: number, openFile: OpenFile = open): Promise<LogSegment> {
    const file = path.join(directory, segmentName(firstIndex))
    const handle = await openFile(file, 'ax', 0o600)
    try {
      await handle.appendFile(MAGIC)
    } catch (error) {
      await handle.close()
      await unlink(file)
      throw error
    }
    return new LogSegment(file, firstIndex, handle, [], MAGIC.byteLength)
  }

  /**
   * Reads a segment back. A record that was torn by a crash may end the last segment: it is cut off. Anything else
   * that does not fit was durable once, so it is LOG_CORRUPT.
   * @param last no segment with entries comes after this one
   */
  static async load(
    directory: string,
    firstIndex: number,
    last: boolean,
    openFile: OpenFile = open,
  ): Promise<{ segment: LogSegment; entries: RaftEntry[] }> {
    const file = path.join(directory, segmentName(firstIndex))
    const bytes = await readFile(file)
    const entries: RaftEntry[] = []
    const offsets: number[] = []
    let offset = bytes.subarray(0, MAGIC.byteLength).equals(MAGIC) ? MAGIC.byteLength : 0
    while (offset > 0 && offset < bytes.byteLength) {
      const record = recordAt(bytes, offset)
      if (record === undefined) break
      const entry = decodeRecord(file, offset, record)
      if (entry.index !== firstIndex + entries.length) {
        throw corrupt(
          file,
          offset,
          `entry ${entry.index} stands where ${firstIndex + entries.length} belongs`,
        )
      }
      offsets.push(offset)
      entries.push(entry)
      offset += record.byteLength
    }
    const handle = await openFile(file, 'a', 0o600)
    try {
      if (offset < bytes.byteLength || offset === 0) {
        const expected = firstIndex + entries.length
        if (!last)
          throw corrupt(file, offset, `entry ${expected} is damaged, and entries follow in later files`)
        if (hasRecordAfter(bytes, offset, expected)) {
          throw corrupt(file, offset, `entry ${expected} is damaged, and whole entries follow it`)
        }
        await handle.truncate(offset)
        if (offset === 0) {
          await handle.appendFile(MAGIC)
          offset = MAGIC.byteLength
        }
        await handle.datasync()
      }
    } catch (error) {
      await handle.close()
      throw error
    }
    return { segment: new LogSegment(file, firstIndex, handle, offsets, offset), entries }
  }

  get lastIndex(): number {
    return this.firstIndex + this.#offsets.length - 1
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Not durable before `sync`. When it fails, nothing was appended. */
  async append(records: readonly Buffer[]): Promise<void> {
    if (records.length === 0) return
    try {
      await this.#handle.appendFile(records.length === 1 ? records[0]! : Buffer.concat(records))
    } catch (error) {
      // A part of it may be there. Nothing relies on it yet, so it may go.
      await this.#handle.truncate(this.#sizeBytes)
      throw error
    }
    for (const record of records) {
      this.#offsets.push(this.#sizeBytes)
      this.#sizeBytes += record.byteLength
    }
  }

  async sync(): Promise<void> {
    await this.#handle.datasync()
  }

  /** Cuts off this entry and all after it, durably. */
  async truncateFrom(index: number): Promise<void> {
    const at = Math.max(0, index - this.firstIndex)
    this.#sizeBytes = this.#offsets[at] ?? this.#sizeBytes
    this.#offsets.length = Math.min(this.#offsets.length, at)
    await this.#handle.truncate(this.#sizeBytes)
    await this.#handle.datasync()
  }

  /** The caller syncs the directory. */
  async remove(): Promise<void> {
    await this.#handle.close()
    await unlink(this.file)
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }
}

export function corrupt(file: string, offset: number, reason: string): ShoalError<'LOG_CORRUPT'> {
  return new ShoalError(
    'LOG_CORRUPT',
    { file, offset, reason },
    `${file} is damaged at byte ${offset}: ${reason}. This peer must not vote with it.`,
  )
}
