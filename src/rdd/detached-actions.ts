import { ShoalError } from '../base/errors.ts'
import { encodeRows } from './codec/index.ts'
import { DETACHED } from './config.ts'
import { invalid, origin } from './dataset.ts'
import type { DatasetEnvironment } from './environment.ts'
import type { DetachedFold, DetachedJob, DetachedOutput, DetachOptions } from './detached-job.ts'
import type { CsvSaveOptions } from './engine/csv-text.ts'
import type { ParquetSaveOptions } from './engine/parquet-bytes.ts'
import { freeze } from './freeze.ts'
import { builtin, type Lineage, type LineageFn, type UserFunction } from './lineage.ts'
import type { Plan, PlanNode } from './plan.ts'
import { steps } from './operators/builders.ts'
import { foldedPartitions, mergedToOne, reducedPartitions } from './operators/trees.ts'
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

export interface DetachedSaveOptions {
  /** What is there goes to the trash in the moment when the new one appears. @default false: ALREADY_EXISTS */
  overwrite?: boolean
}

/** Levels in which partial results are merged on the peers; there is no requester to do it. */
const MERGE_DEPTH = 2

/**
 * The actions that can do without a client. Each resolves when the mesh has taken the job on; the jobs that a plan needs first
 * (samples for sorts, counts for indexes) have run by then. What a function captures is read when the action is called.
 * All reject with NO_QUORUM, CLOSURE_REFUSED, PLAN_INVALID; those that save with ALREADY_EXISTS, too.
 */
export class DetachedActions<T> {
  readonly #environment: DatasetEnvironment
  readonly #lineage: Lineage
  readonly #fn: (fn: UserFunction, name: string) => LineageFn
  readonly #options: DetachOptions

  constructor(
    environment: DatasetEnvironment,
    lineage: Lineage,
    fn: (fn: UserFunction, name: string) => LineageFn,
    options: DetachOptions,
  ) {
    const { ttlMs = DETACHED.ttlMs } = options
    if (!Number.isSafeInteger(ttlMs) || ttlMs < 1 || ttlMs > DETACHED.ttlMaxMs)
      throw invalid(`detached(): ttlMs is a whole number from 1 to ${DETACHED.ttlMaxMs}, not ${ttlMs}`)
    this.#environment = environment
    this.#lineage = lineage
    this.#fn = fn
    this.#options = { ...options, ttlMs }
  }

  saveAsTextFile(
    path: string,
    options: DetachedSaveOptions & PackedOptions = {},
  ): Promise<DetachedJob<void>> {
    return this.#save('saveAsTextFile', path, textSink(options), options)
  }

  saveAsObjectFile(
    path: string,
    options: DetachedSaveOptions & PackedOptions = {},
  ): Promise<DetachedJob<void>> {
    return this.#save('saveAsObjectFile', path, objectSink(options), options)
  }

  saveAsJsonLines(
    path: string,
    options: DetachedSaveOptions & PackedOptions = {},
  ): Promise<DetachedJob<void>> {
    return this.#save('saveAsJsonLines', path, jsonLinesSink(options), options)
  }

  saveAsCsv(
    path: string,
    options: DetachedSaveOptions & PackedOptions & CsvSaveOptions = {},
  ): Promise<DetachedJob<void>> {
    return this.#save('saveAsCsv', path, csvSink(options), options)
  }

  saveAsParquet(
    path: string,
    options: DetachedSaveOptions & ParquetSaveOptions = {},
  ): Promise<DetachedJob<void>> {
    return this.#save('saveAsParquet', path, parquetSink(options), options)
  }

  /** All elements, in partition order. */
  collect(): Promise<DetachedJob<T[]>> {
    return this.#keep('collect', this.#lineage, 'rows')
  }

