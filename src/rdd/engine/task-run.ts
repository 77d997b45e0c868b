import { decodeRows } from '../codec/index.ts'
import type { FunctionRef, NodeId } from '../plan.ts'
import type { SpillFile, TaskOutcome } from '../task.ts'
import { AggregationTable } from './aggregation-table.ts'
import { BranchRunner } from './branch-runner.ts'
import { branchOf, invalid, nodeOf, operatorName, type Branch } from './branch.ts'
import { mapSideSink } from './combine-sinks.ts'
import type { SinkCode } from './fused-loop.ts'
import { isFull, MapOutput } from './map-output.ts'
import type { ResolvedStep } from './pipeline.ts'
import { ResultRows } from './result-rows.ts'
import {
  bucketSink,
  countSink,
  cutText,
  foldSink,
  forEachSink,
  takeSink,
  bytesSink,
  textSink,
  type BucketState,
  type CountState,
  type FoldState,
  type TakeState,
  type TextState,
} from './sinks.ts'
import type { TaskContext } from './task-context.ts'

/** One attempt: finds the way of its partition through the plan, runs it, and makes its outcome. */
export class TaskRun {
  readonly #task: TaskContext
  readonly #runner: BranchRunner

  constructor(task: TaskContext) {
    this.#task = task
    this.#runner = new BranchRunner(task)
  }

  async run(): Promise<TaskOutcome> {
    const { root, sink, id } = this.#task.input
    const branch = branchOf(this.#task.plan, root, id.partition)
    return sink.kind === 'shuffle' ? this.#mapOutput(branch, sink.node) : this.#result(branch)
  }

  async #result(branch: Branch): Promise<TaskOutcome> {
    const result = new ResultRows(this.#task.holding('the result'), () => this.#task.ports.openSpill('kept'))
    try {
      await this.#resultRows(branch, result)
      const { rows, sizeBytes, checksum, content } = result.finish()
      const metrics = this.#task.finishedMetrics(sizeBytes, rows)
      return 'bytes' in content
        ? { type: 'result', bytes: content.bytes, rows, checksum, metrics }
        : { type: 'result-file', file: content.file, sizeBytes, rows, checksum, metrics }
    } finally {
      result.discard()
    }
  }

  /** What the plan's action makes of the partition. */
  async #resultRows(branch: Branch, result: ResultRows): Promise<void> {
    const { action } = this.#task.plan
    const { encoder } = result
    const name = action.kind
    switch (action.kind) {
      case 'collect':
        return this.#runner.encode(branch, name, result)
      case 'count': {
        const state: CountState = { count: 0 }
        await this.#runner.drive(branch, { name, sink: () => countSink, state })
        return encoder.append(state.count)
      }
      case 'reduce': {
        const { started, value } = await this.#fold(branch, action.fn, { value: undefined, started: false })
        if (started) encoder.append(value)
        return
      }
      case 'fold': {
        const { value } = await this.#fold(branch, action.fn, {
          value: decodeRows(action.zero)[0],
          started: true,
        })
        return encoder.append(value)
      }
      case 'take':
        return this.#take(branch, action.count, result)
      case 'forEach': {
        const sink = (): SinkCode => forEachSink(this.#task.function(action.fn))
        return this.#runner.drive(branch, { name, sink, state: {} })
      }
      case 'partition':
        return this.#runner.encode(branch, name, result, () => this.#wholePartition(action.fn))
      case 'saveText':
        return encoder.append(await this.#save(branch, 'saveText', textSink))
      case 'saveBytes':
        return encoder.append(await this.#save(branch, 'saveBytes', bytesSink))
    }
  }

  async #fold(branch: Branch, fn: FunctionRef, state: FoldState): Promise<FoldState> {
    const sink = (): SinkCode => foldSink(this.#task.function(fn))
    await this.#runner.drive(branch, { name: 'fold', sink, state })
    return state
  }

  async #take(branch: Branch, count: number, result: ResultRows): Promise<void> {
    const { encoder } = result
    const hooks = this.#runner.encoderHooks(branch, result)
    const state: TakeState = { encoder, count }
    if (count > 0) await this.#runner.drive(branch, { name: 'take', sink: () => takeSink, state, hooks })
  }

