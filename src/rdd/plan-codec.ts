import { createHash } from 'node:crypto'
import { z } from 'zod'
import { ShoalError } from '../base/errors.ts'
import { pack, unpack } from '../base/wire.ts'
import { JOBS } from './config.ts'
import { broadcastRef } from './shared-messages.ts'
import type {
  Action,
  CombineSpec,
  FileRange,
  FunctionRef,
  PartitionerSpec,
  Plan,
  PlanNode,
  Step,
  TextSplit,
} from './plan.ts'
import { parentIds } from './plan-graph.ts'

/** Plans as bytes: how they travel, how they are stored, and what their hash is taken over. */

const count = z.number().int().nonnegative()
const integer = z.number().int()
const bytes = z.instanceof(Uint8Array)
const text = z.string()

/** Builtins around functions around …: ours nest two deep. */
const FUNCTION_DEPTH_MAX = 8

const functionRef = nestedFunctionRef(FUNCTION_DEPTH_MAX)

function nestedFunctionRef(depth: number): z.ZodType<FunctionRef> {
  const inner = depth === 0 ? z.never() : nestedFunctionRef(depth - 1)
  return z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('closure'), id: count }),
    z.object({
      kind: z.literal('builtin'),
      name: text,
      fns: z.array(inner).exactOptional(),
      args: z.array(z.unknown()).exactOptional(),
    }),
  ])
}

const step: z.ZodType<Step> = z.discriminatedUnion('op', [
  z.object({ op: z.enum(['map', 'filter', 'flatMap', 'mapPartitions', 'stream']), fn: functionRef }),
  z.object({ op: z.literal('sort'), by: functionRef, ascending: z.boolean() }),
])

const partitioner: z.ZodType<PartitionerSpec> = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('hash'), partitions: count }),
  z.object({ kind: z.literal('range'), partitions: count, bounds: bytes, ascending: z.boolean() }),
  z.object({ kind: z.literal('custom'), partitions: count, fn: functionRef }),
])

const combine: z.ZodType<CombineSpec> = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('none') }),
  z.object({ kind: z.literal('reduce'), fn: functionRef }),
  z.object({
    kind: z.literal('aggregate'),
    create: functionRef,
    mergeValue: functionRef,
    mergeCombiners: functionRef,
    mapSide: z.boolean(),
  }),
  z.object({ kind: z.literal('group') }),
])

const storedBlock = z.object({ blockId: text, bytes: count })

const split: z.ZodType<TextSplit> = z.object({
  fileId: text,
  block: count,
  blockId: text,
  start: count,
  end: count,
  blockBytes: count,
  packed: z.array(storedBlock).exactOptional(),
})

const storedFile = z.object({ path: text, fileId: text, blocks: z.array(storedBlock) })
const fileRange = z.object({ file: count, start: count, end: count })

/** Of a kept partition: DISK_ONLY_3 has the most. */
const COPIES_MAX = 3

const base = {
  partitions: count,
  fingerprint: text,
  partitioner: partitioner.exactOptional(),
  cached: z.boolean(),
  level: z
    .object({
      memory: z.boolean(),
      disk: z.boolean(),
      copies: count.min(1).max(COPIES_MAX),
      pinned: z.literal(true).exactOptional(),
    })
    .exactOptional(),
  label: text,
  at: text.exactOptional(),
  name: text.exactOptional(),
}

const node: z.ZodType<PlanNode> = z.discriminatedUnion('op', [
  z.object({ ...base, op: z.literal('parallelize'), slices: z.array(bytes) }),
  z.object({ ...base, op: z.literal('range'), start: integer, step: integer, count }),
  z.object({ ...base, op: z.literal('textFile'), path: text, splits: z.array(split) }),
  z.object({
    ...base,
    op: z.literal('files'),
    path: text,
    files: z.array(storedFile),
    parts: z.array(z.array(fileRange)),
    read: functionRef,
  }),
  z.object({ ...base, op: z.literal('steps'), parent: count, steps: z.array(step) }),
  z.object({ ...base, op: z.literal('union'), parents: z.array(count) }),
  z.object({ ...base, op: z.literal('shuffle'), parent: count, by: partitioner, combine }),
  z.object({ ...base, op: z.literal('cogroup'), parents: z.array(count).min(1) }),
  z.object({ ...base, op: z.literal('coalesce'), parent: count }),
  z.object({ ...base, op: z.literal('zip'), parents: z.array(count).min(1), fn: functionRef }),
  z.object({ ...base, op: z.literal('cartesian'), parents: z.array(count).length(2) }),
  z.object({ ...base, op: z.literal('prune'), parent: count, kept: z.array(count) }),
  z.object({ ...base, op: z.literal('kept') }),
])

const action: z.ZodType<Action> = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('collect') }),
  z.object({ kind: z.literal('count') }),
  z.object({ kind: z.literal('reduce'), fn: functionRef }),
  z.object({ kind: z.literal('fold'), zero: bytes, fn: functionRef }),
  z.object({ kind: z.literal('take'), count }),
  z.object({ kind: z.literal('forEach'), fn: functionRef }),
  z.object({ kind: z.literal('partition'), fn: functionRef }),
  z.object({ kind: z.literal('saveText'), path: text, replication: count.exactOptional() }),
  z.object({
    kind: z.literal('saveBytes'),
    path: text,
    format: z.enum(['lines', 'csv', 'binary']),
    replication: count.exactOptional(),
  }),
])

/** Also in messages: what the executors of a job are asked for. */
export const packageNeeds = z
  .array(z.object({ name: text, version: text.exactOptional() }))
  .max(JOBS.packagesMax)

