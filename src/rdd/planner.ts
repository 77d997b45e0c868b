import { narrowInputs } from './plan-graph.ts'
import type { NodeId, Plan, PlanNode } from './plan.ts'
import type { Stage } from './task.ts'

/**
 * Cuts a plan into stages at its shuffles. Pure and deterministic: every leader cuts the same plan the same way. A
 * shuffle that several stages read is written once, and one that no wanted partition reads not at all.
 */
export function planStages(plan: Plan): Stage[] {
  const last = plan.nodes.length - 1
  const result = plan.nodes[last]!
  const partitions = plan.only ?? all(result.partitions)
  // From the result back: a shuffle is needed when a needed stage reads it. Ids of parents are smaller, so going down
  // meets every reader of a shuffle before the shuffle itself.
  const resultReads = shufflesRead(plan, last, partitions)
  const needed = new Map<NodeId, NodeId[]>()
  const wanted = new Set(resultReads)
  for (let id = last; id >= 0; id--) {
    const node = plan.nodes[id]!
    if (node.op !== 'shuffle' || !wanted.has(id)) continue
    const reads = shufflesRead(plan, node.parent, all(plan.nodes[node.parent]!.partitions))
    needed.set(id, reads)
    for (const read of reads) wanted.add(read)
  }
  // Ascending ids: every stage comes after those it reads.
  const stages: Stage[] = []
  const stageOf = new Map<NodeId, number>()
  const parentsOf = (reads: readonly NodeId[]): number[] => reads.map(read => stageOf.get(read)!)
  for (const [node, reads] of [...needed].sort(([a], [b]) => a - b)) {
    const root = (plan.nodes[node] as PlanNode & { op: 'shuffle' }).parent
    const id = stages.length
    const everyPartition = all(plan.nodes[root]!.partitions)
    stageOf.set(node, id)
    stages.push({
      id,
      root,
      sink: { kind: 'shuffle', node },
      partitions: everyPartition,
      parents: parentsOf(reads),
      reads,
    })
  }
  stages.push({
    id: stages.length,
    root: last,
    sink: { kind: 'result' },
    partitions: [...partitions],
    parents: parentsOf(resultReads),
    reads: resultReads,
  })
  return stages
}

/** Shuffle nodes that tasks for these partitions of `root` read, ascending, through narrow nodes only. */
function shufflesRead(plan: Plan, root: NodeId, partitions: readonly number[]): NodeId[] {
  const reads: NodeId[] = []
  const wanted = new Map<NodeId, Set<number>>([[root, new Set(partitions)]])
  const want = (id: NodeId, partition: number): void => {
    const known = wanted.get(id)
    if (known === undefined) wanted.set(id, new Set([partition]))
    else known.add(partition)
  }
  for (let id = root; id >= 0; id--) {
    const some = wanted.get(id)
    if (some === undefined || some.size === 0) continue
    const node = plan.nodes[id]!
    if (node.op === 'shuffle') reads.push(id)
    for (const partition of some) {
      for (const input of narrowInputs(plan, id, partition)) want(input.node, input.partition)
    }
  }
  return reads.reverse()
}

function all(partitions: number): number[] {
  return Array.from({ length: partitions }, (_, partition) => partition)
}
