import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { planStages } from '../../../src/rdd/planner.ts'
import { narrowInputs, parentIds } from '../../../src/rdd/plan-graph.ts'
import type { NodeId, PartitionerSpec, Plan, PlanNode } from '../../../src/rdd/plan.ts'

type Shape = PlanNode extends infer Node
  ? Node extends PlanNode
    ? Omit<Node, 'fingerprint' | 'cached' | 'label'>
    : never
  : never

function plan(shapes: Shape[], only?: number[]): Plan {
  return {
    version: 1,
    nodes: shapes.map((shape, id) => ({ ...shape, fingerprint: `f${id}`, cached: false, label: shape.op })),
    closures: [],
    action: { kind: 'collect' },
    ...(only !== undefined && { only }),
  }
}

const hash = (partitions: number): PartitionerSpec => ({ kind: 'hash', partitions })
const range = (partitions: number): Shape => ({ op: 'range', start: 0, step: 1, count: 9, partitions })
const steps = (parent: NodeId, partitions: number): Shape => ({ op: 'steps', parent, steps: [], partitions })
const shuffle = (parent: NodeId, partitions: number): Shape => ({
  op: 'shuffle',
  parent,
  by: hash(partitions),
  combine: { kind: 'none' },
  partitions,
})
const cogroup = (parents: NodeId[], partitions: number): Shape => ({ op: 'cogroup', parents, partitions })
const union = (parents: NodeId[], partitions: number): Shape => ({ op: 'union', parents, partitions })

describe('planStages', () => {
  test('a narrow plan is one result stage', () => {
    expect(planStages(plan([range(3), steps(0, 3), steps(1, 3)]))).toEqual([
      { id: 0, root: 2, sink: { kind: 'result' }, partitions: [0, 1, 2], parents: [], reads: [] },
    ])
  })

  test('each shuffle ends a stage that computes all partitions of its parent', () => {
    expect(planStages(plan([range(3), shuffle(0, 2), steps(1, 2), shuffle(2, 4)]))).toEqual([
      { id: 0, root: 0, sink: { kind: 'shuffle', node: 1 }, partitions: [0, 1, 2], parents: [], reads: [] },
      { id: 1, root: 2, sink: { kind: 'shuffle', node: 3 }, partitions: [0, 1], parents: [0], reads: [1] },
      { id: 2, root: 3, sink: { kind: 'result' }, partitions: [0, 1, 2, 3], parents: [1], reads: [3] },
    ])
  })

  test('a shuffle that two branches read is written once', () => {
    const diamond = plan([range(3), shuffle(0, 2), steps(1, 2), shuffle(2, 2), cogroup([1, 3], 2)])
    const stages = planStages(diamond)
    expect(stages.map(({ sink }) => sink)).toEqual([
      { kind: 'shuffle', node: 1 },
      { kind: 'shuffle', node: 3 },
      { kind: 'result' },
    ])
    expect(stages[2]).toMatchObject({ parents: [0, 1], reads: [1, 3] })
  })

  test('the result stage computes the wanted partitions only, and what they need of a union', () => {
    const shapes = [range(2), shuffle(0, 2), range(3), shuffle(2, 3), union([1, 3], 5)]
    expect(planStages(plan(shapes, [0]))).toEqual([
      { id: 0, root: 0, sink: { kind: 'shuffle', node: 1 }, partitions: [0, 1], parents: [], reads: [] },
      { id: 1, root: 4, sink: { kind: 'result' }, partitions: [0], parents: [0], reads: [1] },
    ])
    expect(planStages(plan(shapes, [4])).map(({ reads }) => reads)).toEqual([[], [3]])
    expect(planStages(plan(shapes, [1, 2])).map(({ reads }) => reads)).toEqual([[], [], [1, 3]])
  })

  test('a plan without partitions is stages without tasks', () => {
    const empty = plan([{ op: 'parallelize', slices: [], partitions: 0 }, shuffle(0, 1)])
    expect(planStages(empty).map(({ partitions }) => partitions)).toEqual([[], [0]])
  })

  test('any plan: parents come first, every read shuffle has exactly one writer, the same plan gives the same stages', () => {
    const partitions = 2
    const pick = fc.record({
      kind: fc.constantFrom('range', 'steps', 'shuffle', 'cogroup'),
      a: fc.nat(),
      b: fc.nat(),
    })
    fc.assert(
      fc.property(fc.array(pick, { minLength: 1, maxLength: 14 }), picks => {
        const shapes = picks.map(({ kind, a, b }, id): Shape => {
          if (id === 0 || kind === 'range') return range(partitions)
          if (kind === 'steps') return steps(a % id, partitions)
          return kind === 'shuffle' ? shuffle(a % id, partitions) : cogroup([a % id, b % id], partitions)
        })
        const random = plan(shapes)
        const stages = planStages(random)
        expect(planStages(random)).toEqual(stages)
        expect(stages.at(-1)!.sink).toEqual({ kind: 'result' })
        const written = stages.flatMap(({ sink }) => (sink.kind === 'shuffle' ? [sink.node] : []))
        expect(new Set(written).size).toBe(written.length)
        expect(new Set(written)).toEqual(new Set(stages.flatMap(({ reads }) => reads)))
        for (const [id, stage] of stages.entries()) {
          expect(stage.id).toBe(id)
          expect(stage.parents.every(parent => parent < id)).toBe(true)
          expect(stage.parents.map(parent => stages[parent]!.sink)).toEqual(
            stage.reads.map(node => ({ kind: 'shuffle', node })),
          )
          expect(stage.reads).toEqual(naiveReads(random, stage.root))
        }
      }),
      { numRuns: 200 },
    )
  })
})

function naiveReads(plan: Plan, root: NodeId): NodeId[] {
  const reads = new Set<NodeId>()
  const walk = (id: NodeId): void => {
    if (plan.nodes[id]!.op === 'shuffle') reads.add(id)
    else for (const parent of parentIds(plan.nodes[id]!)) walk(parent)
  }
  walk(root)
  return [...reads].sort((a, b) => a - b)
}

test('the inputs of a partition of a narrow node', () => {
  const shapes = plan([
    range(2),
    range(3),
    union([0, 1, 0], 7),
    { op: 'coalesce', parent: 2, partitions: 3 },
    { op: 'cartesian', parents: [0, 1], partitions: 6 },
  ])
  const inputs = (node: number, count: number): string[] =>
    Array.from({ length: count }, (_, partition) =>
      narrowInputs(shapes, node, partition)
        .map(input => `${input.node}.${input.partition}`)
        .join(' '),
    )
  expect(inputs(2, 8)).toEqual(['0.0', '0.1', '1.0', '1.1', '1.2', '0.0', '0.1', ''])
  expect(inputs(3, 3)).toEqual(['2.0 2.1', '2.2 2.3', '2.4 2.5 2.6'])
  expect(inputs(4, 6)).toEqual(['0.0 1.0', '0.0 1.1', '0.0 1.2', '0.1 1.0', '0.1 1.1', '0.1 1.2'])
})
