import { DatasetActions, type ActionOptions } from './dataset-actions.ts'
import type { CsvSaveOptions } from './engine/csv-text.ts'
import type { SaveCodec } from './engine/file-writers.ts'
import type { ParquetSaveOptions } from './engine/parquet-bytes.ts'
import { freeze } from './freeze.ts'
import type { OutputPart } from './job-runner.ts'
import { builtin, type LineageAction, type LineageFn } from './lineage.ts'
import { steps } from './operators/builders.ts'
import { foldInOrder, resultPartitions } from './requester.ts'

export interface SaveOptions extends ActionOptions {
  /** What is there goes to the trash in the moment when the new one appears. @default false: ALREADY_EXISTS before anything runs */
  overwrite?: boolean
}

export interface PackedSaveOptions extends SaveOptions {
  /** Compresses each part file, and names it `….gz` or `….zst`. Readers tell by the content. @default not compressed */
  codec?: SaveCodec
}

/** How part files are made, and how the mesh cuts them. */
interface Sink {
  action: 'saveText' | { bytes: LineageFn; format: 'lines' | 'csv' | 'binary' }
  suffix: string
}

/**
 * Actions that write a mesh directory: one part file (`part-00000…`) for each partition and an empty `_SUCCESS`. All of it appears at
 * once when the job is done, and nothing of it when the job fails, whoever dies meanwhile.
 * All reject with ALREADY_EXISTS before anything runs, unless asked to overwrite.
 */
export abstract class DatasetSinks<T> extends DatasetActions<T> {
  /** `String(element)` and a newline for each element. */
  async saveAsTextFile(path: string, options: PackedSaveOptions = {}): Promise<void> {
    const { codec } = options
    const action =
      codec === undefined
        ? 'saveText'
        : ({ bytes: builtin('textBytes', [], [codec]), format: 'binary' } as const)
    await this.#save('saveAsTextFile', path, { action, suffix: ending('', codec) }, options)
  }

  /** What objectFile reads: every value that can be collected, Date, Map, Set, BigInt and typed arrays too. */
  async saveAsObjectFile(path: string, options: PackedSaveOptions = {}): Promise<void> {
    const bytes = builtin('objectBytes', [], [options.codec ?? null])
    const action = { bytes, format: 'binary' } as const
    await this.#save('saveAsObjectFile', path, { action, suffix: ending('', options.codec) }, options)
  }

  /** `JSON.stringify(element)` and a newline for each element. */
  async saveAsJsonLines(path: string, options: PackedSaveOptions = {}): Promise<void> {
    const { codec } = options
    const bytes = builtin('jsonBytes', [], [codec ?? null])
    const action = { bytes, format: codec === undefined ? 'lines' : 'binary' } as const
    await this.#save('saveAsJsonLines', path, { action, suffix: ending('.jsonl', codec) }, options)
  }

  /** Rows that are arrays or objects (their values by column), as RFC 4180 has it. */
  async saveAsCsv(path: string, options: PackedSaveOptions & CsvSaveOptions = {}): Promise<void> {
    const { codec, header, columns, delimiter, quote } = options
    const csv: CsvSaveOptions = {
      ...(header !== undefined && { header }),
      ...(columns !== undefined && { columns: [...columns] }),
      ...(delimiter !== undefined && { delimiter }),
      ...(quote !== undefined && { quote }),
    }
    const bytes = builtin('csvBytes', [], [csv, codec ?? null])
    const action = { bytes, format: codec === undefined ? 'csv' : 'binary' } as const
    await this.#save('saveAsCsv', path, { action, suffix: ending('.csv', codec) }, options)
  }

  /** Rows that are objects, by column; columns may be empty (null) in each row. */
  async saveAsParquet(path: string, options: SaveOptions & ParquetSaveOptions = {}): Promise<void> {
    const { columns, codec, rowGroupRows } = options
    const parquet: ParquetSaveOptions = {
      ...(columns !== undefined && { columns: { ...columns } }),
      ...(codec !== undefined && { codec }),
      ...(rowGroupRows !== undefined && { rowGroupRows }),
    }
    const action = { bytes: builtin('parquetBytes', [], [parquet]), format: 'binary' } as const
    await this.#save('saveAsParquet', path, { action, suffix: '.parquet' }, options)
  }

  async #save(name: string, path: string, { action, suffix }: Sink, options: SaveOptions): Promise<void> {
    const { overwrite = false, signal, tags } = options
    const { files, runner } = this.environment
    const labels = runner.labels(tags)
    if (!overwrite) await files.checkOutput(path, { signal })
    const parts: OutputPart[] = []
    using _held = files.holdOutput?.(() => parts)
    const save: LineageAction =
      action === 'saveText' ? { kind: action, path } : { kind: 'saveBytes', path, format: action.format }
    const target =
      action === 'saveText' ? this.lineage : steps(this.lineage, name, [{ op: 'stream', fn: action.bytes }])
    const plan = { ...(await freeze(target, save, this.environment, { signal, labels })), labels }
    await foldInOrder(this.partials(plan, name, options), resultPartitions(plan), rows => {
      for (const row of rows) parts.push(row as OutputPart)
    })
    await files.commitOutput(path, parts, { signal, suffix, overwrite })
  }
}

function ending(format: string, codec: SaveCodec | undefined): string {
  return format + (codec === undefined ? '' : codec === 'gzip' ? '.gz' : '.zst')
}
