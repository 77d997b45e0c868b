import { below, type Random } from '../../../src/base/index.ts'
import { narrowInputs } from '../../../src/rdd/plan-graph.ts'
import type { NodeId, PartitionerSpec, Plan, PlanNode } from '../../../src/rdd/plan.ts'

/**
 * Random small plans, and what their partitions are worth: a number that depends on everything a partition is computed
 * from. A task that reads a wrong, missing or doubled input comes to another number.
 */

type Fields<Node> = Node extends PlanNode ? Omit<Node, 'fingerprint' | 'cached' | 'label'> : never

const NODES_MAX = 9
const PARTITIONS_MAX = 12

/** The share of plans with the narrow nodes over several partitions, which leave less room for shuffles. */
const RICH = 0.4
/** The share of such a plan's nodes that are kept where they were computed. */
const CACHED = 0.2

/** @param isSteady What is computed twice is the same: only then may partitions be kept. */
export function randomPlan(random: Random, name: string, isSteady: boolean): Plan {
  const nodes: PlanNode[] = []
  // What changes needs shuffles after shuffles to do harm.
  const isRich = random.next() < (isSteady ? RICH : RICH / 2)
  const add = (fields: Fields<PlanNode>): void => {
    const cached = isRich && isSteady && fields.op !== 'shuffle' && random.next() < CACHED
    nodes.push({ ...fields, fingerprint: `${name}-${nodes.length}`, cached, label: fields.op })
  }
  const source = (): void => {
    add({ op: 'range', start: 0, step: 1, count: 10, partitions: 1 + below(random, 6) })
  }
  const hash = (partitions: number): PartitionerSpec => ({ kind: 'hash', partitions })
  source()
  const count = 2 + below(random, NODES_MAX - 1)
  while (nodes.length < count) {
    const latest = nodes.length - 1
    const parent = random.next() < 0.7 ? latest : below(random, nodes.length)
    const chance = random.next()
    if (isRich && chance < 0.3) addNarrow(nodes, add, parent, random)
    else if (chance < 0.15) source()
    else if (chance < 0.35) add({ op: 'steps', parent, steps: [], partitions: nodes[parent]!.partitions })
    else if (chance < 0.7) {
      const partitions = 1 + below(random, 4)
      add({ op: 'shuffle', parent, by: hash(partitions), combine: { kind: 'none' }, partitions })
    } else if (chance < 0.85) {
      const parents = [latest, below(random, nodes.length)]
      const partitions = parents.reduce((sum, id) => sum + nodes[id]!.partitions, 0)
      if (partitions <= PARTITIONS_MAX) add({ op: 'union', parents, partitions })
    } else {
      const { partitions } = nodes[parent]!
      const alike = nodes.flatMap((node, id) => (node.partitions === partitions && id !== parent ? [id] : []))
      const other = alike[below(random, alike.length)]
      add({ op: 'cogroup', parents: other === undefined ? [parent] : [parent, other], partitions })
    }
  }
  // A requester asks nothing of a result without partitions.
  if (nodes.at(-1)!.partitions === 0) source()
  const last = nodes.at(-1)!
  const all = Array.from({ length: last.partitions }, (_, partition) => partition)
  const only = all.filter(() => random.next() < 0.6)
  const isPart = random.next() < 0.2 && only.length > 0
  return { version: 1, nodes, closures: [], action: { kind: 'collect' }, ...(isPart && { only }) }
}

/** Streams, and nodes that read several partitions, or none. */
function addNarrow(
  nodes: readonly PlanNode[],
  add: (fields: Fields<PlanNode>) => void,
  parent: NodeId,
  random: Random,
): void {
  const { partitions } = nodes[parent]!
  const fn = { kind: 'builtin', name: 'zip' } as const
  switch (below(random, 5)) {
    case 0:
      add({ op: 'coalesce', parent, partitions: Math.min(1 + below(random, 4), partitions) })
      break
    case 1: {
      const kept = Array.from({ length: partitions }, (_, i) => i).filter(() => random.next() < 0.6)
      add({ op: 'prune', parent, kept, partitions: kept.length })
      break
    }
    case 2: {
      const other = below(random, nodes.length)
      const product = partitions * nodes[other]!.partitions
      if (product <= PARTITIONS_MAX) add({ op: 'cartesian', parents: [parent, other], partitions: product })
      break
    }
    case 3: {
      const alike = nodes.flatMap((node, id) => (node.partitions === partitions ? [id] : []))
      add({ op: 'zip', parents: [parent, alike[below(random, alike.length)]!], fn, partitions })
      break
    }
    default:
      add({ op: 'steps', parent, steps: [{ op: 'stream', fn }], partitions })
  }
}

/** What a map output is worth to one reduce partition. */
export type ReadBucket = (shuffle: NodeId, map: number, reduce: number) => number

/** What one partition of a cached node is worth, where it is kept or by computing it. */
export type Keep = (id: NodeId, partition: number, compute: () => number) => number

/** What one partition of a node is worth, with shuffles read through `read`. */
export function valueOf(plan: Plan, id: NodeId, partition: number, read: ReadBucket, keep?: Keep): number {
  const compute = (): number => computed(plan, id, partition, read, keep)
  return keep !== undefined && plan.nodes[id]!.cached ? keep(id, partition, compute) : compute()
}

function computed(plan: Plan, id: NodeId, partition: number, read: ReadBucket, keep?: Keep): number {
  const node = plan.nodes[id]!
  switch (node.op) {
    case 'shuffle': {
      const maps = plan.nodes[node.parent]!.partitions
      return mixed(id, ...Array.from({ length: maps }, (_, map) => read(id, map, partition)))
    }
    case 'union': {
      const [input] = narrowInputs(plan, id, partition)
      return mixed(id, valueOf(plan, input!.node, input!.partition, read, keep))
    }
    default: {
      const inputs = narrowInputs(plan, id, partition)
      return mixed(
        id,
        partition,
        ...inputs.map(input => valueOf(plan, input.node, input.partition, read, keep)),
      )
    }
  }
}

export function bucketOf(mapOutput: number, reduce: number): number {
  return mixed(mapOutput, reduce)
}

/** A map output that comes out different each time it is computed, and what it is worth once. */
export interface Whim {
  shuffle: NodeId
  map: number
  nonce: number
}

/** The worth of a map output with that whim. */
export function whimsical(value: number, nonce: number): number {
  return mixed(value, nonce)
}

/** What the plan comes to on one machine that does not fail. */
export function oracle(plan: Plan, whim?: Whim): Map<number, number> {
  const known = new Map<string, number>()
  const output = (shuffle: NodeId, map: number): number => {
    const key = `${shuffle} ${map}`
    let value = known.get(key)
    if (value === undefined) {
      const node = plan.nodes[shuffle]!
      if (node.op !== 'shuffle') throw new Error(`node ${shuffle} is no shuffle`)
      value = valueOf(plan, node.parent, map, read)
      if (whim?.shuffle === shuffle && whim.map === map) value = whimsical(value, whim.nonce)
      known.set(key, value)
    }
    return value
  }
  const read: ReadBucket = (shuffle, map, reduce) => bucketOf(output(shuffle, map), reduce)
  const last = plan.nodes.length - 1
  const partitions = plan.only ?? Array.from({ length: plan.nodes[last]!.partitions }, (_, i) => i)
  return new Map(partitions.map(partition => [partition, valueOf(plan, last, partition, read)]))
}

function mixed(...values: number[]): number {
  let hash = 0x811c9dc5
  for (const value of values) {
    hash = Math.imul(hash ^ value, 0x01000193)
    hash ^= hash >>> 15
  }
  return hash >>> 0
}
