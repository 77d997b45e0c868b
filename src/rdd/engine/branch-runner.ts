import { decoded } from '../../base/decoded.ts'
import { ShoalError } from '../../base/errors.ts'
import { RowEncoder } from '../codec/index.ts'
import { narrowInputs, type PartitionOf } from '../plan-graph.ts'
import type { NodeId, PlanNode, TextSplit } from '../plan.ts'
import { MEMORY_LEVEL } from '../storage-level.ts'
import { keptBlockId, type TaskPorts } from '../task.ts'
import {
  keptBlocks,
  lineDecoder,
  pairDecoder,
  pulledBlocks,
  returnedBlocks,
  rowBlocks,
  rowDecoder,
  type BlockSource,
} from './block-source.ts'
import { rangeBlock, rowsBlock, type Block, type SourceShape } from './block.ts'
import { branchOf, invalid, nodeOf, operatorName, type Branch, type BranchStep } from './branch.ts'
import { reduceSideSink } from './combine-sinks.ts'
import { ENGINE } from './config.ts'
import { fileInput, type FileReader } from './file-input.ts'
import { cogrouping, foldingOf, type Folding } from './folding.ts'
import type { SinkCode } from './fused-loop.ts'
import { PartitionKeeper } from './kept-rows.ts'
import { Pipeline, type ResolvedStep, type SinkHooks } from './pipeline.ts'
import type { ResultRows } from './result-rows.ts'
import { RepeatedRows } from './repeated-rows.ts'
import { RowIterator } from './row-iterator.ts'
import {
  cogroupSink,
  encoderSink,
  rowsSink,
  type EncoderState,
  type GroupState,
  type RowsState,
} from './sinks.ts'
import { SpillingTable } from './spilling-table.ts'
import { streamedBlocks, type StreamFunction } from './stream-step.ts'
import type { TaskContext } from './task-context.ts'
import { sortedPairs, sortsPairs, sortTexts, takesValues } from './text-branch.ts'
import { firstByteOf, TextLines } from './text-lines.ts'

type Node<Op extends PlanNode['op']> = Extract<PlanNode, { op: Op }>
type Chunks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/** Where a branch goes. */
export interface Destination<State> {
  /** Names the sink: with the branch's path the name of a compiled pipeline. */
  name: string
  /** Called when the pipeline is compiled. */
  sink: () => SinkCode
  state: State
  hooks?: SinkHooks
  /** A step behind those of the branch. */
  lastStep?: () => ResolvedStep
  /** Takes elements that are text as the bytes of whole lines, where they are at hand; not to be kept. */
  lines?: (bytes: Uint8Array) => Promise<void>
}

/** Opens the leaves of branches and runs their elements into sinks. */
export class BranchRunner {
  readonly #task: TaskContext

  constructor(task: TaskContext) {
    this.#task = task
  }

