import { narrowInputs } from './plan-graph.ts'
import { blocksRead } from './file-layout.ts'
import type { NodeId, Plan } from './plan.ts'

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
    if (node.op === 'textFile') {
      const split = node.splits[index]
      if (split?.packed !== undefined) inputs.blocks.push(...split.packed.map(({ blockId }) => blockId))
      else if (split !== undefined) inputs.blocks.push(split.blockId)
    }
    if (node.op === 'files') {
      for (const range of node.parts[index] ?? [])
        inputs.blocks.push(...blocksRead(node.files[range.file]!, range))
    }
    for (const input of narrowInputs(plan, id, index)) walk(input.node, input.partition)
  }
  walk(root, partition)
  return inputs
}
