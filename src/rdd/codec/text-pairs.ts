import { COLUMN, MAGIC, malformed, TEXT, VERSION } from './batch-format.ts'
import type { BatchReader } from './batch-reader.ts'
import { ByteWriter } from './byte-writer.ts'
import { batchesOf } from './row-decoder.ts'

/**
 * Pairs of ASCII strings as the bytes that they are encoded in: what sorts and copies text needs no strings. Byte order
 * is the order of such strings.
 */
export interface TextPairs {
  count: number
  /** One text after the other; key i ends at `keyEnds[i]`, and begins where the one before ends. */
  keys: Uint8Array
  keyEnds: Uint32Array
  values: Uint8Array
  valueEnds: Uint32Array
  /** Bytes of the batch that these are views of. */
  sizeBytes: number
}

/** Batch by batch: views of those that are pairs of ASCII strings, the others as they are. Throws BAD_MESSAGE. */
export function* textPairBatches(
  bytes: Uint8Array,
): Generator<{ texts: TextPairs } | { batch: Uint8Array }, void, undefined> {
  for (const { reader, rows, bytes: batch } of batchesOf(bytes)) {
    const texts = readTextPairs(reader, rows, batch.length)
    yield texts === undefined ? { batch } : { texts }
  }
}

function readTextPairs(reader: BatchReader, count: number, sizeBytes: number): TextPairs | undefined {
  if (count === 0 || reader.byte() !== COLUMN.tuple || reader.byte() !== 2) return undefined
  const keys = readTexts(reader, count)
  const values = keys && readTexts(reader, count)
  if (keys === undefined || values === undefined) return undefined
  return {
    count,
    keys: keys.text,
    keyEnds: keys.ends,
    values: values.text,
    valueEnds: values.ends,
    sizeBytes,
  }
}

function readTexts(reader: BatchReader, count: number): { text: Uint8Array; ends: Uint32Array } | undefined {
  if (reader.byte() !== COLUMN.string || reader.byte() !== TEXT.latin1) return undefined
  const width = reader.byte()
  const sizeBytes = reader.uint32()
  const lengths = reader.lengths(width, count)
  const ends = new Uint32Array(count)
  let end = 0
  for (let i = 0; i < count; i++) ends[i] = end += lengths[i]!
  if (end !== sizeBytes) throw malformed(`strings of ${end} units in a text of ${sizeBytes}`)
  return { text: reader.uint8Array(sizeBytes), ends }
}

/** Reused for every batch of the thread: encoding is synchronous. */
const writer = new ByteWriter(1 << 20)

/** One batch, the same as of the strings. At most 8192 rows. */
export function encodeTextPairs({ count, keys, keyEnds, values, valueEnds }: TextPairs): Uint8Array {
  writer.reset()
  writer.uint16(MAGIC)
  writer.byte(VERSION)
  writer.byte(0)
  writer.uint32(0)
  writer.uint32(count)
  writer.uint32(0)
  writer.byte(COLUMN.tuple)
  writer.byte(2)
  writeTexts(keys, keyEnds, count)
  writeTexts(values, valueEnds, count)
  writer.pad(8)
  writer.uint32At(SIZE_AT, writer.length)
  return writer.copy()
}

/** Of the size of the batch in its header. */
const SIZE_AT = 4

function writeTexts(text: Uint8Array, ends: Uint32Array, count: number): void {
  let longest = 0
  for (let i = 0, start = 0; i < count; i++) {
    const end = ends[i]!
    if (end - start > longest) longest = end - start
    start = end
  }
  const sizeBytes = ends[count - 1]!
  writer.byte(COLUMN.string)
  writer.byte(TEXT.latin1)
  const width = longest < 256 ? 1 : longest < 65536 ? 2 : 4
  writer.byte(width)
  writer.uint32(sizeBytes)
  const lengths =
    width === 1
      ? writer.uint8Array(count)
      : width === 2
        ? writer.uint16Array(count)
        : writer.uint32Array(count)
  for (let i = 0, start = 0; i < count; i++) {
    const end = ends[i]!
    lengths[i] = end - start
    start = end
  }
  writer.bytes(text.subarray(0, sizeBytes))
}
