import { generateFunction } from '../codec/generated-function.ts'
import { blocksNow, blocksOf, returnedBlocks, type BlockSource } from './block-source.ts'
import type { Block, SourceShape } from './block.ts'
import { ExternalSort } from './external-sort.ts'
import { compileLoop, type FusedStep, type Loop, type SinkCode, type UserFunction } from './fused-loop.ts'
import { RowIterator } from './row-iterator.ts'
import { streamedBlocks, type StreamFunction } from './stream-step.ts'
import { rowsSink, type RowsState } from './sinks.ts'
import type { MemoryHolding } from './task-memory.ts'

/** A step whose functions are at hand. Those over a whole partition break the fusion. */
export type ResolvedStep =
  | FusedStep
  | { op: 'mapPartitions'; fn: UserFunction; operator: string }
  | { op: 'stream'; fn: UserFunction; operator: string }
  | { op: 'sort'; by: UserFunction; ascending: boolean; operator: string }

type PartitionStep = Exclude<ResolvedStep, FusedStep>

/** What a running task gives a pipeline. */
export interface PipelineContext {
  partition: number
  /** Throws when the attempt should stop; called once per slice. */
  checkCancelled(): void
  /** Elements taken from the pipeline's source. */
  countRead(elements: number): void
  holding(operator: string): MemoryHolding
}

/** Called while the last loop runs. */
export interface SinkHooks {
  /** After each slice of 1024; what it returns is awaited. */
  slice?: () => Promise<void> | undefined
  /** After each block, or part of one that could not be in memory as a whole. */
  block?: (isPart: boolean) => void
}

/** A run of partition-wide steps, each fed by a fused loop, and the fused loop into the sink. */
export class Pipeline<State> {
  readonly #heads: { loop: Loop<RowsState>; step: PartitionStep; keysOf: KeysOf | null }[] = []
  readonly #last: Loop<State>

  /** @param name Unique in the thread. */
  constructor(source: SourceShape, steps: readonly ResolvedStep[], sink: SinkCode, name: string) {
    let shape = source
    let fused: FusedStep[] = []
    for (const step of steps) {
      if (step.op !== 'mapPartitions' && step.op !== 'stream' && step.op !== 'sort') {
        fused.push(step)
        continue
      }
      const part = `${name}#${this.#heads.length}`
      const loop = compileLoop<RowsState>({ source: shape, steps: fused, sink: rowsSink, name: part })
      this.#heads.push({ loop, step, keysOf: step.op === 'sort' ? compileKeys(step.by, part) : null })
      shape = { kind: 'rows' }
      fused = []
    }
    this.#last = compileLoop<State>({ source: shape, steps: fused, sink, name })
  }

  /** Runs the source's elements through all steps into the sink, until they end or the sink wants no more. */
  async run(
    source: BlockSource,
    state: State,
    context: PipelineContext,
    hooks: SinkHooks = {},
  ): Promise<void> {
    const last = await this.#throughHeads(source, context)
    await drive(this.#last, last, state, context, last === source && isInput(source), hooks)
  }

  /** The same, as arrays of rows that are made as they are asked for. What comes asynchronously is gathered first. */
  async pull(
    this: Pipeline<RowsState>,
    source: BlockSource,
    context: PipelineContext,
  ): Promise<Iterable<readonly unknown[]>> {
    const last = await this.#throughHeads(source, context)
    return rowChunks(this.#last, await blocksNow(last), context, last === source && isInput(source))
  }

  async #throughHeads(source: BlockSource, context: PipelineContext): Promise<BlockSource> {
    let current = source
    for (const { loop, step, keysOf } of this.#heads) {
      const isSource = current === source && isInput(source)
      if (step.op === 'sort') {
        const sort = new ExternalSort(context.holding(step.operator), keysOf!, step.ascending)
        const slice = (): undefined => sort.measure()
        await drive(loop, current, sort.state, context, isSource, { slice })
        current = { kind: 'blocks', blocks: sort.sorted(() => context.checkCancelled()) }
      } else if (step.op === 'stream') {
        const input = streamedRows(loop, current, context, isSource)
        const blocks = streamedBlocks(step.fn as StreamFunction, input, context)
        current = { kind: 'stream', blocks, memory: context.holding(step.operator) }
      } else {
        const input = new RowIterator(rowChunks(loop, await blocksNow(current), context, isSource))
        const output = (step.fn as (rows: RowIterator, partition: number) => unknown)(
          input,
          context.partition,
        )
        current = { kind: 'blocks', blocks: returnedBlocks(output, step.operator) }
      }
    }
    return current
  }
}

/** Its elements come from outside of the task: they are counted as read. */
function isInput(source: BlockSource): boolean {
  return !('made' in source)
}

type KeysOf = (rows: readonly unknown[]) => unknown[]

/** A loop of its own around the user's function, for the same reason as all loops. */
function compileKeys(by: UserFunction, name: string): KeysOf {
  const body = `'use strict';const by=$by;return rows=>{const keys=[];for(let i=0;i<rows.length;i++)keys.push(by(rows[i]));return keys}//${name}`
  return (generateFunction(['$by'], body, name) as (by: UserFunction) => KeysOf)(by)
}

async function drive<State>(
  loop: Loop<State>,
  source: BlockSource,
  state: State,
  context: PipelineContext,
  isSource: boolean,
  hooks: SinkHooks,
): Promise<void> {
  for await (const block of blocksOf(source)) {
    for (let position = block.start; position >= 0 && position < block.end;) {
      context.checkCancelled()
      const next = loop(block, position, state)
      if (isSource) countRead(block, position, next, context)
      const written = hooks.slice?.()
      if (written !== undefined) await written
      if (next < 0) return
      position = next
    }
    hooks.block?.(block.isPart)
  }
}

/** Elements through a loop, in arrays of about a slice each, as they are asked for. */
function* rowChunks(
  loop: Loop<RowsState>,
  blocks: Iterable<Block>,
  context: PipelineContext,
  isSource: boolean,
): Generator<readonly unknown[], void, undefined> {
  for (const block of blocks) {
    for (let position = block.start; position < block.end;) {
      context.checkCancelled()
      const state: RowsState = { rows: [] }
      const next = loop(block, position, state)
      if (isSource) countRead(block, position, next, context)
      position = next
      if (state.rows.length > 0) yield state.rows
    }
  }
}

/** The same for functions that wait. */
async function* streamedRows(
  loop: Loop<RowsState>,
  source: BlockSource,
  context: PipelineContext,
  isSource: boolean,
): AsyncGenerator<readonly unknown[], void, undefined> {
  for await (const block of blocksOf(source)) yield* rowChunks(loop, [block], context, isSource)
}

function countRead(block: Block, from: number, to: number, context: PipelineContext): void {
  if (block.lines > 0) {
    context.countRead(block.lines)
    block.lines = 0
  } else if (to > from) context.countRead(to - from)
}
