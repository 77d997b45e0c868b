import { below, type Random } from '../../../src/base/index.ts'
import { narrowInputs } from '../../../src/rdd/plan-graph.ts'
import type { NodeId, PartitionerSpec, Plan, PlanNode } from '../../../src/rdd/plan.ts'

/**
 * Random small plans, and what their partitions are worth: a number that depends on everything a partition is computed
 * from. A task that reads a wrong, missing or doubled input comes to another number.
 */

type Fields<Node> = Node extends PlanNode ? Omit<Node, 'fingerprint' | 'cached' | 'label'> : never

const NODES_MAX = 9

export function randomPlan(random: Random, name: string): Plan {
  const nodes: PlanNode[] = []
  const add = (fields: Fields<PlanNode>): void => {
    nodes.push({ ...fields, fingerprint: `${name}-${nodes.length}`, cached: false, label: fields.op })
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
    if (chance < 0.15) source()
    else if (chance < 0.35) add({ op: 'steps', parent, steps: [], partitions: nodes[parent]!.partitions })
    else if (chance < 0.7) {
      const partitions = 1 + below(random, 4)
      add({ op: 'shuffle', parent, by: hash(partitions), combine: { kind: 'none' }, partitions })
    } else if (chance < 0.85) {
      const parents = [latest, below(random, nodes.length)]
      const partitions = parents.reduce((sum, id) => sum + nodes[id]!.partitions, 0)
      if (partitions <= 12) add({ op: 'union', parents, partitions })
    } else {
      const { partitions } = nodes[parent]!
      const alike = nodes.flatMap((node, id) => (node.partitions === partitions && id !== parent ? [id] : []))
      const other = alike[below(random, alike.length)]
      add({ op: 'cogroup', parents: other === undefined ? [parent] : [parent, other], partitions })
    }
  }
  const last = nodes.at(-1)!
  const all = Array.from({ length: last.partitions }, (_, partition) => partition)
  const only = all.filter(() => random.next() < 0.6)
  const isPart = random.next() < 0.2 && only.length > 0
  return { version: 1, nodes, closures: [], action: { kind: 'collect' }, ...(isPart && { only }) }
}

/** What a map output is worth to one reduce partition. */
export type ReadBucket = (shuffle: NodeId, map: number, reduce: number) => number

/** What one partition of a node is worth, with shuffles read through `read`. */
export function valueOf(plan: Plan, id: NodeId, partition: number, read: ReadBucket): number {
  const node = plan.nodes[id]!
  switch (node.op) {
    case 'shuffle': {
      const maps = plan.nodes[node.parent]!.partitions
      return mixed(id, ...Array.from({ length: maps }, (_, map) => read(id, map, partition)))
    }
    case 'union': {
      const [input] = narrowInputs(plan, id, partition)
      return mixed(id, valueOf(plan, input!.node, input!.partition, read))
    }
    default: {
      const inputs = narrowInputs(plan, id, partition)
      return mixed(id, partition, ...inputs.map(input => valueOf(plan, input.node, input.partition, read)))
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
