import { parentIds } from './plan-graph.ts'
import { planStages } from './planner.ts'
import type { NodeId, PartitionerSpec, Plan, PlanNode } from './plan.ts'
import type { KeptReport } from './job-runner.ts'
import { levelText, MEMORY_LEVEL } from './storage-level.ts'
import type { Stage } from './task.ts'

/** What is kept, by fingerprint. */
type Kept = ReadonlyMap<string, KeptReport>
const NOTHING_KEPT: Kept = new Map()

/**
 * The plan for people: stages in the order they run, in each the operators from source to result with the lines that
 * called them, and for every shuffle why it is needed, or why not. The same plan gives the same text.
 */
export function explain(plan: Plan, kept: Kept = NOTHING_KEPT): string {
  const stages = planStages(plan)
  const result = plan.nodes.at(-1)!
  const lines = [
    `${plan.action.kind} of ${counted(stages.at(-1)!.partitions.length, 'partition')} in ${counted(stages.length, 'stage')}` +
      (result.name === undefined ? '' : `: ${result.name}`),
  ]
  const members = stages.map(stage => stageNodes(plan, stage))
  for (const stage of stages) lines.push(...explainStage(plan, stages, members, stage, kept))
  return lines.join('\n')
}

/** The lineage as Spark's RDD.toDebugString draws it: one line a node, each shuffle one step in. */
export function toDebugString(plan: Plan, kept: Kept = NOTHING_KEPT): string {
  const drawing = new LineageDrawing(plan, kept)
  drawing.draw(plan.nodes.length - 1)
  return drawing.lines.join('\n')
}

function explainStage(
  plan: Plan,
  stages: readonly Stage[],
  members: readonly NodeId[][],
  stage: Stage,
  kept: Kept,
): string[] {
  const { sink } = stage
  const after = stage.parents.length === 0 ? '' : `, after stage ${stage.parents.join(', ')}`
  const purpose = sink.kind === 'result' ? 'result' : `writes the shuffle of #${sink.node}`
  const ids = members[stage.id]!
  const shared = ids.findLast(id => isShared(plan, members, id))
  const rows = ids.map(id => {
    const notes = [describe(plan, id)]
    const node = plan.nodes[id]!
    if (node.op === 'shuffle')
      notes.push(`read from stage ${stages.find(({ sink }) => writes(sink, id))!.id}`)
    if (node.cached) notes.push(describeKept(node, kept.get(node.fingerprint)))
    else if (id === shared) {
      const others = stages.filter(other => other !== stage && members[other.id]!.includes(id))
      notes.push(`computed in stage ${others.map(({ id }) => id).join(', ')} too; cache() would keep it`)
    }
    return {
      what: `#${id} ${node.label}${node.name === undefined ? '' : ` "${node.name}"`}`,
      at: node.at ?? '',
      partitions: String(node.partitions),
      notes: notes.filter(note => note !== '').join('; '),
    }
  })
  const width = (column: 'what' | 'at' | 'partitions'): number =>
    Math.max(...rows.map(row => row[column].length))
  const [whatWidth, atWidth, countWidth] = [width('what'), width('at'), width('partitions')]
  const lines = rows.map(({ what, at, partitions, notes }) =>
    `  ${what.padEnd(whatWidth)}  ${at.padEnd(atWidth)}  ${partitions.padStart(countWidth)} part.  ${notes}`.trimEnd(),
  )
  return [`stage ${stage.id}: ${counted(stage.partitions.length, 'task')}${after}; ${purpose}`, ...lines]
}

function writes(sink: Stage['sink'], node: NodeId): boolean {
  return sink.kind === 'shuffle' && sink.node === node
}

/** Nodes that the tasks of a stage run through, ascending; a shuffle is where they begin to read. */
export function stageNodes(plan: Plan, stage: Stage): NodeId[] {
  const seen = new Set<NodeId>([stage.root])
  for (let id = stage.root; id >= 0; id--) {
    const node = plan.nodes[id]!
    if (seen.has(id) && node.op !== 'shuffle') for (const parent of parentIds(node)) seen.add(parent)
  }
  // A partial result may need no partition of some parent: that parent's shuffle has no stage.
  const unread = (id: NodeId): boolean => plan.nodes[id]!.op === 'shuffle' && !stage.reads.includes(id)
  return [...seen].filter(id => !unread(id)).sort((a, b) => a - b)
}

