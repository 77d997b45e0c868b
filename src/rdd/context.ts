import { encodeRows } from './codec/index.ts'
import { invalid, origin, partitionCount, type Row } from './dataset.ts'
import type { DatasetEnvironment } from './environment.ts'
import type { FileResolver, JobRunner } from './job-runner.ts'
import { RDD } from './rdd.ts'

export interface DatasetOptions {
  runner: JobRunner
  files: FileResolver
  /** Partitions of parallelize and range where the call names none: a constant, never who happens to be alive. @default 8 */
  defaultPartitions?: number
  /** Bytes of one captured closure before it is refused. @default 1 MiB */
  maxClosureBytes?: number
  /** Global object to look up free names of functions in: a REPL's context. */
  globals?: object
  /** Told of warnings about captured functions. @default process.emitWarning */
  onWarning?: (text: string) => void
}

/** Of a text file, at least, unless there are fewer default partitions: PySpark's figure; large files have more blocks. */
const TEXT_PARTITIONS_MIN = 2

/** Where datasets come from: PySpark's SparkContext, without the cluster. */
export class DatasetContext {
  readonly #environment: DatasetEnvironment

  constructor(options: DatasetOptions) {
    const { runner, files, defaultPartitions = 8, maxClosureBytes, globals, onWarning = warn } = options
    this.#environment = {
      runner,
      files,
      defaultPartitions: partitionCount('defaultPartitions', defaultPartitions),
      capture: {
        ...(maxClosureBytes !== undefined && { maxBytes: maxClosureBytes }),
        ...(globals !== undefined && { globals }),
      },
      onWarning,
    }
  }

  /**
   * A copy of local data in `numSlices` partitions; slice i is floor(i·n/s) … floor((i+1)·n/s).
   * @throws VALUE_REFUSED for what cannot travel, such as functions.
   */
  parallelize<T extends Row>(data: Iterable<T>, numSlices?: number): RDD<T> {
    const elements = Array.isArray(data) ? (data as readonly T[]) : [...data]
    const count = this.#partitions('parallelize', numSlices)
    const slices = Array.from({ length: count }, (_, i) =>
      encodeRows(
        elements.slice(sliceStart(i, elements.length, count), sliceStart(i + 1, elements.length, count)),
      ),
    )
    return new RDD(this.#environment, { op: 'parallelize', ...origin('parallelize'), slices })
  }

  emptyRDD<T = never>(): RDD<T> {
    return new RDD(this.#environment, { op: 'parallelize', ...origin('emptyRDD'), slices: [] })
  }

  /** Whole numbers from `start` up or down to, not including, `end`; `range(end)` counts from 0. */
  range(start: number, end?: number, step = 1, numSlices?: number): RDD<number> {
    const [from, to] = end === undefined ? [0, start] : [start, end]
    if (![from, to, step].every(Number.isSafeInteger) || step === 0) {
      throw invalid(`range(${from}, ${to}, ${step}) needs whole numbers and a step other than 0`)
    }
    const partitions = this.#partitions('range', numSlices)
    const count = Math.max(0, Math.ceil((to - from) / step))
    return new RDD(this.#environment, {
      op: 'range',
      ...origin('range'),
      start: from,
      step,
      count,
      partitions,
    })
  }

  /**
   * Lines of mesh files, in order, without their ends. The files are looked up when the first action runs; later
   * actions read the same version. @param minPartitions Cuts smaller than blocks until there are so many.
   */
  textFile(path: string | readonly string[], minPartitions?: number): RDD<string> {
    const paths = typeof path === 'string' ? [path] : [...path]
    if (paths.length === 0) throw invalid('textFile() needs at least one path')
    const least = minPartitions ?? Math.min(this.#environment.defaultPartitions, TEXT_PARTITIONS_MIN)
    return new RDD(this.#environment, {
      op: 'textFile',
      ...origin('textFile'),
      paths,
      minPartitions: partitionCount('textFile', least),
    })
  }

  union<T>(datasets: readonly RDD<T>[]): RDD<T> {
    const [first, ...others] = datasets
    return first === undefined ? this.emptyRDD<T>() : first.union(...others)
  }

  #partitions(operator: string, count: number | undefined): number {
    return partitionCount(operator, count ?? this.#environment.defaultPartitions)
  }
}

export function createDatasets(options: DatasetOptions): DatasetContext {
  return new DatasetContext(options)
}

function sliceStart(slice: number, length: number, slices: number): number {
  return Math.floor((slice * length) / slices)
}

function warn(text: string): void {
  process.emitWarning(text, 'ShoalWarning')
}
