import { stageNodes } from './explain.ts'
import type { PlannedStage } from './job-event.ts'
import type { Plan } from './plan.ts'
import type { JobSpec } from './scheduler-types.ts'

/** More operators are left out in the middle. */
const OPERATORS_MAX = 6

/** The stages of a job for those who look on: what each runs through, source first. */
export function plannedStages(plan: Plan, spec: Pick<JobSpec, 'stages' | 'keptAt'>): PlannedStage[] {
  return spec.stages.map(stage => {
    const labels = stageNodes(plan, stage).map(id => {
      const { label, name } = plan.nodes[id]!
      return name === undefined ? label : `${label} "${name}"`
    })
    if (stage.sink.kind === 'result') labels.push(plan.action.kind)
    return {
      id: stage.id,
      label: labels.length <= OPERATORS_MAX ? labels.join(' → ') : shortened(labels).join(' → '),
      tasks: stage.partitions.length,
      parents: stage.parents,
      sink: stage.sink.kind,
      kept: Object.keys(spec.keptAt[stage.id] ?? {}).length,
    }
  })
}

function shortened(labels: readonly string[]): string[] {
  return [...labels.slice(0, 2), '…', ...labels.slice(3 - OPERATORS_MAX)]
}
