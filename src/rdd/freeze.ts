import { createHash } from 'node:crypto'
import type { AbortOptions } from '../base/deadline.ts'
import { pack } from '../base/wire.ts'
import { Accumulator } from './accumulator.ts'
import { Broadcast } from './broadcast.ts'
import { capture, encodeClosure, type PackageNeed, type SharedHandle } from './closure/index.ts'
import { JOBS } from './config.ts'
import { invalid } from './dataset.ts'
import { partsOf } from './file-layout.ts'
import type { JobLabels } from './job-groups.ts'
import type { DatasetEnvironment } from './environment.ts'
import {
  ancestry,
  type GivenPartitioner,
  type Lineage,
  type LineageAction,
  type LineageCombine,
  type LineageFn,
  type LineageStep,
  type Partitioning,
  type Probe,
  type UserFunction,
} from './lineage.ts'
import { reusablePartitioner, samePartitioner, wantedPartitions } from './partitioner.ts'
import type {
  Action,
  CombineSpec,
  FunctionRef,
  NodeId,
  PartitionerSpec,
  Plan,
  PlanNode,
  Step,
} from './plan.ts'
import { reachable } from './plan-graph.ts'
import { sampleBounds } from './range-bounds.ts'
import { partials } from './requester.ts'
import { keptLevel, strongerLevel } from './storage-level.ts'

export interface FreezeOptions extends AbortOptions {
  /** Run the sampling jobs that sorts need; false leaves their bounds empty, good enough to explain. @default true */
  sample?: boolean
  /** Of each task of the job; those of jobs that it needs first have none. @default none */
  taskTimeoutMs?: number | undefined
  /** Of the action, for the jobs that it needs first. @default those set when they run */
  labels?: JobLabels
}

/**
 * Freezes a lineage and an action into a plan: files resolved, sorts sampled, shuffles that an equal partitioner makes
 * needless left out, each function captured once, equal parts merged into one node.
 * @throws what resolving files, capturing closures (CLOSURE_REFUSED) and running sampling jobs throws.
 */
export async function freeze(
  target: Lineage,
  action: LineageAction,
  environment: DatasetEnvironment,
  options: FreezeOptions = {},
): Promise<Plan> {
  const freezer = new Freezer(environment, options)
  for (const lineage of ancestry(target)) await freezer.add(lineage)
  const plan = freezer.plan(target, action)
  const { taskTimeoutMs } = options
  if (taskTimeoutMs === undefined) return plan
  const isCount = Number.isSafeInteger(taskTimeoutMs) && taskTimeoutMs >= 1
  if (!isCount || taskTimeoutMs > JOBS.taskTimeoutMaxMs) {
    throw invalid(`taskTimeoutMs is a whole number from 1 to ${JOBS.taskTimeoutMaxMs}, not ${taskTimeoutMs}`)
  }
  return { ...plan, taskTimeoutMs }
}

/** A node before it has its identity. */
type Draft = DraftOf<PlanNode>
type DraftOf<Node> = Node extends PlanNode ? Omit<Node, 'fingerprint' | 'cached' | 'label'> : never

class Freezer {
  readonly #environment: DatasetEnvironment
  readonly #options: FreezeOptions
  readonly #nodes: PlanNode[] = []
  readonly #ids = new Map<Lineage, NodeId>()
  readonly #byFingerprint = new Map<string, NodeId>()
  readonly #closures: Uint8Array[] = []
  /** SHA-256 of each closure, by its index. */
  readonly #hashes: string[] = []
  readonly #captured = new Map<UserFunction, number>()
  /** Broadcasts and accumulators that a closure refers to. */
  readonly #shared = new Map<Uint8Array, readonly SharedHandle[]>()
  /** By name. */
  readonly #packages = new Map<string, PackageNeed>()

  constructor(environment: DatasetEnvironment, options: FreezeOptions) {
    this.#environment = environment
    this.#options = options
  }