/** `kept in memory and on disk, 2 copies: 3 of 8 partitions are (1.5 MiB in memory)`. */
function describeKept(
  { level = MEMORY_LEVEL, partitions }: PlanNode,
  report: KeptReport | undefined,
): string {
  const places = [...(level.memory ? ['in memory'] : []), ...(level.disk ? ['on disk'] : [])].join(' and ')
  const copies = level.copies === 1 ? '' : `, ${level.copies} copies`
  if (report === undefined) return `kept ${places}${copies}`
  const bytes = [
    ...(report.memoryBytes > 0 ? [`${sizeText(report.memoryBytes)} in memory`] : []),
    ...(report.diskBytes > 0 ? [`${sizeText(report.diskBytes)} on disk`] : []),
  ].join(', ')
  return `kept ${places}${copies}: ${report.partitions} of ${partitions} are${bytes === '' ? '' : ` (${bytes})`}`
}

/** As Spark writes sizes: `1.5 MiB`. */
function sizeText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const unit = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10))
  return `${(bytes / 2 ** (10 * unit)).toFixed(1)} ${units[unit]}`
}

/** More than one stage computes it: not what is read from a shuffle, and not kept. */
function isShared(plan: Plan, members: readonly NodeId[][], id: NodeId): boolean {
  const { op, cached } = plan.nodes[id]!
  return op !== 'shuffle' && !cached && members.filter(ids => ids.includes(id)).length > 1
}

function describe(plan: Plan, id: NodeId): string {
  const node = plan.nodes[id]!
  switch (node.op) {
    case 'parallelize':
      return `local data, ${counted(
        node.slices.reduce((sum, slice) => sum + slice.byteLength, 0),
        'byte',
      )}`
    case 'range':
      return `${counted(node.count, 'number')} from ${node.start}${node.step === 1 ? '' : ` by ${node.step}`}`
    case 'textFile':
      return node.path
    case 'files':
      return `${counted(node.files.length, 'file')} of ${node.path}`
    case 'steps':
      return describeSteps(plan, node)
    case 'union':
    case 'zip':
    case 'cartesian':
      return `of ${ids(node.parents)}`
    case 'coalesce':
      return `of the ${plan.nodes[node.parent]!.partitions} of #${node.parent}, no shuffle`
    case 'kept':
      return 'what it was computed from is forgotten'
    case 'prune':
      return `${node.kept.length} of the ${plan.nodes[node.parent]!.partitions} of #${node.parent}: the others cannot match`
    case 'shuffle':
      return describeShuffle(plan, node)
    case 'cogroup': {
      const ready = [...new Set(node.parents)].filter(parent => !isOwnShuffle(node, plan.nodes[parent]!))
      const by = node.partitioner === undefined ? '' : named(node.partitioner)
      const kept = ready.length === 0 ? '' : `; no shuffle of ${ids(ready)}: partitioned by ${by} already`
      return `of ${ids(node.parents)} by key${kept}`
    }
  }
}

/** A shuffle made for this very cogroup, not one that the user's own operator needed anyway. */
function isOwnShuffle(cogroup: PlanNode, { op, label, at }: PlanNode): boolean {
  return op === 'shuffle' && label === cogroup.label && at === cogroup.at
}

function describeSteps(plan: Plan, node: PlanNode & { op: 'steps' }): string {
  if (node.steps.length === 0 && node.partitioner !== undefined) {
    return `no shuffle: partitioned by ${named(node.partitioner)} already`
  }
  const parent = plan.nodes[node.parent]!
  const notes: string[] = []
  const sort = node.steps.find(step => step.op === 'sort')
  if (sort !== undefined) notes.push(`sorts each partition, ${sort.ascending ? 'ascending' : 'descending'}`)
  if (parent.partitioner !== undefined && node.partitioner === undefined)
    notes.push(`forgets ${named(parent.partitioner)}`)
  return notes.join('; ')
}

function describeShuffle(plan: Plan, node: PlanNode & { op: 'shuffle' }): string {
  const parent = plan.nodes[node.parent]!
  const why =
    parent.partitioner === undefined
      ? `#${node.parent} has no known partitioner`
      : `#${node.parent} is partitioned by ${named(parent.partitioner)}`
  return `shuffle by ${named(node.by)}, as ${why}; ${COMBINED[node.combine.kind]}`
}

