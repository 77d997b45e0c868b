import type { FunctionRef, NodeId, Plan, PlanNode } from './plan.ts'

export function parentIds(node: PlanNode): readonly NodeId[] {
  switch (node.op) {
    case 'parallelize':
    case 'range':
    case 'textFile':
    case 'files':
    case 'kept':
      return []
    case 'steps':
    case 'shuffle':
    case 'coalesce':
    case 'prune':
      return [node.parent]
    case 'union':
    case 'cogroup':
    case 'zip':
    case 'cartesian':
      return node.parents
  }
}

/** One partition of a node. */
export interface PartitionOf {
  node: NodeId
  partition: number
}

/** The partitions of its parents that a partition of a narrow node is computed from, in order; none for other nodes. */
export function narrowInputs(plan: Plan, id: NodeId, partition: number): PartitionOf[] {
  const node = plan.nodes[id]!
  switch (node.op) {
    case 'parallelize':
    case 'range':
    case 'textFile':
    case 'files':
    case 'kept':
    case 'shuffle':
      return []
    case 'steps':
      return [{ node: node.parent, partition }]
    case 'union':
      return unionInput(plan, node.parents, partition)
    case 'prune': {
      const kept = node.kept[partition]
      return kept === undefined ? [] : [{ node: node.parent, partition: kept }]
    }
    case 'cogroup':
    case 'zip':
      return node.parents.map(parent => ({ node: parent, partition }))
    case 'coalesce': {
      const inputs = plan.nodes[node.parent]!.partitions
      const cut = (i: number): number => Math.floor((i * inputs) / node.partitions)
      const first = cut(partition)
      return Array.from({ length: cut(partition + 1) - first }, (_, i) => ({
        node: node.parent,
        partition: first + i,
      }))
    }
    case 'cartesian': {
      const [left, right] = node.parents as [NodeId, NodeId]
      const columns = plan.nodes[right]!.partitions
      return [
        { node: left, partition: Math.floor(partition / columns) },
        { node: right, partition: partition % columns },
      ]
    }
  }
}

/** The parent, and the partition of it, that a partition of a union is. */
function unionInput(plan: Plan, parents: readonly NodeId[], partition: number): PartitionOf[] {
  let rest = partition
  for (const parent of parents) {
    const { partitions } = plan.nodes[parent]!
    if (rest < partitions) return [{ node: parent, partition: rest }]
    rest -= partitions
  }
  return []
}

/** The plan that ends in `root`: only what `root` is computed from, numbered afresh. Fingerprints stay. */
export function reachable(plan: Plan, root: NodeId): Plan {
  const wanted = new Set<NodeId>([root])
  for (let id = root; id >= 0; id--) {
    if (wanted.has(id)) for (const parent of parentIds(plan.nodes[id]!)) wanted.add(parent)
  }
  const renumber = new Renumbering(plan)
  const nodes: PlanNode[] = []
  for (const id of [...wanted].sort((a, b) => a - b)) nodes.push(renumber.node(id))
  const action = 'fn' in plan.action ? { ...plan.action, fn: renumber.fn(plan.action.fn) } : plan.action
  return { ...plan, nodes, action, closures: renumber.closures }
}

class Renumbering {
  readonly closures: Uint8Array[] = []
  readonly #plan: Plan
  readonly #nodeIds = new Map<NodeId, NodeId>()
  readonly #closureIds = new Map<number, number>()

  constructor(plan: Plan) {
    this.#plan = plan
  }

  /** Parents first. */
  node(id: NodeId): PlanNode {
    this.#nodeIds.set(id, this.#nodeIds.size)
    const node = this.#within(this.#plan.nodes[id]!)
    if ('parent' in node) return { ...node, parent: this.#nodeIds.get(node.parent)! }
    if ('parents' in node) return { ...node, parents: node.parents.map(parent => this.#nodeIds.get(parent)!) }
    return node
  }

  fn(ref: FunctionRef): FunctionRef {
    return this.#within(ref)
  }

  /** The same value with every closure in it renumbered. */
  #within<T>(value: T): T {
    if (Array.isArray(value)) return value.map((item: unknown) => this.#within(item)) as T
    if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
    if ('kind' in value && value.kind === 'closure' && 'id' in value) {
      return { ...value, id: this.#closure(value.id as number) }
    }
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.#within(item)])) as T
  }

  #closure(old: number): number {
    let id = this.#closureIds.get(old)
    if (id === undefined) {
      id = this.closures.push(this.#plan.closures[old]!) - 1
      this.#closureIds.set(old, id)
    }
    return id
  }
}
