import type { CsvSaveOptions } from './engine/csv-text.ts'
import type { SaveCodec } from './engine/file-writers.ts'
import type { ParquetSaveOptions } from './engine/parquet-bytes.ts'
import { builtin, type Lineage, type LineageAction, type LineageFn } from './lineage.ts'
import { steps } from './operators/builders.ts'

/** How part files are made of elements, and how the mesh cuts them. */
export interface Sink {
  action: 'saveText' | { bytes: LineageFn; format: 'lines' | 'csv' | 'binary' }
  /** Appended to the name of each part file. */
  suffix: string
}

export interface PackedOptions {
  /** Compresses each part file, and names it `….gz` or `….zst`. Readers tell by the content. @default not compressed */
  codec?: SaveCodec
}

export function textSink({ codec }: PackedOptions = {}): Sink {
  const action =
    codec === undefined
      ? 'saveText'
      : ({ bytes: builtin('textBytes', [], [codec]), format: 'binary' } as const)
  return { action, suffix: ending('', codec) }
}

export function objectSink({ codec }: PackedOptions = {}): Sink {
  const action = { bytes: builtin('objectBytes', [], [codec ?? null]), format: 'binary' } as const
  return { action, suffix: ending('', codec) }
}

export function jsonLinesSink({ codec }: PackedOptions = {}): Sink {
  const bytes = builtin('jsonBytes', [], [codec ?? null])
  return {
    action: { bytes, format: codec === undefined ? 'lines' : 'binary' },
    suffix: ending('.jsonl', codec),
  }
}

export function csvSink(options: PackedOptions & CsvSaveOptions = {}): Sink {
  const { codec, header, columns, delimiter, quote } = options
  const csv: CsvSaveOptions = {
    ...(header !== undefined && { header }),
    ...(columns !== undefined && { columns: [...columns] }),
    ...(delimiter !== undefined && { delimiter }),
    ...(quote !== undefined && { quote }),
  }
  const bytes = builtin('csvBytes', [], [csv, codec ?? null])
  return { action: { bytes, format: codec === undefined ? 'csv' : 'binary' }, suffix: ending('.csv', codec) }
}

export function parquetSink({ columns, codec, rowGroupRows }: ParquetSaveOptions = {}): Sink {
  const parquet: ParquetSaveOptions = {
    ...(columns !== undefined && { columns: { ...columns } }),
    ...(codec !== undefined && { codec }),
    ...(rowGroupRows !== undefined && { rowGroupRows }),
  }
  return { action: { bytes: builtin('parquetBytes', [], [parquet]), format: 'binary' }, suffix: '.parquet' }
}

/** What a job computes that saves a lineage: its last node, and its action. */
export function savedLineage(
  lineage: Lineage,
  name: string,
  path: string,
  { action }: Sink,
  /** Copies wanted of each part. @default the mesh's */
  replication?: number,
): { target: Lineage; action: LineageAction } {
  const copies = replication === undefined ? {} : { replication }
  if (action === 'saveText') return { target: lineage, action: { kind: action, path, ...copies } }
  const target = steps(lineage, name, [{ op: 'stream', fn: action.bytes }])
  return { target, action: { kind: 'saveBytes', path, format: action.format, ...copies } }
}

function ending(format: string, codec: SaveCodec | undefined): string {
  return format + (codec === undefined ? '' : codec === 'gzip' ? '.gz' : '.zst')
}