  /** Runs a branch to its destination; the pipeline is compiled once per (job, stage, branch). */
  async drive<State>(branch: Branch, destination: Destination<State>): Promise<void> {
    if (sortsPairs(branch) && (await this.#driveSorted(branch, destination))) return
    await this.#driveFrom(branch, await this.#open(branch), destination)
  }

  async #driveFrom<State>(
    branch: Branch,
    source: BlockSource,
    { name, sink, state, hooks, lastStep }: Destination<State>,
  ): Promise<void> {
    const pipeline = this.#task.once(`${branch.path} ${name}`, unique => {
      const steps = branch.steps.map(step => this.#resolve(step))
      if (lastStep !== undefined) steps.push(lastStep())
      return new Pipeline<State>(this.#shapeOf(branch), steps, sink(), unique)
    })
    await pipeline.run(source, state, this.#task, hooks)
  }

  /** Shuffled pairs that are sorted stay bytes as long as they are text. False when they are not shuffled just before. */
  async #driveSorted<State>(branch: Branch, destination: Destination<State>): Promise<boolean> {
    const node = nodeOf(this.#task.plan, branch.leaf)
    const [first, ...rest] = branch.steps
    if (node.op !== 'shuffle' || node.combine.kind !== 'none' || first?.step.op !== 'sort') return false
    const check = (): void => this.#task.checkCancelled()
    const memory = this.#task.holding(first.operator)
    const chunks = this.#buckets(branch.leaf, branch.partition)
    const sorted = await sortTexts(chunks, memory, first.step.ascending, check)
    if (sorted.kind === 'values') {
      const source: BlockSource = { kind: 'stream', blocks: sorted.blocks, memory }
      await this.#driveFrom(branch, source, destination)
      return true
    }
    const { name, sink, state, hooks, lastStep, lines } = destination
    if (lines !== undefined && takesValues(branch)) {
      for (const slice of sorted.sort.sorted(check, { newline: true })) {
        this.#task.countRead(slice.count)
        await lines(slice.text())
      }
      return true
    }
    const pipeline = this.#task.once(`${branch.path} sorted ${name}`, unique => {
      const steps = rest.map(step => this.#resolve(step))
      if (lastStep !== undefined) steps.push(lastStep())
      return new Pipeline<State>({ kind: 'pairs' }, steps, sink(), unique)
    })
    const blocks = sortedPairs(sorted.sort, check)
    await pipeline.run({ kind: 'blocks', blocks }, state, this.#task, hooks)
    return true
  }

  /** All elements of a branch in the row codec. */
  async encode(
    branch: Branch,
    name: string,
    result: ResultRows,
    lastStep?: () => ResolvedStep,
  ): Promise<void> {
    const hooks = this.encoderHooks(branch, result)
    const state: EncoderState = { encoder: result.encoder }
    const destination = { name, sink: () => encoderSink, state, hooks }
    await this.drive(branch, lastStep === undefined ? destination : { ...destination, lastStep })
  }

  encoderHooks(branch: Branch, result: ResultRows): SinkHooks {
    const flush = (): void => result.encoder.flush()
    return { block: this.everyFew(branch, flush, () => result.measure()) }
  }

  /** A hook per block that lets go of the texts of earlier blocks every few blocks, and measures after each. */
  everyFew(branch: Branch, release: () => void, measure: () => void): (isPart: boolean) => void {
    const every = this.#shapeOf(branch).kind === 'lines' ? ENGINE.releaseTextBlocks : ENGINE.releaseRowBlocks
    let blocks = 0
    return isPart => {
      // Where batches end must not depend on the memory that there was.
      if (!isPart && ++blocks % every === 0) release()
      measure()
    }
  }

  #resolve({ step, operator }: BranchStep): ResolvedStep {
    if (step.op === 'sort') {
      return { op: 'sort', by: this.#task.function(step.by), ascending: step.ascending, operator }
    }
    const fn = this.#task.function(step.fn)
    return step.op === 'mapPartitions' || step.op === 'stream'
      ? { op: step.op, fn, operator }
      : { op: step.op, fn }
  }

  #shapeOf(branch: Branch): SourceShape {
    const node = nodeOf(this.#task.plan, branch.leaf)
    if (branch.cached) return { kind: 'rows' }
    if (node.op === 'range') return { kind: 'range', first: node.start, step: node.step }
    if (node.op === 'textFile') return { kind: 'lines' }
    return { kind: node.op === 'shuffle' || node.op === 'cogroup' ? 'pairs' : 'rows' }
  }

  async #open(branch: Branch): Promise<BlockSource> {
    const { leaf, partition } = branch
    const node = nodeOf(this.#task.plan, leaf)
    if (branch.cached) return this.#cached(leaf, node, partition)
    switch (node.op) {
      case 'parallelize': {
        const slice = node.slices[partition]
        if (slice === undefined) throw invalid(`parallelize has no slice ${partition}`)
        return { kind: 'blocks', blocks: rowBlocks(slice) }
      }
      case 'range': {
        const cut = (i: number): number => Math.floor((i * node.count) / node.partitions)
        return { kind: 'blocks', blocks: [rangeBlock(cut(partition), cut(partition + 1))] }
      }
      case 'textFile':
        return this.#lines(node, partition)
      case 'files':
        return this.#files(node, partition)
      case 'shuffle':
        return this.#shuffled(leaf, node, partition)
      case 'cogroup':
        return this.#cogrouped(node, partition)
      case 'coalesce': {
        const parts = narrowInputs(this.#task.plan, leaf, partition).map(input => async () => {
          const blocks = pulledBlocks(await this.#pull(input))
          return { kind: 'blocks', blocks } as const
        })
        return { kind: 'parts', parts, made: true }
      }
      case 'zip':
        return this.#zipped(leaf, node, partition)
      case 'cartesian':
        return this.#crossed(leaf, node, partition)
      case 'steps':
      case 'union':
      case 'prune':
      case 'kept':
        break
    }
    throw invalid(`node ${leaf} (${node.label}) is no source`)
  }

  /** As it is kept by this peer, else by another; else it is computed whole and kept here. */
  async #cached(id: NodeId, node: PlanNode, partition: number): Promise<BlockSource> {
    const { kept } = this.#task.ports
    const key = { fingerprint: node.fingerprint, partition }
    const known = await kept.read(key, this.#task.input.holders[keptBlockId(key)] ?? [])
    if (known !== undefined) {
      this.#task.metrics.cacheHits++
      if (Symbol.iterator in known) return { kind: 'blocks', blocks: keptBlocks(known) }
      const memory = this.#task.holding(operatorName(node))
      return { kind: 'chunks', chunks: known, decoder: rowDecoder, memory }
    }
    if (node.op === 'kept') throw lost(node, partition)
    const keeper = new PartitionKeeper(kept, key, node.level ?? MEMORY_LEVEL, this.#task.spill)
    try {
      const branch = branchOf(this.#task.plan, id, partition, id)
      return { kind: 'blocks', blocks: keptBlocks(await this.#keep(branch, keeper, operatorName(node))) }
    } catch (error) {
      keeper.abandon()
      throw error
    }
  }

  async #keep(branch: Branch, keeper: PartitionKeeper, operator: string): Promise<Iterable<Uint8Array>> {
    const encoder = new RowEncoder()
    const holding = this.#task.holding(operator)
    // What is encoded leaves after each slice: its bound is the slice's.
    const measure = (): void => holding.hold(encoder.heldBytes - holding.bytes)
    const slice = (): Promise<void> | undefined => keeper.take(encoder)
    const hooks = { slice, block: this.everyFew(branch, () => encoder.flush(), measure) }
    const state: EncoderState = { encoder }
    await this.drive(branch, { name: 'keep', sink: () => encoderSink, state, hooks })
    const chunks = await keeper.finish(encoder)
    holding.hold(-holding.bytes)
    return chunks
  }

  #files(node: Node<'files'>, partition: number): BlockSource {
    const ranges = node.parts[partition]
    if (ranges === undefined) throw invalid(`${node.label} ${node.path} has no partition ${partition}`)
    const operator = operatorName(node)
    const read = this.#task.function(node.read) as FileReader
    const task = this.#task
    const open: StreamFunction = async function* (_none, _partition, signal) {
      for (const { file, ...range } of ranges) {
        if (signal.aborted) return
        yield* read(fileInput(task, node.files[file]!, range, operator), signal)
      }
    }
    const blocks = streamedBlocks(open, nothing(), this.#task)
    return { kind: 'stream', blocks, memory: this.#task.holding(operator) }
  }

  /** A file in gzip or zstd: one task reads it all. */
  #packedLines(node: Node<'textFile'>, { fileId, packed = [], end }: TextSplit): BlockSource {
    const operator = operatorName(node)
    const input = fileInput(
      this.#task,
      { path: node.path, fileId, blocks: packed },
      { start: 0, end },
      operator,
    )
    const memory = this.#task.holding(operator)
    const lines = new TextLines({ start: 0, end: Number.MAX_SAFE_INTEGER }, memory)
    const chunks = decoded(node.path, input.bytes(0, end))
    return { kind: 'chunks', chunks, decoder: lineDecoder(lines), memory: this.#task.holding(operator) }
  }

  #lines(node: Node<'textFile'>, partition: number): BlockSource {
    const split = node.splits[partition]
    if (split === undefined) throw invalid(`textFile ${node.path} has no split ${partition}`)
    if (split.packed !== undefined) return this.#packedLines(node, split)
    const { blockId, blockBytes } = split
    const operator = operatorName(node)
    const lines = new TextLines(split, this.#task.holding(operator))
    const holders = this.#task.input.holders[blockId] ?? []
    const read: TaskPorts['readBlock'] = (...range) => this.#task.ports.readBlock(...range)
    const near = Math.min(split.end + ENGINE.readBeyondBytes, blockBytes)
    const first = read(blockId, firstByteOf(split), near, holders)
    const rest = (): Chunks | null =>
      lines.done || near >= blockBytes ? null : read(blockId, near, blockBytes, holders)
    const count = (chunk: Uint8Array): Uint8Array => {
      this.#task.metrics.bytesRead += chunk.length
      return chunk
    }
    const chunks = inTwo(first, rest, count)
    return { kind: 'chunks', chunks, decoder: lineDecoder(lines), memory: this.#task.holding(operator) }
  }

  async #shuffled(id: NodeId, node: Node<'shuffle'>, partition: number): Promise<BlockSource> {
    const operator = operatorName(node)
    const chunks = this.#buckets(id, partition)
    const memory = this.#task.holding(operator)
    const source: BlockSource = { kind: 'chunks', chunks, decoder: pairDecoder, memory }
    const combine = reduceSideSink(node.combine, operator, ref => this.#task.function(ref))
    if (combine === null) return source
    const folding = this.#task.once(`folding ${id}`, () => {
      return foldingOf(node.combine, ref => this.#task.function(ref))
    })
    return this.#tabulated(operator, folding, async (state, hooks) => {
      const pipeline = this.#task.once(
        `merge ${id}`,
        unique => new Pipeline<GroupState>({ kind: 'pairs' }, [], combine(), unique),
      )
      await pipeline.run(source, state, this.#task, hooks)
    })
  }

  /** Parents one after the other into one table: keys stand in the order in which they are first seen. */
  async #cogrouped(node: Node<'cogroup'>, partition: number): Promise<BlockSource> {
    const operator = operatorName(node)
    const sides = node.parents.length
    return this.#tabulated(operator, cogrouping(sides), async (state, hooks) => {
      for (const [side, parent] of node.parents.entries()) {
        const sink = (): SinkCode => cogroupSink(side, sides, operator)
        const name = `cogroup ${node.fingerprint} ${side}`
        await this.drive(branchOf(this.#task.plan, parent, partition), { name, sink, state, hooks })
      }
    })
  }

  /** The elements of a partition, made as they are asked for. */
  async #pull({ node, partition }: PartitionOf): Promise<Iterable<readonly unknown[]>> {
    const branch = branchOf(this.#task.plan, node, partition)
    const pipeline = this.#task.once(`${branch.path} pull`, unique => {
      const steps = branch.steps.map(step => this.#resolve(step))
      return new Pipeline<RowsState>(this.#shapeOf(branch), steps, rowsSink, unique)
    })
    return await pipeline.pull(await this.#open(branch), this.#task)
  }

  async #zipped(id: NodeId, node: Node<'zip'>, partition: number): Promise<BlockSource> {
    const iterators: RowIterator[] = []
    for (const input of narrowInputs(this.#task.plan, id, partition)) {
      iterators.push(new RowIterator(await this.#pull(input)))
    }
    const fn = this.#task.function(node.fn) as (sides: readonly RowIterator[], partition: unknown) => unknown
    const blocks = returnedBlocks(fn(iterators, partition), operatorName(node))
    return { kind: 'blocks', blocks, made: true }
  }

  /** The right side is kept, as bytes: it is gone through once for every left element. */
  async #crossed(id: NodeId, node: Node<'cartesian'>, partition: number): Promise<BlockSource> {
    const [left, right] = narrowInputs(this.#task.plan, id, partition) as [PartitionOf, PartitionOf]
    const rights = new RepeatedRows(this.#task.holding(operatorName(node)))
    for (const rows of await this.#pull(right)) rights.append(rows)
    const lefts = await this.#pull(left)
    return { kind: 'blocks', blocks: crossed(lefts, rights), made: true }
  }

  async #tabulated(
    operator: string,
    folding: Folding,
    fill: (state: GroupState, hooks: SinkHooks) => Promise<void>,
  ): Promise<BlockSource> {
    const task = this.#task
    const holdings = { keys: task.holding(operator), values: task.holding(operator) }
    const spilling = new SpillingTable(folding, holdings, () => task.checkCancelled())
    const state: GroupState = { table: spilling.table, spilling, valueBytes: 0, seen: 0 }
    await fill(state, { block: () => spilling.measure(state) })
    const blocks = spilling.finish((values, key) => task.countGroup(values, key))
    return { kind: 'blocks', blocks, made: true }
  }

  async *#buckets(id: NodeId, partition: number): AsyncGenerator<Uint8Array, void, undefined> {
    const locations = this.#task.input.shuffles.find(each => each.node === id)
    if (locations === undefined) throw invalid(`the task was not told where the outputs of shuffle ${id} are`)
    let previous = -1
    for await (const { map, bytes } of this.#task.ports.fetchBuckets(locations, partition)) {
      // Values are merged in map order, or results would differ between runs. One bucket may come in several pieces
      // only as whole batches.
      if (map < previous) {
        const reason = `the bucket of map ${map} came after that of map ${previous}`
        throw new ShoalError('INTERNAL', { reason }, reason)
      }
      previous = map
      this.#task.metrics.bytesFetched += bytes.length
      yield bytes
    }
  }
}

/** Each array of left elements meets each batch of right ones, in the order of the left. */
function* crossed(
  lefts: Iterable<readonly unknown[]>,
  rights: RepeatedRows,
): Generator<Block, void, undefined> {
  for (const some of lefts) {
    for (const left of some) {
      for (const batch of rights.batches()) yield rowsBlock(Array.from(batch, right => [left, right]))
    }
  }
}

/** One stretch of a block, and the rest only when it turns out to be needed; without waiting when both are local. */
function inTwo(first: Chunks, rest: () => Chunks | null, count: (chunk: Uint8Array) => Uint8Array): Chunks {
  return Symbol.iterator in first ? inTwoNow(first, rest, count) : inTwoLater(first, rest, count)
}

function* inTwoNow(
  first: Iterable<Uint8Array>,
  rest: () => Chunks | null,
  count: (chunk: Uint8Array) => Uint8Array,
): Generator<Uint8Array, void, undefined> {
  for (const chunk of first) yield count(chunk)
  const more = rest()
  if (more === null) return
  if (!(Symbol.iterator in more)) {
    const reason = 'a local block went away while it was read'
    throw new ShoalError('INTERNAL', { reason }, `${reason}; the next attempt reads it elsewhere`)
  }
  for (const chunk of more) yield count(chunk)
}

async function* inTwoLater(
  first: AsyncIterable<Uint8Array>,
  rest: () => Chunks | null,
  count: (chunk: Uint8Array) => Uint8Array,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of first) yield count(chunk)
  const more = rest()
  if (more === null) return
  for await (const chunk of more) yield count(chunk)
}

function lost(node: PlanNode, partition: number): ShoalError<'CHECKPOINT_LOST'> {
  const operator = operatorName(node)
  return new ShoalError(
    'CHECKPOINT_LOST',
    { partition, operator },
    `partition ${partition} of the ${operator} is gone with the peers that kept it, and what it was computed from is ` +
      `forgotten: compute it anew; checkpoint() keeps to mesh files, and persist(StorageLevel.MEMORY_AND_DISK_2) before ` +
      `localCheckpoint() on two peers`,
  )
}

async function* nothing(): AsyncGenerator<never, void, undefined> {}
