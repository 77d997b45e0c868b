import { decodeRows, encodeRows } from '../../../../src/rdd/codec/index.ts'
import { ShoalError } from '../../../../src/base/errors.ts'
import { TaskRunner } from '../../../../src/rdd/engine/index.ts'
import type { Action, FunctionRef, Plan, PlanNode } from '../../../../src/rdd/plan.ts'
import { MemoryKept } from '../../../../src/rdd/memory-kept.ts'
import { MemorySpill } from '../../../../src/rdd/memory-spill.ts'
import type { SpillFile, TaskInput, TaskOutcome, TaskPorts } from '../../../../src/rdd/task.ts'

/** Plans made by hand, run in this process: what the scheduler and the executors do, in thirty lines. */

type Fn = (...values: never[]) => unknown
type Optional = 'fingerprint' | 'cached' | 'label'
/** A node without what the maker fills in. */
type Spec<N> = N extends PlanNode ? Omit<N, Optional> & Partial<Pick<N, Optional>> : never
type Extra = { cached?: boolean; label?: string }

export class PlanMaker {
  readonly nodes: PlanNode[] = []
  readonly functions: Fn[] = []

  /** Adds a node; its id. */
  node(spec: Spec<PlanNode>): number {
    const id = this.nodes.length
    this.nodes.push({ fingerprint: `node${id}`, cached: false, label: spec.op, ...spec })
    return id
  }

  /** Functions travel by index here instead of by text. */
  fn(fn: Fn): FunctionRef {
    return { kind: 'closure', id: this.functions.push(fn) - 1 }
  }

  parallelize(slices: unknown[][], extra: Extra = {}): number {
    return this.node({
      op: 'parallelize',
      partitions: slices.length,
      slices: slices.map(encodeRows),
      ...extra,
    })
  }

  plan(action: Action): Plan {
    return { version: 1, nodes: this.nodes, closures: this.functions.map((_, i) => encodeRows([i])), action }
  }

  runner(): TaskRunner {
    return new TaskRunner({ revive: bytes => this.functions[decodeRows<number>(bytes)[0]!]! })
  }
}

export interface PortOptions {
  memoryLimitBytes?: number
  cancelled?: () => boolean
  blocks?: Record<string, Uint8Array>
  /** Bytes per chunk of a block. */
  chunkBytes?: number
  /** Blocks come without or with waiting. */
  asynchronous?: boolean
}

/** Ports of one imaginary peer that has all blocks, map outputs and cached partitions. */
export class MemoryPorts implements TaskPorts {
  readonly memoryLimitBytes: number
  readonly cancelled: () => boolean
  readonly kept = new MemoryKept()
  /** By shuffle node, then map partition. */
  readonly outputs = new Map<number, { bytes: Uint8Array; offsets: number[] }[]>()
  readonly written: Uint8Array[] = []
  readonly spill = new MemorySpill()
  /** By all map tasks. */
  spilledRecords = 0
  /** What the attempt has reserved. */
  reservedBytes = 0
  readonly #options: PortOptions

  constructor(options: PortOptions = {}) {
    this.#options = options
    this.memoryLimitBytes = options.memoryLimitBytes ?? 1 << 28
    this.cancelled = options.cancelled ?? (() => false)
  }

  readBlock(blockId: string, start: number, end: number): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
    const block = this.#options.blocks![blockId]!.subarray(start, end)
    const size = this.#options.chunkBytes ?? 64 * 1024
    const chunks = Array.from({ length: Math.ceil(block.length / size) }, (_, i) =>
      block.slice(i * size, (i + 1) * size),
    )
    return this.#options.asynchronous === true ? later(chunks) : chunks
  }

  async *fetchBuckets(
    { node }: { node: number },
    reduce: number,
  ): AsyncGenerator<{ map: number; bytes: Uint8Array }, void, undefined> {
    for (const [map, output] of (this.outputs.get(node) ?? []).entries()) {
      yield { map, bytes: output.bytes.subarray(output.offsets[reduce], output.offsets[reduce + 1]) }
    }
  }

  reserveMemory(totalBytes: number): boolean {
    this.reservedBytes = totalBytes
    return true
  }

  openSpill(): SpillFile {
    return this.spill.open()
  }

  async writeOutput(chunk: Uint8Array): Promise<void> {
    this.written.push(chunk)
  }
}

async function* later(chunks: Uint8Array[]): AsyncGenerator<Uint8Array, void, undefined> {
  for (const chunk of chunks) yield chunk
}

export function taskInput(plan: Plan, root: number, partition: number, sink: TaskInput['sink']): TaskInput {
  const shuffles = plan.nodes.flatMap((node, id) =>
    node.op === 'shuffle' ? [{ shuffle: `session/${node.fingerprint}`, node: id, peers: [] }] : [],
  )
  return { id: { stage: root, partition, attempt: 1, term: 1 }, root, sink, shuffles, holders: {} }
}

/** Computes the whole plan stage by stage; the outcome of each partition of the last node. */
export async function runPlan(
  maker: PlanMaker,
  action: Action,
  ports = new MemoryPorts(),
  runner = maker.runner(),
): Promise<TaskOutcome[]> {
  const plan = maker.plan(action)
  for (const [id, node] of plan.nodes.entries()) {
    if (node.op !== 'shuffle') continue
    const outputs: { bytes: Uint8Array; offsets: number[] }[] = []
    for (let map = 0; map < plan.nodes[node.parent]!.partitions; map++) {
      const outcome = await runner.runTask(
        'job',
        plan,
        taskInput(plan, node.parent, map, { kind: 'shuffle', node: id }),
        ports,
      )
      if (outcome.type !== 'failed') ports.spilledRecords += outcome.metrics.spilledRecords
      if (outcome.type === 'map-file') {
        outputs.push({ ...outcome, bytes: ports.spill.takeSealed(outcome.file) })
      } else if (outcome.type === 'map-output') outputs.push(outcome)
      else return [outcome]
    }
    ports.outputs.set(id, outputs)
  }
  const root = plan.nodes.length - 1
  const outcomes: TaskOutcome[] = []
  for (let partition = 0; partition < plan.nodes[root]!.partitions; partition++) {
    const input = taskInput(plan, root, partition, { kind: 'result' })
    const outcome = await runner.runTask('job', plan, input, ports)
    if (outcome.type === 'result-file') {
      outcomes.push({ ...outcome, type: 'result', bytes: ports.spill.takeSealed(outcome.file) })
    } else outcomes.push(outcome)
  }
  return outcomes
}

export function rowsOf(outcome: TaskOutcome): unknown[] {
  if (outcome.type === 'failed')
    throw new ShoalError('INTERNAL', { reason: outcome.error.message }, outcome.error.message)
  if (outcome.type === 'map-file' || outcome.type === 'result-file') {
    throw new Error('its rows are in a file')
  }
  return decodeRows(outcome.bytes)
}

/** Rows of each partition. */
export async function collect(maker: PlanMaker, ports?: MemoryPorts): Promise<unknown[][]> {
  return (await runPlan(maker, { kind: 'collect' }, ports)).map(rowsOf)
}
