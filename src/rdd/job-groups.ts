import { ShoalError } from '../base/errors.ts'
import type { AbortOptions } from '../base/deadline.ts'
import type { JobRunner, KeptReport, PartialResult, RunOptions } from './job-runner.ts'
import type { Plan } from './plan.ts'
import { resultPartitions } from './requester.ts'
import type { SharedVariables } from './shared-variables.ts'

/** What the jobs of an action can be called off by; settled when the action is called. */
export interface JobLabels {
  group?: string
  /** Of the group: names of its jobs begin with it. */
  description?: string
  tags: readonly string[]
}

/** A plan and the labels of its job. The labels stay here: nobody else needs them. */
export type LabelledPlan = Plan & { labels: JobLabels }

/**
 * Groups and tags of the jobs of one context, as PySpark's SparkContext has them per thread: what is set holds for the
 * actions called afterwards. Runs jobs as the runner it stands before, and knows those under way.
 */
export class JobGroups implements JobRunner {
  readonly #runner: JobRunner
  readonly #variables: SharedVariables
  readonly #running = new Map<AbortController, JobLabels>()
  readonly #tags = new Set<string>()
  #group: { id: string; description?: string } | undefined

  constructor(runner: JobRunner, variables: SharedVariables) {
    this.#runner = runner
    this.#variables = variables
  }

  set(id: string | undefined, description: string | undefined): void {
    this.#group = id === undefined ? undefined : { id, ...(description !== undefined && { description }) }
  }

  /** Tags of the actions to come. */
  get tags(): Set<string> {
    return this.#tags
  }

  /** @param tags Those of one action, beside what is set. */
  labels(tags: readonly string[] = []): JobLabels {
    const { id, description } = this.#group ?? {}
    return {
      tags: [...this.#tags, ...tags],
      ...(id !== undefined && { group: id }),
      ...(description !== undefined && { description }),
    }
  }

  async *run(plan: Plan, options: RunOptions): AsyncGenerator<PartialResult, void, undefined> {
    const { labels = this.labels(), ...rest } = options
    const stop = new AbortController()
    const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal])
    const { description } = labels
    const name =
      description === undefined ? options.name : [description, options.name].filter(Boolean).join(': ')
    this.#running.set(stop, labels)
    const updates = this.#variables.resultUpdates(resultPartitions(plan))
    try {
      for await (const partial of this.#runner.run(plan, {
        ...rest,
        signal,
        ...(name !== undefined && { name }),
      })) {
        if (options.isHelper !== true) updates.take(partial.partition, partial.updates)
        yield partial
      }
    } finally {
      this.#running.delete(stop)
      updates.flush()
      this.#variables.settle()
    }
  }

  forget(fingerprints: readonly string[]): void {
    this.#runner.forget(fingerprints)
  }

  async kept(fingerprints: readonly string[], options: AbortOptions = {}): Promise<KeptReport[]> {
    if (fingerprints.length === 0) return []
    return (await this.#runner.kept?.(fingerprints, options)) ?? []
  }

  /** How many jobs were called off. */
  cancel(why: string, isMeant: (labels: JobLabels) => boolean = () => true): number {
    let cancelled = 0
    for (const [stop, labels] of this.#running) {
      if (!isMeant(labels)) continue
      const what = `a job of ${why}`
      stop.abort(new ShoalError('CANCELLED', { what }, `${what} was cancelled`))
      cancelled++
    }
    return cancelled
  }
}
