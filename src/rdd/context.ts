import type { Accumulator, AccumulatorParam } from './accumulator.ts'
import type { Broadcast } from './broadcast.ts'
import type { AbortOptions } from '../base/deadline.ts'
import { encodeRows } from './codec/index.ts'
import { invalid, origin, partitionCount, type Pair, type Row } from './dataset.ts'
import { ClassRegistry } from './class-registry.ts'
import type { CsvOptions } from './engine/csv-reader.ts'
import type { ParquetOptions } from './engine/parquet-reader.ts'
import type { DatasetEnvironment } from './environment.ts'
import type { Detacher } from './detached-job.ts'
import type { FileLayout } from './file-layout.ts'
import { JobGroups } from './job-groups.ts'
import type { FileResolver, JobRunner } from './job-runner.ts'
import { builtin, type Lineage, type LineageFn } from './lineage.ts'
import { steps } from './operators/builders.ts'
import { RDD } from './rdd.ts'
import { streamed } from './stream-source.ts'
import { isParam, noAccumulator, SharedVariables } from './shared-variables.ts'

export interface DatasetOptions {
  runner: JobRunner
  files: FileResolver
  /** Takes on detached jobs. @default none: they are refused */
  detacher?: Detacher
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
  readonly #variables: SharedVariables

  constructor(options: DatasetOptions) {
    const {
      runner,
      files,
      detacher,
      defaultPartitions = 8,
      maxClosureBytes,
      globals,
      onWarning = warn,
    } = options
    this.#variables = new SharedVariables({
      globals,
      drop: (ref, generation, isDestroyed) => runner.dropBroadcast?.(ref, generation, isDestroyed),
    })
    runner.share?.(this.#variables)
    const classes = new ClassRegistry()
    this.#environment = {
      context: this,
      runner: new JobGroups(runner, this.#variables),
      files,
      detacher,
      persisted: new Map(),
      checkpoints: new Set(),
      defaultPartitions: partitionCount('defaultPartitions', defaultPartitions),
      classes,
      capture: {
        classes: classes.ids,
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

  /**
   * The elements of a stream, an async iterable or any other, which is read to its end here and now, once: it may be larger than
   * memory, for it goes into files of the mesh that last as long as this session. It is asked for no more while these are stored.
   * Partitions are of about as many elements, in order.
   * @throws what the source throws; the signal's reason, then the source is closed; VALUE_REFUSED for what cannot travel
   */
  async fromAsync<T extends Row>(
    source: AsyncIterable<T> | Iterable<T>,
    numSlices?: number,
    options: AbortOptions = {},
  ): Promise<RDD<T>> {
    const label = 'fromAsync'
    const slices = this.#partitions(label, numSlices)
    const made = origin(label)
    const read = await streamed(source, slices, this.#environment.files, options)
    if ('rows' in read) return this.parallelize(read.rows, slices)
    const { files, parts } = read
    const marks = { ...made.marks, files }
    const layout = { by: 'range', parts } as const
    const objects = builtin('readObjects')
    return new RDD(this.#environment, { op: 'files', ...made, marks, paths: [label], layout, read: objects })
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
   * Lines of mesh files, in order, without their ends. A path that begins with `file:` (`file:///var/log/*.log`, `file:a.txt`)
   * is of this machine: such files are stored in the mesh until this session ends. A path may be a directory (its files, but for `_…` and `.…`), a pattern
   * (`*`, `?`, `[…]`, `{…}`), a list with commas, or an array. Files in gzip or zstd are read as one partition each. The files are
   * looked up when the first action runs; later actions read the same version. @param minPartitions Cuts smaller than blocks until there are so many.
   */
  textFile(path: string | readonly string[], minPartitions?: number): RDD<string> {
    return new RDD(this.#environment, this.#lines('textFile', path, minPartitions))
  }

  /**
   * Pairs [path, text] of whole files, small ones together in one partition.
   * @param minPartitions Where there are so many files. @default defaultPartitions
   */
  wholeTextFiles(path: string | readonly string[], minPartitions?: number): RDD<Pair<string, string>> {
    return this.#together('wholeTextFiles', path, minPartitions, 'readWholeText')
  }

  /** Pairs [path, bytes], as they are stored. */
  binaryFiles(path: string | readonly string[], minPartitions?: number): RDD<Pair<string, Uint8Array>> {
    return this.#together('binaryFiles', path, minPartitions, 'readWholeBytes')
  }

  /** Records of `recordLength` bytes each. @throws BAD_CONTENT (as the job's error) when a file does not end with a whole one */
  binaryRecords(path: string | readonly string[], recordLength: number): RDD<Uint8Array> {
    if (!Number.isSafeInteger(recordLength) || recordLength < 1) {
      throw invalid(`binaryRecords(): a record has a whole number of bytes from 1 on, not ${recordLength}`)
    }
    const layout = { by: 'record', bytes: recordLength } as const
    return this.#files('binaryRecords', path, layout, builtin('readRecords', [], [recordLength]))
  }

  /** What saveAsObjectFile wrote: one partition a file. */
  objectFile<T = unknown>(path: string | readonly string[]): RDD<T> {
    return this.#files('objectFile', path, { by: 'file' }, builtin('readObjects'))
  }

  /**
   * Records of CSV files (RFC 4180): objects by column where the columns have names (`header`, `columns`), else arrays of strings.
   * Cut where the stored file is, so records are read in parallel. @throws BAD_CONTENT naming the file, for what is no CSV
   */
  csv(
    path: string | readonly string[],
    options: CsvOptions & ({ header: true } | { columns: readonly string[] }),
  ): RDD<Record<string, string>>
  csv(path: string | readonly string[], options?: CsvOptions): RDD<string[]>
  csv(path: string | readonly string[], options: CsvOptions = {}): RDD<string[] | Record<string, string>> {
    for (const [name, character] of [
      ['delimiter', options.delimiter] as const,
      ['quote', options.quote] as const,
    ]) {
      if (character !== undefined && (character.length !== 1 || character.charCodeAt(0) > 0x7f)) {
        throw invalid(`csv(): ${name} is one ASCII character, not ${JSON.stringify(character)}`)
      }
    }
    const cuts = options.multiLine === true ? (['csv'] as const) : (['csv', 'lines'] as const)
    return this.#files('csv', path, { by: 'block', cuts }, builtin('readCsv', [], [{ ...options }]))
  }

  /** The values of files with JSON on each line; empty lines are none. */
  jsonLines<T = unknown>(path: string | readonly string[], minPartitions?: number): RDD<T> {
    const lines = this.#lines('jsonLines', path, minPartitions)
    const parse = { op: 'flatMap', fn: builtin('jsonOfLine') } as const
    return new RDD(this.#environment, steps(lines, 'jsonLines', [parse]))
  }

  /**
   * Rows of Parquet files as objects by column. A stored partition of the file is a partition: of the row groups that begin in it,
   * which may be none. Integers of 64 bits are bigints.
   */
  parquet<T = Record<string, unknown>>(
    path: string | readonly string[],
    options: ParquetOptions = {},
  ): RDD<T> {
    const layout = { by: 'block', cuts: ['binary', 'lines', 'csv'] } as const
    return this.#files('parquet', path, layout, builtin('readParquet', [], [{ ...options }]))
  }

  /**
   * A read-only value that each peer gets once, from other peers, rather than with every closure; functions read it as
   * `b.value`. Anything that a function can capture, up to 1 GiB, as it is now. Sent when the first job uses it.
   * @throws VALUE_REFUSED, CLOSURE_REFUSED for what cannot travel
   */
  broadcast<T>(value: T): Broadcast<T> {
    return this.#variables.makeBroadcast(value)
  }

  /**
   * A total that tasks add to with `add(term)` and that is read here, as `value`, when the action has resolved: a sum of
   * numbers or bigints, a list of what was added, or what `{ zero, add, merge }` makes. Each task counts once.
   */
  accumulator(initial: number): Accumulator<number>
  accumulator(initial: bigint): Accumulator<bigint>
  accumulator<T>(initial: readonly T[]): Accumulator<T[], T>
  accumulator<V, T = V>(param: AccumulatorParam<V, T>): Accumulator<V, T>
  accumulator(given: unknown): unknown {
    if (typeof given === 'number' || typeof given === 'bigint') return this.#variables.makeSum(given)
    if (Array.isArray(given)) return this.#variables.makeList(given)
    if (isParam(given)) return this.#variables.makeCustom(given)
    throw noAccumulator(given)
  }

  union<T>(datasets: readonly RDD<T>[]): RDD<T> {
    const [first, ...others] = datasets
    return first === undefined ? this.emptyRDD<T>() : first.union(...others)
  }

  /** RDDs that are to be kept, by their id: those persisted and not unpersisted. */
  getPersistentRDDs(): Map<number, RDD<unknown>> {
    return new Map(this.#environment.persisted)
  }

  /** Directories in `/.checkpoints` that checkpoints made and that are to go when this context ends. */
  protected ownCheckpoints(): string[] {
    return [...this.#environment.checkpoints]
  }

  /**
   * Declares classes: their instances stay instances in rows that are shuffled, spilled, kept and collected, where those of other
   * classes arrive as plain objects; and all functions of a job mean the same class, so that `instanceof` holds everywhere. An
   * instance is made again of its own enumerable fields; no constructor runs. Of classes that use each other in their methods, declare
   * first the one that is used.
   * @throws CLOSURE_REFUSED for classes with #private state, for kinds of Map, Array, Error…, and for what cannot be captured
   */
  registerClass(...classes: (abstract new (...args: never[]) => object)[]): void {
    for (const type of classes) this.#environment.classes.add(type, this.#environment.capture)
  }

  /** Actions called from here on belong to this group, until another is set; without an id to none. */
  setJobGroup(groupId?: string, description?: string): void {
    this.#environment.runner.set(groupId, description)
  }

  /** Actions called from here on have this tag, beside others. One action alone is tagged by its option `tags`. */
  addJobTag(tag: string): void {
    this.#environment.runner.tags.add(tag)
  }

  removeJobTag(tag: string): void {
    this.#environment.runner.tags.delete(tag)
  }

  getJobTags(): Set<string> {
    return new Set(this.#environment.runner.tags)
  }

  clearJobTags(): void {
    this.#environment.runner.tags.clear()
  }

  /** Cancels the jobs of this context that are under way in the group: their actions reject with CANCELLED. How many they were. */
  cancelJobGroup(groupId: string): number {
    return this.#environment.runner.cancel(`group ${groupId}`, ({ group }) => group === groupId)
  }

  cancelJobsWithTag(tag: string): number {
    return this.#environment.runner.cancel(`tag ${tag}`, ({ tags }) => tags.includes(tag))
  }

  /** Cancels all jobs of this context that are under way; those of others go on. */
  cancelAllJobs(): number {
    return this.#environment.runner.cancel('this context')
  }

  #lines(label: string, path: string | readonly string[], minPartitions: number | undefined): Lineage {
    const least = minPartitions ?? Math.min(this.#environment.defaultPartitions, TEXT_PARTITIONS_MIN)
    const paths = pathList(label, path)
    return { op: 'textFile', ...origin(label), paths, minPartitions: partitionCount(label, least) }
  }

  #together<T>(
    label: string,
    path: string | readonly string[],
    minPartitions: number | undefined,
    reader: string,
  ): RDD<T> {
    const layout = { by: 'bytes', partitions: this.#partitions(label, minPartitions) } as const
    return this.#files(label, path, layout, builtin(reader))
  }

  #files<T>(label: string, path: string | readonly string[], layout: FileLayout, read: LineageFn): RDD<T> {
    const paths = pathList(label, path)
    return new RDD(this.#environment, { op: 'files', ...origin(label), paths, layout, read })
  }

  #partitions(operator: string, count: number | undefined): number {
    return partitionCount(operator, count ?? this.#environment.defaultPartitions)
  }
}

export function createDatasets(options: DatasetOptions): DatasetContext {
  return new DatasetContext(options)
}

/** A list with commas is several paths; those in braces and behind a backslash are not between two of them. */
function pathList(operator: string, path: string | readonly string[]): string[] {
  const paths =
    typeof path === 'string' ? (path.match(/(?:\\[^]|\{(?:\\[^]|[^}\\])*\}|[^,\\])+/g) ?? []) : [...path]
  if (paths.length === 0) throw invalid(`${operator}() needs at least one path`)
  return paths
}

function sliceStart(slice: number, length: number, slices: number): number {
  return Math.floor((slice * length) / slices)
}

function warn(text: string): void {
  process.emitWarning(text, 'ShoalWarning')
}