  count(): Promise<DetachedJob<number>> {
    const counts = steps(this.#lineage, 'count', [{ op: 'mapPartitions', fn: builtin('countElements') }])
    return this.#keep('count', counts, 'sum')
  }

  /** `fn` should be associative. The result, when it is asked for, rejects with EMPTY_RDD if there was nothing. */
  async reduce(fn: (left: T, right: T) => T): Promise<DetachedJob<T>> {
    const shipped = this.#fn(fn, 'reduce')
    const rows = reducedPartitions(this.#lineage, 'reduce', shipped)
    return await this.#keep('reduce', await this.#merged(rows, 'reduce', shipped), 'row')
  }

  /** `zero` is copied for each partition: it must be neutral. */
  fold(zero: T, fn: (left: T, right: T) => T): Promise<DetachedJob<T>> {
    return this.#foldFrom(zero, 'fold', fn, fn)
  }

  /** `seqOp` folds elements into a copy of `zero` in each partition, `combOp` merges what comes of that, neighbours first. */
  aggregate<U>(
    zero: U,
    seqOp: (accumulated: U, element: T) => U,
    combOp: (left: U, right: U) => U,
  ): Promise<DetachedJob<U>> {
    return this.#foldFrom(zero, 'aggregate', seqOp, combOp)
  }

  async #foldFrom<U>(
    zero: U,
    name: string,
    seqOp: (accumulated: U, element: T) => U,
    combOp: (left: U, right: U) => U,
  ): Promise<DetachedJob<U>> {
    const rows = foldedPartitions(this.#lineage, name, zero, this.#fn(seqOp, name))
    const merged = await this.#merged(rows, name, this.#fn(combOp, name))
    // Of no partition at all there is no row: then it is the zero.
    const zeros: Lineage = { op: 'parallelize', ...origin(name), slices: [encodeRows([zero])] }
    return await this.#keep(name, merged ?? zeros, 'row')
  }

  /** Undefined when there is no partition. */
  async #merged(rows: Lineage, name: string, merge: LineageFn): Promise<Lineage | undefined> {
    const { signal } = this.#options
    const sketch = await freeze(rows, { kind: 'collect' }, this.#environment, { signal, sample: false })
    const partitions = sketch.nodes.at(-1)!.partitions
    return partitions === 0 ? undefined : mergedToOne(rows, name, merge, partitions, MERGE_DEPTH)
  }

  async #keep<R>(name: string, lineage: Lineage | undefined, fold: DetachedFold): Promise<DetachedJob<R>> {
    const { ttlMs = DETACHED.ttlMs } = this.#options
    const nothing: Lineage = { op: 'parallelize', ...origin(name), slices: [] }
    return await this.#detach<R>(name, lineage ?? nothing, '', objectSink(), { kind: 'result', fold, ttlMs })
  }

  async #save(
    name: string,
    path: string,
    sink: Sink,
    { overwrite = false }: DetachedSaveOptions,
  ): Promise<DetachedJob<void>> {
    const { signal } = this.#options
    if (!overwrite) await this.#environment.files.checkOutput(path, { signal })
    return await this.#detach<void>(name, this.#lineage, path, sink, { kind: 'files', path, overwrite })
  }

  async #detach<R>(
    name: string,
    lineage: Lineage,
    path: string,
    sink: Sink,
    output: DetachedOutput,
  ): Promise<DetachedJob<R>> {
    const { detacher } = this.#environment
    if (detacher === undefined) {
      const what = 'a detached job outside a mesh'
      throw new ShoalError(
        'PLAN_INVALID',
        { reason: what },
        `${what}: there is nobody who would go on with it`,
      )
    }
    const { signal, name: given, taskTimeoutMs } = this.#options
    const { target, action } = savedLineage(lineage, name, path, sink)
    const plan = await freeze(target, action, this.#environment, { signal, taskTimeoutMs })
    needNoClient(plan)
    const partitions = plan.nodes.at(-1)!.partitions
    const terms = { partitions, suffix: sink.suffix, output }
    return await detacher.detach<R>(plan, terms, { signal, name: given ?? name })
  }
}

/** What belongs to the session of a client goes with it. */
function needNoClient({ nodes, broadcasts = [], accumulators = [] }: Plan): void {
  const what =
    broadcasts.length > 0
      ? 'a broadcast variable, which lives as long as its client: capture a plain variable, or read a file'
      : accumulators.length > 0
        ? 'an accumulator, whose total is with its client: count with an action'
        : nodes.some(readsOfSession)
          ? 'a local file, a stream or a checkpoint without a path, which are stored only as long as their client lives: put them into the mesh, with a path of your own'
          : undefined
  if (what === undefined) return
  throw new ShoalError('PLAN_INVALID', { reason: what }, `a detached job cannot use ${what}`)
}

function readsOfSession(node: PlanNode): boolean {
  if (node.op === 'kept') return true
  if (node.op === 'files')
    return node.files.some(({ path }) => OF_SESSION.test(path)) || OF_SESSION.test(node.path)
  return node.op === 'textFile' && OF_SESSION.test(node.path)
}

/** Paths of this machine, and those below which a client's own things are. */
const OF_SESSION = /(?:^|,)(?:file:|\/\.sessions\/|\/\.checkpoints\/)/
