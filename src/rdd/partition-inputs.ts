import type { NodeId, Plan } from './plan.ts'
import { unionSource } from './planner.ts'

export interface PartitionInputs {
  /** Blocks of files, in the order they are read. */
  blocks: { fileId: string; block: number; blockId: string }[]
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
        if (split !== undefined) {
          inputs.blocks.push({ fileId: split.fileId, block: split.block, blockId: split.blockId })
        }
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
