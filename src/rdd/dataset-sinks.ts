import { DatasetActions, type ActionOptions } from './dataset-actions.ts'
import { DetachedActions } from './detached-actions.ts'
import type { DetachOptions } from './detached-job.ts'
import type { CsvSaveOptions } from './engine/csv-text.ts'
import type { ParquetSaveOptions } from './engine/parquet-bytes.ts'
import { freeze } from './freeze.ts'
import type { OutputPart } from './job-runner.ts'
import { foldInOrder, resultPartitions } from './requester.ts'
import {
  csvSink,
  jsonLinesSink,
  objectSink,
  parquetSink,
  savedLineage,
  textSink,
  type PackedOptions,
  type Sink,
} from './saved-lineage.ts'

export interface SaveOptions extends ActionOptions {
  /** What is there goes to the trash in the moment when the new one appears. @default false: ALREADY_EXISTS before anything runs */
  overwrite?: boolean
  /** Copies of what is written, 1–16. @default the mesh's, 3 */
  replication?: number
}

export interface PackedSaveOptions extends SaveOptions, PackedOptions {}

/**
 * Actions that write a mesh directory: one part file (`part-00000…`) for each partition and an empty `_SUCCESS`. All of it appears at
 * once when the job is done, and nothing of it when the job fails, whoever dies meanwhile.
 * All reject with ALREADY_EXISTS before anything runs, unless asked to overwrite.
 */
export abstract class DatasetSinks<T> extends DatasetActions<T> {
  /** `String(element)` and a newline for each element. */
  async saveAsTextFile(path: string, options: PackedSaveOptions = {}): Promise<void> {
    await this.#save('saveAsTextFile', path, textSink(options), options)
  }

  /** What objectFile reads: every value that can be collected, Date, Map, Set, BigInt and typed arrays too. */
  async saveAsObjectFile(path: string, options: PackedSaveOptions = {}): Promise<void> {
    await this.#save('saveAsObjectFile', path, objectSink(options), options)
  }

  /** `JSON.stringify(element)` and a newline for each element. */
  async saveAsJsonLines(path: string, options: PackedSaveOptions = {}): Promise<void> {
    await this.#save('saveAsJsonLines', path, jsonLinesSink(options), options)
  }

  /** Rows that are arrays or objects (their values by column), as RFC 4180 has it. */
  async saveAsCsv(path: string, options: PackedSaveOptions & CsvSaveOptions = {}): Promise<void> {
    await this.#save('saveAsCsv', path, csvSink(options), options)
  }

  /** Rows that are objects, by column; columns may be empty (null) in each row. */
  async saveAsParquet(path: string, options: SaveOptions & ParquetSaveOptions = {}): Promise<void> {
    await this.#save('saveAsParquet', path, parquetSink(options), options)
  }

  /**
   * Actions that need no client from the moment they resolve, with a handle: `await rdd.detached().saveAsTextFile('/out')`. Whoever
   * leads goes on with them, also after the whole mesh was down; partitions that are finished are never computed again.
   */
  detached(options: DetachOptions = {}): DetachedActions<T> {
    return new DetachedActions<T>(this.environment, this.lineage, (fn, name) => this.fn(fn, name), options)
  }

  async #save(name: string, path: string, sink: Sink, options: SaveOptions): Promise<void> {
    const { overwrite = false, signal, tags, taskTimeoutMs } = options
    const { files, runner } = this.environment
    const labels = runner.labels(tags)
    if (!overwrite) await files.checkOutput(path, { signal })
    const parts: OutputPart[] = []
    using _held = files.holdOutput?.(() => parts)
    const { target, action } = savedLineage(this.lineage, name, path, sink, options.replication)
    const plan = {
      ...(await freeze(target, action, this.environment, { signal, labels, taskTimeoutMs })),
      labels,
    }
    await foldInOrder(this.partials(plan, name, options), resultPartitions(plan), rows => {
      for (const row of rows) parts.push(row as OutputPart)
    })
    await files.commitOutput(path, parts, { signal, suffix: sink.suffix, overwrite })
  }
}