const plan: z.ZodType<Plan> = z.object({
  version: z.literal(1),
  nodes: z.array(node).min(1),
  closures: z.array(bytes),
  classes: z
    .array(z.object({ id: text, closure: bytes }))
    .max(JOBS.classesMax)
    .exactOptional(),
  packages: packageNeeds.exactOptional(),
  action,
  only: z.array(count).exactOptional(),
  taskTimeoutMs: z.number().int().min(1).max(JOBS.taskTimeoutMaxMs).exactOptional(),
  broadcasts: z.array(broadcastRef).exactOptional(),
  accumulators: z.array(text).exactOptional(),
})

/** The same bytes for the same plan, also when it was decoded from some: fields stand in the schema's order. */
export function encodePlan(given: Plan): Uint8Array {
  return pack(plan.parse(given))
}

/**
 * Bytes of any origin to a plan that is safe to schedule: of the right form, its nodes in topological order, its
 * partition counts what they follow from, its references in range. Slices and closures are views of the input.
 * @throws BAD_MESSAGE for anything else.
 */
export function decodePlan(encoded: Uint8Array): Plan {
  let value: unknown
  try {
    value = unpack(encoded)
  } catch (error) {
    throw refused('no whole msgpack value', error)
  }
  const parsed = plan.safeParse(value)
  if (!parsed.success) throw refused(z.prettifyError(parsed.error))
  const contradiction = contradictionIn(parsed.data)
  if (contradiction !== undefined) throw refused(contradiction)
  return parsed.data
}

/** SHA-256 of the encoded plan, 32 hexadecimal digits: its name among the peers that hold it. */
export function planHash(encoded: Uint8Array): string {
  return createHash('sha256').update(encoded).digest('hex').slice(0, HASH_DIGITS)
}

const HASH_DIGITS = 32

function contradictionIn(plan: Plan): string | undefined {
  let together = 0
  for (const [id, node] of plan.nodes.entries()) {
    if (node.partitions > JOBS.partitionsMax)
      return `node ${id} (${node.label}) has ${node.partitions} partitions, ${JOBS.partitionsMax} are the most`
    together += node.partitions
    if (together > JOBS.planPartitionsMax)
      return `its RDDs have more than ${JOBS.planPartitionsMax} partitions together`
    if (parentIds(node).some(parent => parent >= id)) return `node ${id} stands before its parent`
    if (node.partitions !== derivedPartitions(plan, node))
      return `node ${id} cannot have ${node.partitions} partitions`
    const { partitioner } = node
    if (partitioner !== undefined && partitioner.partitions !== node.partitions) {
      return `node ${id} has another number of partitions than its partitioner`
    }
    if (
      (node.op === 'cogroup' || node.op === 'zip') &&
      node.parents.some(parent => plan.nodes[parent]!.partitions !== node.partitions)
    ) {
      return `node ${id} brings together parents that are partitioned differently`
    }
    if (node.op === 'files' && node.parts.some(ranges => ranges.some(range => !isWithin(node, range)))) {
      return `node ${id} reads beyond the end of a file`
    }
    if (node.op === 'kept' && !node.cached) return `node ${id} is kept nowhere`
    if (node.op === 'prune' && node.kept.some(kept => kept >= plan.nodes[node.parent]!.partitions)) {
      return `node ${id} keeps a partition that its parent does not have`
    }
  }
  const missing = closureIds([plan.nodes, plan.action]).find(id => id >= plan.closures.length)
  if (missing !== undefined) return `closure ${missing} is missing`
  const partitions = plan.nodes.at(-1)!.partitions
  const isAscending = plan.only?.every((partition, i, only) => i === 0 || partition > only[i - 1]!) ?? true
  if (!isAscending || (plan.only?.at(-1) ?? -1) >= partitions)
    return 'the wanted partitions are not ascending and in range'
  return undefined
}

function isWithin({ files }: PlanNode & { op: 'files' }, { file, start, end }: FileRange): boolean {
  const blocks = files[file]?.blocks
  return blocks !== undefined && start <= end && end <= blocks.reduce((sum, { bytes }) => sum + bytes, 0)
}

/** What the number of partitions of a node follows from; where nothing forces it, what it says. */
function derivedPartitions(plan: Plan, node: PlanNode): number {
  switch (node.op) {
    case 'parallelize':
      return node.slices.length
    case 'range':
      return node.partitions
    case 'textFile':
      return node.splits.length
    case 'files':
      return node.parts.length
    case 'steps':
      return plan.nodes[node.parent]!.partitions
    case 'union':
      return node.parents.reduce((sum, parent) => sum + plan.nodes[parent]!.partitions, 0)
    case 'shuffle':
      return node.by.partitions
    case 'cogroup':
    case 'zip':
    case 'kept':
      return node.partitions
    case 'coalesce':
      return Math.min(node.partitions, plan.nodes[node.parent]!.partitions)
    case 'cartesian':
      return node.parents.reduce((product, parent) => product * plan.nodes[parent]!.partitions, 1)
    case 'prune':
      return node.kept.length
  }
}

/** Ids of all closures referred to anywhere in plain data. */
function closureIds(value: unknown): number[] {
  if (Array.isArray(value)) return value.flatMap(closureIds)
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return []
  if ('kind' in value && value.kind === 'closure' && 'id' in value) return [value.id as number]
  return Object.values(value).flatMap(closureIds)
}

function refused(reason: string, cause?: unknown): ShoalError<'BAD_MESSAGE'> {
  const options = cause === undefined ? undefined : { cause }
  return new ShoalError(
    'BAD_MESSAGE',
    { type: 'plan', reason },
    `not a plan of this version: ${reason}`,
    options,
  )
}
