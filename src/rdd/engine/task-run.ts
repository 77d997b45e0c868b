import { crc32 } from 'node:zlib'
import { decodeRows, RowEncoder } from '../codec/index.ts'
import type { FunctionRef, NodeId } from '../plan.ts'
import type { SpillFile, TaskOutcome } from '../task.ts'
import { AggregationTable } from './aggregation-table.ts'
import { BranchRunner } from './branch-runner.ts'
import { branchOf, invalid, nodeOf, operatorName, type Branch } from './branch.ts'
import { mapSideSink } from './combine-sinks.ts'
import type { SinkCode } from './fused-loop.ts'
import { isFull, MapOutput } from './map-output.ts'
import type { ResolvedStep } from './pipeline.ts'
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
    const encoder = await this.#resultRows(branch)
    const { rows } = encoder
    const bytes = encoder.finish()
    const metrics = this.#task.finishedMetrics(bytes.length, rows)
    return { type: 'result', bytes, rows, checksum: crc32(bytes), metrics }
  }

  /** What the plan's action makes of the partition. */
  async #resultRows(branch: Branch): Promise<RowEncoder> {
    const { action } = this.#task.plan
    const name = action.kind
    switch (action.kind) {
      case 'collect':
        return this.#runner.encode(branch, name)
      case 'count': {
        const state: CountState = { count: 0 }
        await this.#runner.drive(branch, { name, sink: () => countSink, state })
        return encoded([state.count])
      }
      case 'reduce': {
        const { started, value } = await this.#fold(branch, action.fn, { value: undefined, started: false })
        return encoded(started ? [value] : [])
      }
      case 'fold': {
        const { value } = await this.#fold(branch, action.fn, {
          value: decodeRows(action.zero)[0],
          started: true,
        })
        return encoded([value])
      }
      case 'take':
        return this.#take(branch, action.count)
      case 'forEach': {
        const sink = (): SinkCode => forEachSink(this.#task.function(action.fn))
        await this.#runner.drive(branch, { name, sink, state: {} })
        return encoded([])
      }
      case 'partition':
        return this.#runner.encode(branch, name, () => this.#wholePartition(action.fn))
      case 'saveText':
        return this.#save(branch, 'saveText', textSink)
      case 'saveBytes':
        return this.#save(branch, 'saveBytes', bytesSink)
    }
  }

  async #fold(branch: Branch, fn: FunctionRef, state: FoldState): Promise<FoldState> {
    const sink = (): SinkCode => foldSink(this.#task.function(fn))
    await this.#runner.drive(branch, { name: 'fold', sink, state })
    return state
  }

  async #take(branch: Branch, count: number): Promise<RowEncoder> {
    const encoder = new RowEncoder()
    const hooks = this.#runner.encoderHooks(branch, encoder)
    const state: TakeState = { encoder, count }
    if (count > 0) await this.#runner.drive(branch, { name: 'take', sink: () => takeSink, state, hooks })
    return encoder
  }

  /** What the function returns is the one row. */
  #wholePartition(ref: FunctionRef): ResolvedStep {
    const fn = this.#task.function(ref) as (rows: unknown, partition: unknown) => unknown
    const asOneRow = (rows: unknown, partition: unknown): unknown[] => [fn(rows, partition)]
    return { op: 'mapPartitions', fn: asOneRow, operator: 'the action' }
  }

  async #save(branch: Branch, name: string, sink: SinkCode): Promise<RowEncoder> {
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
    return encoded([{ file: partFileName(this.#task.partition), bytes: state.bytes }])
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

function encoded(rows: unknown[]): RowEncoder {
  const encoder = new RowEncoder()
  encoder.appendAll(rows)
  return encoder
}

/** As Hadoop names them. */
function partFileName(partition: number): string {
  return `part-${String(partition).padStart(5, '0')}`
}
