import { decoded } from '../../base/decoded.ts'
import { decodeBatches } from '../codec/index.ts'
import { HEADER_BYTES, MAGIC } from '../codec/batch-format.ts'
import { csvReader, type CsvOptions } from './csv-reader.ts'
import { badContent, type FileInput, type FileReader } from './file-input.ts'
import { parquetReader, type ParquetOptions } from './parquet-reader.ts'
import type { BuiltinMaker } from './shared-builtins.ts'

/** Builtins that read files of some format: functions over a range of a file (file-input.ts), see `files` in plan.ts. */
export const FILE_READERS: Record<string, BuiltinMaker> = {
  /** [path, text] of the whole file, without its compression. */
  readWholeText: (): FileReader =>
    async function* (input) {
      const text = new TextDecoder()
      let whole = ''
      for await (const chunk of decoded(input.path, input.bytes(input.start, input.end))) {
        whole += text.decode(chunk, { stream: true })
        input.hold(2 * whole.length)
      }
      yield [[input.path, whole + text.decode()]]
    },
  /** [path, bytes] of the whole file, as they are stored. */
  readWholeBytes: (): FileReader =>
    async function* (input) {
      yield [[input.path, await input.gather(input.start, input.end)]]
    },
  readRecords:
    (recordBytes: number): FileReader =>
    input =>
      fixedRecords(input, recordBytes),
  readObjects: (): FileReader => objects,
  readCsv: (options: CsvOptions): FileReader => csvReader(options),
  /** flatMap over lines: empty ones are no elements. */
  jsonOfLine: () => (line: string) => (line.trim() === '' ? [] : [JSON.parse(line)]),
  readParquet: (options: ParquetOptions): FileReader => parquetReader(options),
}

async function* fixedRecords(
  input: FileInput,
  recordBytes: number,
): AsyncGenerator<readonly unknown[], void, undefined> {
  const { path, sizeBytes } = input
  let rest: Uint8Array = new Uint8Array(0)
  const isWhole = input.start === 0 && input.end === sizeBytes
  const bytes = input.bytes(input.start, input.end)
  for await (const chunk of isWhole ? decoded(path, bytes) : bytes) {
    const all = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const records: Uint8Array[] = []
    let at = 0
    for (; at + recordBytes <= all.length; at += recordBytes) {
      records.push(new Uint8Array(all.subarray(at, at + recordBytes)))
    }
    rest = new Uint8Array(all.subarray(at))
    yield records
  }
  if (rest.length > 0) {
    throw badContent(path, `${rest.length} bytes are left at its end after records of ${recordBytes} bytes`)
  }
}

/** Batches of the row codec, one after the other. */
async function* objects(input: FileInput): AsyncGenerator<readonly unknown[], void, undefined> {
  const { path } = input
  let held: Uint8Array = new Uint8Array(0)
  for await (const chunk of decoded(path, input.bytes(input.start, input.end))) {
    held = held.length === 0 ? new Uint8Array(chunk) : Buffer.concat([held, chunk])
    let at = 0
    while (held.length - at >= HEADER_BYTES) {
      const length = lengthOf(held.subarray(at), path)
      if (held.length - at < length) break
      // A copy, for columns of numbers are views that must stand at multiples of eight.
      for (const rows of decodeBatches(new Uint8Array(held.subarray(at, at + length)))) yield Array.from(rows)
      at += length
    }
    held = held.subarray(at)
    input.hold(held.length)
  }
  if (held.length > 0) throw badContent(path, 'it ends in the middle of a batch of objects')
}

function lengthOf(batch: Uint8Array, path: string): number {
  const view = new DataView(batch.buffer, batch.byteOffset, HEADER_BYTES)
  if (view.getUint16(0, true) !== MAGIC) throw badContent(path, 'it was not written by saveAsObjectFile()')
  return view.getUint32(4, true)
}
