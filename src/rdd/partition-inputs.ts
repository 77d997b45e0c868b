import type { NodeId, Plan } from './plan.ts'
import { unionSource } from './planner.ts'

export interface PartitionInputs {
  /** Ids of the file blocks that are read, in order. */
  blocks: string[]
  /** Partitions that need not be computed where they are cached, outermost first. */
  cached: { fingerprint: string; partition: number }[]
}

/** What one partition of `root` is computed from, down to the next shuffles: what locality can be judged by. */
export function partitionInputs(plan: Plan, root: NodeId, partition: number): PartitionInputs {
  const inputs: PartitionInputs = { blocks: [], cached: [] }
  const walk = (id: NodeId, index: number): void => {
    const node = plan.nodes[id]!
    if (node.cached) inputs.cached.push({ fingerprint: node.fingerprint, partition: index })
    switch (node.op) {
      case 'textFile': {
        const split = node.splits[index]
        if (split !== undefined) inputs.blocks.push(split.blockId)
        return
      }
      case 'steps':
        walk(node.parent, index)
        return
      case 'union': {
        const source = unionSource(plan, node.parents, index)
        if (source !== undefined) walk(source.parent, source.partition)
        return
      }
      case 'cogroup':
        for (const parent of node.parents) walk(parent, index)
        return
      case 'parallelize':
      case 'range':
      case 'shuffle':
        return
    }
  }
  walk(root, partition)
  return inputs
}
