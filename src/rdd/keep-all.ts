import type { LabelledPlan } from './job-groups.ts'
import type { JobRunner, RunOptions } from './job-runner.ts'
import { givenPartitioner, type GivenPartitioner } from './lineage.ts'
import type { PlanNode } from './plan.ts'
import { partials } from './requester.ts'
import type { KeptLevel } from './storage-level.ts'

/** Runs of the job before it does with what is kept: each needs a peer that dies in the meantime. */
const TRIES_MAX = 3

/**
 * Has peers compute and keep all partitions of a plan's last node, under a fingerprint of their own: nothing that is kept
 * weaker is taken for them.
 */
export async function keepAll(
  { labels, ...plan }: LabelledPlan,
  level: KeptLevel,
  runner: JobRunner,
  options: Omit<RunOptions, 'labels' | 'ordered'>,
): Promise<{ fingerprint: string; partitions: number; partitioner?: GivenPartitioner }> {
  const last = plan.nodes.at(-1)!
  const { partitions, partitioner, label } = last
  const fingerprint = `checkpoint-${last.fingerprint}`
  const node: PlanNode = {
    op: 'steps',
    parent: plan.nodes.length - 1,
    steps: [],
    partitions,
    fingerprint,
    cached: true,
    level,
    label,
    ...(partitioner !== undefined && { partitioner }),
  }
  const keeping = { ...plan, nodes: [...plan.nodes, node] }
  for (let tries = 1; tries <= TRIES_MAX; tries++) {
    for await (const _ of partials(runner, keeping, { ...options, labels, ordered: false })) {
      // It is the keeping that is wanted.
    }
    // A peer may have died with what it had finished.
    const [report] = (await runner.kept?.([fingerprint], { signal: options.signal })) ?? []
    if (report === undefined || report.partitions === partitions) break
  }
  const given = givenPartitioner(plan)
  return { fingerprint, partitions, ...(given !== undefined && { partitioner: given }) }
}
