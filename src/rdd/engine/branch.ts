import { ShoalError } from '../../base/errors.ts'
import { narrowInputs } from '../plan-graph.ts'
import type { NodeId, Plan, PlanNode, Step } from '../plan.ts'

/** A step of a branch and the operator it belongs to, for errors. */
export interface BranchStep {
  step: Step
  operator: string
}

/** The narrow way of one partition, from where its elements come to where they are wanted. */
export interface Branch {
  /** Node whose partition is read: a source, a shuffle, one that brings several partitions together, or a cached node. */
  leaf: NodeId
  partition: number
  /** The leaf is read from the cache, or computed and kept there. */
  cached: boolean
  steps: BranchStep[]
  /** The same for all partitions that take the same way: names the compiled pipeline. */
  path: string
}

/**
 * Walks from a node down to the leaf of one of its partitions: through steps, through the parent of a union or a
 * pruning that has the partition, to the first cached node.
 * @param ignoreCache Node that is being computed for the cache.
 */
export function branchOf(plan: Plan, root: NodeId, partition: number, ignoreCache?: NodeId): Branch {
  let id = root
  let index = partition
  let steps: BranchStep[] = []
  let path = String(root)
  for (;;) {
    const node = nodeOf(plan, id)
    if (index < 0 || index >= node.partitions) {
      throw invalid(
        `node ${id} (${node.label}) has ${node.partitions} partitions, not one of number ${index}`,
      )
    }
    if (node.cached && id !== ignoreCache)
      return { leaf: id, partition: index, cached: true, steps, path: `${path}*` }
    if (node.op === 'steps') {
      const operator = operatorName(node)
      steps = [...node.steps.map(step => ({ step, operator })), ...steps]
      id = below(node.parent, id)
    } else if (node.op === 'union' || node.op === 'prune') {
      const [found] = narrowInputs(plan, id, index)
      if (found === undefined) throw invalid(`a ${node.op} has no partition ${index}`)
      id = below(found.node, id)
      index = found.partition
    } else {
      return { leaf: id, partition: index, cached: false, steps, path }
    }
    path += `>${id}`
  }
}

export function nodeOf(plan: Plan, id: NodeId): PlanNode {
  const node = plan.nodes[id]
  if (node === undefined) throw invalid(`there is no node ${id}`)
  return node
}

/** The operator as the user knows it and where it was called: "reduceByKey (job.ts:12)". */
export function operatorName(node: PlanNode): string {
  return node.at === undefined ? node.label : `${node.label} (${node.at})`
}

export function invalid(reason: string): ShoalError<'PLAN_INVALID'> {
  return new ShoalError('PLAN_INVALID', { reason }, `the plan is invalid: ${reason}`)
}

/** Parents stand before their children, or a walk might never end. */
function below(parent: NodeId, child: NodeId): NodeId {
  if (parent >= child) throw invalid(`node ${child} stands before its parent ${parent}`)
  return parent
}
