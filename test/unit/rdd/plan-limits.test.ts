import { expect, test } from 'vitest'
import { pack } from '../../../src/base/index.ts'
import { decodePlan, encodePlan, JOBS, type Plan, type PlanNode } from '../../../src/rdd/index.ts'

const rdd = { fingerprint: 'f', cached: false, label: 'range' }

function planOf(...nodes: PlanNode[]): Uint8Array {
  const plan: Plan = { version: 1, nodes, closures: [], action: { kind: 'count' } }
  return encodePlan(plan)
}

const range = (partitions: number): PlanNode => ({
  ...rdd,
  op: 'range',
  partitions,
  start: 0,
  step: 1,
  count: 1,
})

test('a plan with more partitions than a leader can keep is refused before any is made', () => {
  expect(decodePlan(planOf(range(JOBS.partitionsMax))).nodes).toHaveLength(1)
  for (const partitions of [JOBS.partitionsMax + 1, 2 ** 40, Number.MAX_SAFE_INTEGER]) {
    expect(() => decodePlan(planOf(range(partitions)))).toThrow(/100000 are the most/)
  }
})

test('many RDDs with many partitions are refused together, and a plan cannot grow by doubling', () => {
  const many = Array.from({ length: 11 }, () => range(JOBS.partitionsMax))
  expect(() => decodePlan(planOf(...many))).toThrow(/together/)
  const nodes: PlanNode[] = [range(1_000)]
  for (let id = 1; id <= 50; id++) {
    const partitions = 1_000 * 2 ** id
    nodes.push({ ...rdd, op: 'union', partitions, parents: [id - 1, id - 1] })
  }
  expect(() => decodePlan(planOf(...nodes))).toThrow(/partitions/)
})

test('what is no plan at all is refused', () => {
  expect(() => decodePlan(pack({ version: 1 }))).toThrow(/not a plan/)
})