const COMBINED = {
  none: 'pairs sent as they are',
  reduce: 'combined before sending',
  aggregate: 'combined before sending',
  group: 'all values sent',
} as const

function named(partitioner: PartitionerSpec): string {
  if (partitioner.kind === 'range' && partitioner.partitions > 1 && partitioner.bounds.byteLength === 0) {
    return `range(${partitioner.partitions}) of keys to be sampled`
  }
  return `${partitioner.kind}(${partitioner.partitions})`
}

function ids(nodes: readonly NodeId[]): string {
  return nodes.map(node => `#${node}`).join(', ')
}

function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`
}

/** Spark's layout; a node that several others share is drawn once and then only named, or loops would draw without end. */
class LineageDrawing {
  readonly lines: string[] = []
  readonly #plan: Plan
  readonly #kept: Kept
  readonly #drawn = new Set<NodeId>()

  constructor(plan: Plan, kept: Kept) {
    this.#plan = plan
    this.#kept = kept
  }

  draw(root: NodeId): void {
    const { count, offset } = partitionBox(this.#plan.nodes[root]!)
    const prefix = `${' '.repeat(offset)}|${' '.repeat(count.length - offset)}`
    this.#node(root, `${count} `, prefix)
  }

  /** @param first What stands before the node's own line. @param rest What stands before those below it. */
  #node(id: NodeId, first: string, rest: string): void {
    let head = first
    // A loop along single narrow parents: chains may be longer than the stack.
    for (let at: NodeId | undefined = id; at !== undefined;) {
      const node: PlanNode = this.#plan.nodes[at]!
      const again = this.#drawn.has(at) && parentIds(node).length > 0
      this.lines.push(head + this.#self(at) + (again ? ' (drawn above)' : ''))
      if (again) return
      const report = this.#kept.get(node.fingerprint)
      if (report !== undefined) this.lines.push(`${rest}${storageText(report)}`)
      this.#drawn.add(at)
      head = rest
      const parents: readonly NodeId[] = parentIds(node)
      at = node.op !== 'shuffle' && parents.length === 1 ? parents[0] : undefined
      if (at !== undefined) continue
      for (const [i, parent] of parents.entries()) {
        if (node.op === 'shuffle') this.#shuffled(parent, rest)
        else if (this.#plan.nodes[parent]!.op === 'shuffle')
          this.#inner(parent, rest, i === parents.length - 1)
        else this.#node(parent, rest, rest)
      }
    }
  }

  /** A shuffle's own input, one step in. */
  #shuffled(id: NodeId, prefix: string): void {
    const { count, offset } = partitionBox(this.#plan.nodes[id]!)
    const here = prefix.replace(/\|\s+$/, '')
    const next = `${here}  ${' '.repeat(offset)}|${' '.repeat(count.length - offset)}`
    this.#node(id, `${here}+-${count} `, next)
  }

  /** One of several parents that is itself a shuffle: drawn with a line that goes on to its siblings. */
  #inner(id: NodeId, prefix: string, isLast: boolean): void {
    const before = this.lines.length
    this.#node(id, prefix, prefix)
    if (isLast) return
    const bar = prefix.search(/\|\s+$/)
    for (let i = before + 1; i < this.lines.length; i++) {
      const line = this.lines[i]!
      if (line[bar] === ' ' || line[bar] === undefined)
        this.lines[i] = `${line.slice(0, bar)}|${line.slice(bar + 1)}`
    }
  }

  #self(id: NodeId): string {
    const { label, at, name, cached, level = MEMORY_LEVEL, op } = this.#plan.nodes[id]!
    const kind = op === 'shuffle' ? ' (shuffle)' : ''
    return `${name === undefined ? '' : `${name} `}${label}${kind}${at === undefined ? '' : ` at ${at}`} [${id}]${cached ? ` [${levelText(level)}]` : ''}`
  }
}

/** The line that Spark puts below a kept RDD. */
function storageText({ partitions, memoryBytes, diskBytes }: KeptReport): string {
  return `    CachedPartitions: ${partitions}; MemorySize: ${sizeText(memoryBytes)}; DiskSize: ${sizeText(diskBytes)}`
}

function partitionBox(node: PlanNode): { count: string; offset: number } {
  const count = `(${node.partitions})`
  return { count, offset: Math.floor((count.length - 1) / 2) }
}