  /** What the function returns is the one row. */
  #wholePartition(ref: FunctionRef): ResolvedStep {
    const fn = this.#task.function(ref) as (rows: unknown, partition: unknown) => unknown
    const asOneRow = (rows: unknown, partition: unknown): unknown[] => [fn(rows, partition)]
    return { op: 'mapPartitions', fn: asOneRow, operator: 'the action' }
  }

  /** The row that says where the part is. */
  async #save(branch: Branch, name: string, sink: SinkCode): Promise<unknown> {
    const state: TextState = { text: '', chunks: [], bytes: 0, lines: 0 }
    const slice = (): Promise<void> | undefined =>
      state.chunks.length === 0 ? undefined : this.#write(state)
    const lines = async (bytes: Uint8Array): Promise<void> => {
      state.bytes += bytes.length
      await this.#task.ports.writeOutput(bytes)
    }
    const destination = { name, sink: () => sink, state, hooks: { slice } }
    await this.#runner.drive(branch, sink === textSink ? { ...destination, lines } : destination)
    cutText(state, state.text)
    await this.#write(state)
    this.#task.metrics.bytesWritten += state.bytes
    this.#task.metrics.recordsWritten = state.lines
    return { file: partFileName(this.#task.partition), bytes: state.bytes }
  }

  async #write(state: TextState): Promise<void> {
    const { chunks } = state
    state.chunks = []
    for (const chunk of chunks) await this.#task.ports.writeOutput(chunk)
  }

  async #mapOutput(branch: Branch, shuffle: NodeId): Promise<TaskOutcome> {
    const node = nodeOf(this.#task.plan, shuffle)
    if (node.op !== 'shuffle') throw invalid(`node ${shuffle} (${node.label}) is no shuffle`)
    const operator = operatorName(node)
    const name = `shuffle ${shuffle}`
    const { partitions } = node.by
    const partitionOf = this.#task.partitionOf(node)
    const openKept = (): SpillFile => this.#task.ports.openSpill('kept')
    const output = new MapOutput(partitions, partitionOf, this.#task.holding(operator), openKept)
    const combine = mapSideSink(node.combine, operator, ref => this.#task.function(ref))
    if (combine === null) {
      const sink = (): SinkCode => bucketSink(partitions, partitionOf, operator)
      const block = this.#runner.everyFew(
        branch,
        () => output.flush(),
        () => output.measure(),
      )
      const state: BucketState = { buckets: output.buckets }
      await this.#runner.drive(branch, { name, sink, state, hooks: { block } })
    } else {
      await this.#combined(branch, name, combine, output, operator)
    }
    const { content, sizeBytes, offsets, checksum } = output.finish()
    const metrics = this.#task.finishedMetrics(sizeBytes, output.rows)
    return 'bytes' in content
      ? { type: 'map-output', bytes: content.bytes, offsets, checksum, metrics }
      : { type: 'map-file', file: content.file, sizeBytes, offsets, checksum, metrics }
  }

  /** Combines in a table, which is written out when it is full: the reduce side merges what a key then has twice. */
  async #combined(
    branch: Branch,
    name: string,
    sink: () => SinkCode,
    output: MapOutput,
    operator: string,
  ): Promise<void> {
    const holding = this.#task.holding(operator)
    const table = new AggregationTable(holding, { freezes: false })
    const slice = (): undefined => {
      if (isFull(table, holding)) output.take(table)
    }
    await this.#runner.drive(branch, { name, sink, state: { table, spilling: null }, hooks: { slice } })
    output.take(table)
  }
}

/** As Hadoop names them. */
function partFileName(partition: number): string {
  return `part-${String(partition).padStart(5, '0')}`
}