  /** Parents first. */
  async add(lineage: Lineage): Promise<void> {
    this.#options.signal?.throwIfAborted()
    const id = await this.#freeze(lineage)
    this.#ids.set(lineage, id)
    const node = this.#nodes[id]!
    if (lineage.marks.name !== undefined) node.name ??= lineage.marks.name
    const { level } = lineage.marks
    if (level === undefined) return
    const wanted = keptLevel(level)
    node.level = node.level === undefined ? wanted : strongerLevel(node.level, wanted)
    node.cached = true
    lineage.marks.keptAs.add(node.fingerprint)
  }

  plan(target: Lineage, action: LineageAction): Plan {
    const frozen = this.#action(action, target.label)
    return this.#sealed(this.#ids.get(target)!, frozen)
  }

  #sealed(root: NodeId, action: Action): Plan {
    const plan = this.#withShared(
      reachable({ version: 1, nodes: this.#nodes, closures: this.#closures, action }, root),
    )
    const { classes, packages: ofClasses } = this.#environment.classes
    if (classes.length > 0) plan.classes = [...classes]
    for (const need of ofClasses) this.#packages.set(need.name, need)
    const packages = [...this.#packages.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
    return packages.length === 0 ? plan : { ...plan, packages }
  }

  #withShared(plan: Plan): Plan {
    const handles = new Set(plan.closures.flatMap(closure => this.#shared.get(closure) ?? []))
    const broadcasts = [...handles].filter(handle => handle instanceof Broadcast).map(({ ref }) => ref)
    const accumulators = [...handles].filter(handle => handle instanceof Accumulator).map(({ id }) => id)
    if (broadcasts.length > 0) plan.broadcasts = broadcasts
    if (accumulators.length > 0) plan.accumulators = accumulators
    return plan
  }

  async #freeze(lineage: Lineage): Promise<NodeId> {
    const saved = lineage.marks.checkpoint?.lineage
    // Not there when it was made while this very lineage was being frozen: then it is computed once more.
    if (saved !== undefined && this.#ids.has(saved)) return this.#ids.get(saved)!
    switch (lineage.op) {
      case 'parallelize':
        return this.#node(
          { op: 'parallelize', slices: lineage.slices, partitions: lineage.slices.length },
          lineage,
        )
      case 'range': {
        const { start, step, count, partitions } = lineage
        return this.#node({ op: 'range', start, step, count, partitions }, lineage)
      }
      case 'textFile': {
        const { paths, minPartitions, marks } = lineage
        const { signal } = this.#options
        // Of two actions that resolve at the same time, both go on with what the first has found.
        if (marks.splits === undefined) {
          const found = await this.#environment.files.resolveText(paths, minPartitions, { signal })
          marks.splits ??= found
        }
        const splits = marks.splits
        return this.#node(
          { op: 'textFile', path: paths.join(','), splits, partitions: splits.length },
          lineage,
        )
      }
      case 'files': {
        const { paths, layout, marks } = lineage
        const { signal } = this.#options
        if (marks.files === undefined) {
          const cut = layout.by === 'block' ? layout.cuts[0] : undefined
          const found = await this.#environment.files.resolveFiles(paths, { signal, ...(cut && { cut }) })
          marks.files ??= found
        }
        const parts = partsOf(marks.files, layout)
        const files = marks.files.map(({ path, fileId, blocks }) => ({ path, fileId, blocks }))
        const read = this.#function(lineage.read, lineage.label)
        const partitioner = this.#given(lineage.partitioner, parts.length, lineage.label)
        const path = paths.join(',')
        return this.#node(
          { op: 'files', path, files, parts, read, partitions: parts.length, ...partitioner },
          lineage,
        )
      }
      case 'kept': {
        const { fingerprint, partitions } = lineage
        const partitioner = this.#given(lineage.partitioner, partitions, lineage.label)
        return this.#node({ op: 'kept', partitions, ...partitioner }, lineage, fingerprint)
      }
      case 'steps': {
        const steps = lineage.steps.map(step => this.#step(step, lineage.label))
        return this.#steps(this.#ids.get(lineage.parent)!, steps, lineage.keepsPartitioner, lineage)
      }
      case 'union': {
        const parents = lineage.parents.map(parent => this.#ids.get(parent)!)
        const partitions = parents.reduce((sum, parent) => sum + this.#nodes[parent]!.partitions, 0)
        return this.#node({ op: 'union', parents, partitions }, lineage)
      }
      case 'combine':
        return this.#combine(lineage)
      case 'cogroup': {
        const parents = lineage.parents.map(parent => this.#ids.get(parent)!)
        const by = await this.#partitioner(lineage.by, parents, lineage)
        return this.#cogroup(parents, by, lineage)
      }
      case 'coalesce': {
        const parent = this.#ids.get(lineage.parent)!
        const partitions = Math.min(lineage.partitions, this.#nodes[parent]!.partitions)
        return this.#node({ op: 'coalesce', parent, partitions }, lineage)
      }
      case 'zip':
        return this.#zip(lineage)
      case 'cartesian': {
        const parents = lineage.parents.map(parent => this.#ids.get(parent)!)
        const partitions = parents.reduce((product, parent) => product * this.#nodes[parent]!.partitions, 1)
        return this.#node({ op: 'cartesian', parents, partitions }, lineage)
      }
      case 'prune': {
        const kept = [...lineage.kept]
        const parent = this.#ids.get(lineage.parent)!
        return this.#node({ op: 'prune', parent, kept, partitions: kept.length }, lineage)
      }
      case 'deferred': {
        const made = await this.#made(lineage)
        for (const part of ancestry(made)) if (!this.#ids.has(part)) await this.add(part)
        return this.#ids.get(made)!
      }
    }
  }

  /** Of two actions that make it at the same time, both go on with what the first has made. */
  async #made(lineage: Lineage & { op: 'deferred' }): Promise<Lineage> {
    const { marks, make } = lineage
    if (marks.made !== undefined) return marks.made
    const probe = this.#probe(lineage)
    const made = await make(probe)
    return probe.runsJobs ? (marks.made ??= made) : made
  }

  #probe(lineage: Lineage): Probe {
    const nodeOf = (parent: Lineage): PlanNode => this.#nodes[this.#ids.get(parent)!]!
    const runsJobs = this.#options.sample !== false
    return {
      runsJobs,
      partitions: parent => nodeOf(parent).partitions,
      partitioner: parent => nodeOf(parent).partitioner,
      run: async (parent, action, what, only) => {
        const rows: unknown[][] = Array.from({ length: nodeOf(parent).partitions }, () => [])
        if (!runsJobs || rows.length === 0 || only?.length === 0) return rows
        const sealed = this.#sealed(this.#ids.get(parent)!, this.#action(action, lineage.label))
        const plan = only === undefined ? sealed : { ...sealed, only: [...only] }
        const { signal, labels } = this.#options
        const name = `${lineage.label}: ${what}`
        const run = { name, signal, ordered: false, isHelper: true, ...(labels && { labels }) }
        for await (const each of partials(this.#environment.runner, plan, run))
          rows[each.partition] = each.rows
        return rows
      },
    }
  }

  #zip(lineage: Lineage & { op: 'zip' }): NodeId {
    const parents = lineage.parents.map(parent => this.#ids.get(parent)!)
    const counts = parents.map(parent => this.#nodes[parent]!.partitions)
    if (new Set(counts).size > 1) {
      throw invalid(
        `${lineage.label}() needs as many partitions of each RDD, not ${counts.join(' and ')}; ` +
          `repartition or coalesce one of them, or use zipByIndex()`,
      )
    }
    const fn = this.#function(lineage.fn, lineage.label)
    return this.#node({ op: 'zip', parents, fn, partitions: counts[0]! }, lineage)
  }

  async #combine(lineage: Lineage & { op: 'combine' }): Promise<NodeId> {
    const parent = this.#ids.get(lineage.parent)!
    const combine = this.#combineSpec(lineage.combine, lineage.label)
    const by = await this.#partitioner(lineage.by, [parent], lineage)
    if (!samePartitioner(this.#nodes[parent]!.partitioner, by))
      return this.#shuffle(parent, by, combine, lineage)
    if (combine.kind === 'none') return this.#steps(parent, [], true, lineage)
    const grouped = this.#cogroup([parent], by, lineage)
    return this.#steps(grouped, [{ op: 'map', fn: onGroupedValues(combine) }], true, lineage)
  }

  #cogroup(parents: readonly NodeId[], by: PartitionerSpec, lineage: Lineage): NodeId {
    const together = parents.map(parent =>
      samePartitioner(this.#nodes[parent]!.partitioner, by)
        ? parent
        : this.#shuffle(parent, by, { kind: 'none' }, lineage),
    )
    return this.#node(
      { op: 'cogroup', parents: together, partitions: by.partitions, partitioner: by },
      lineage,
    )
  }

  #shuffle(parent: NodeId, by: PartitionerSpec, combine: CombineSpec, lineage: Lineage): NodeId {
    return this.#node(
      { op: 'shuffle', parent, by, combine, partitions: by.partitions, partitioner: by },
      lineage,
    )
  }

  #steps(parent: NodeId, steps: Step[], keepsPartitioner: boolean, lineage: Lineage): NodeId {
    const { partitions, partitioner } = this.#nodes[parent]!
    const kept = keepsPartitioner && partitioner !== undefined ? { partitioner } : {}
    return this.#node({ op: 'steps', parent, steps, partitions, ...kept }, lineage)
  }

  async #partitioner(
    wanted: Partitioning,
    parents: readonly NodeId[],
    lineage: Lineage,
  ): Promise<PartitionerSpec> {
    const nodes = parents.map(parent => this.#nodes[parent]!)
    const partitions = wantedPartitions(wanted, nodes)
    switch (wanted.kind) {
      case 'default': {
        const reusable = wanted.partitions === undefined ? reusablePartitioner(nodes) : undefined
        return reusable ?? { kind: 'hash', partitions }
      }
      case 'custom':
        return { kind: 'custom', partitions, fn: this.#function(wanted.fn, lineage.label) }
      case 'given':
        return wanted.partitioner
      case 'range': {
        const bounds = await this.#bounds(parents[0]!, partitions, lineage)
        return { kind: 'range', partitions, bounds, ascending: wanted.ascending }
      }
    }
  }

  async #bounds(parent: NodeId, partitions: number, lineage: Lineage): Promise<Uint8Array> {
    if (lineage.marks.bounds !== undefined) return lineage.marks.bounds
    if (this.#options.sample === false) return new Uint8Array()
    const bounds = await sampleBounds(
      action => this.#sealed(parent, action),
      { partitions, inputs: this.#nodes[parent]!.partitions },
      this.#environment.runner,
      {
        name: `${lineage.label}: sampling`,
        isHelper: true,
        signal: this.#options.signal,
        ...(this.#options.labels && { labels: this.#options.labels }),
      },
    )
    lineage.marks.bounds ??= bounds
    return lineage.marks.bounds
  }

  /** None when the partitions are not those that were partitioned. */
  #given(
    given: GivenPartitioner | undefined,
    partitions: number,
    operator: string,
  ): { partitioner?: PartitionerSpec } {
    if (given?.partitions !== partitions) return {}
    return {
      partitioner: given.kind === 'custom' ? { ...given, fn: this.#function(given.fn, operator) } : given,
    }
  }

  /** Its id, or that of an equal node: the same fingerprint is the same data, and one shuffle serves both. */
  #node(draft: Draft, lineage: Lineage, fingerprint = this.#fingerprint(draft)): NodeId {
    const known = this.#byFingerprint.get(fingerprint)
    if (known !== undefined) return known
    const id = this.#nodes.length
    const at = lineage.at === undefined ? {} : { at: lineage.at }
    const cached = draft.op === 'kept'
    this.#nodes.push({ ...draft, fingerprint, cached, label: lineage.label, ...at })
    this.#byFingerprint.set(fingerprint, id)
    return id
  }

  /** Over everything that decides the data; ids of nodes and closures stand for their hashes. */
  #fingerprint(draft: Draft): string {
    const content: Record<string, unknown> = { ...draft }
    switch (draft.op) {
      case 'parallelize':
        content['slices'] = draft.slices.map(slice => sha256(slice))
        break
      case 'range':
      case 'textFile':
      case 'files':
      case 'kept':
        break
      case 'steps':
      case 'coalesce':
      case 'prune':
      case 'shuffle':
        content['parent'] = this.#nodes[draft.parent]!.fingerprint
        break
      case 'union':
      case 'cogroup':
      case 'zip':
      case 'cartesian':
        content['parents'] = draft.parents.map(parent => this.#nodes[parent]!.fingerprint)
        break
    }
    return sha256(pack(this.#hashed(content))).slice(0, FINGERPRINT_DIGITS)
  }

  /** A copy with closures named by their hashes. */
  #hashed(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(item => this.#hashed(item))
    if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
    if ('kind' in value && value.kind === 'closure' && 'id' in value) return this.#hashes[value.id as number]
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.#hashed(item)]))
  }

  #step(step: LineageStep, operator: string): Step {
    if (step.op === 'sort') return { ...step, by: this.#function(step.by, operator) }
    return { ...step, fn: this.#function(step.fn, operator) }
  }

  #combineSpec(combine: LineageCombine, operator: string): CombineSpec {
    switch (combine.kind) {
      case 'none':
      case 'group':
        return combine
      case 'reduce':
        return { kind: 'reduce', fn: this.#function(combine.fn, operator) }
      case 'aggregate':
        return {
          ...combine,
          create: this.#function(combine.create, operator),
          mergeValue: this.#function(combine.mergeValue, operator),
          mergeCombiners: this.#function(combine.mergeCombiners, operator),
        }
    }
  }

  #action(action: LineageAction, operator: string): Action {
    return 'fn' in action ? { ...action, fn: this.#function(action.fn, operator) } : action
  }

  #function(fn: LineageFn, operator: string): FunctionRef {
    if (fn.kind === 'user') return { kind: 'closure', id: this.#closure(fn.fn, operator) }
    if (fn.kind === 'captured') {
      this.#need(fn.packages)
      return { kind: 'closure', id: this.#stored(fn.closure) }
    }
    const { kind, name, fns, args } = fn
    return {
      kind,
      name,
      ...(fns !== undefined && { fns: fns.map(part => this.#function(part, operator)) }),
      ...(args !== undefined && { args }),
    }
  }

  #closure(fn: UserFunction, operator: string): number {
    const known = this.#captured.get(fn)
    if (known !== undefined) return known
    const captured = capture(fn, { ...this.#environment.capture, operator })
    this.#need(captured.packages)
    const id = this.#stored(encodeClosure(captured))
    if (captured.shared.length > 0) this.#shared.set(this.#closures[id]!, captured.shared)
    this.#captured.set(fn, id)
    return id
  }

  #need(packages: readonly PackageNeed[]): void {
    for (const need of packages) {
      if (need.version !== undefined || !this.#packages.has(need.name)) this.#packages.set(need.name, need)
    }
  }

  #stored(closure: Uint8Array): number {
    const hash = sha256(closure)
    const known = this.#hashes.indexOf(hash)
    if (known >= 0) return known
    this.#hashes.push(hash)
    return this.#closures.push(closure) - 1
  }
}

/** Enough of a SHA-256 that no two lineages collide. */
const FINGERPRINT_DIGITS = 32

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** [key, [values]] → [key, combined]: what the reduce side of a shuffle would have done. */
function onGroupedValues(combine: Exclude<CombineSpec, { kind: 'none' }>): FunctionRef {
  switch (combine.kind) {
    case 'group':
      return { kind: 'builtin', name: 'groupedValues' }
    case 'reduce':
      return { kind: 'builtin', name: 'reduceGrouped', fns: [combine.fn] }
    case 'aggregate':
      return { kind: 'builtin', name: 'aggregateGrouped', fns: [combine.create, combine.mergeValue] }
  }
}
