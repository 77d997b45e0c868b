import { randomUUID } from 'node:crypto'
import { origin } from './dataset.ts'
import type { ActionOptions } from './dataset-actions.ts'
import { builtin, type Lineage } from './lineage.ts'
import { PairOperators } from './pair-operators.ts'

/**
 * A resilient distributed dataset: a lazy, immutable description of elements in partitions. Operators
 * (element-operators.ts, pair-operators.ts) give new RDDs and run nothing; actions (…-actions.ts) run a job. Names,
 * argument order and meaning are PySpark's; docs/operators.md lists them all.
 *
 * To add an operator: build its lineage in operators/, give new builtins a maker (engine/builtins.ts), and put a typed
 * method over it.
 */
export class RDD<T> extends PairOperators<T> {
  // How it is kept and called. These change this RDD, as in PySpark, but never its elements.

  /** Keeps computed partitions in the memory of the peers that computed them, from the next action on. */
  cache(): this {
    this.lineage.marks.cached = true
    return this
  }

  persist(): this {
    return this.cache()
  }

  unpersist(): this {
    const { marks } = this.lineage
    marks.cached = false
    if (marks.keptAs.size > 0) this.environment.runner.forget([...marks.keptAs])
    marks.keptAs.clear()
    return this
  }

  /**
   * Saves the elements in a mesh directory now, and reads them from there from then on, also in RDDs made from this one before:
   * what they were computed from is not computed again, whoever dies. The directory is yours to remove. How pairs were
   * partitioned is forgotten. @throws ALREADY_EXISTS, and what the job throws: then nothing has changed.
   * @param path @default a new one in `/.checkpoints`
   */
  async checkpoint(path = `/.checkpoints/${randomUUID()}`, options: ActionOptions = {}): Promise<this> {
    await this.saveAsObjectFile(path, { name: 'checkpoint', ...options })
    const source = origin('checkpoint')
    const paths = [path.replaceAll(/[\\*?[\]{}]/g, '\\$&')]
    const lineage: Lineage = {
      op: 'files',
      ...source,
      paths,
      layout: { by: 'file' },
      read: builtin('readObjects'),
    }
    this.lineage.marks.checkpoint = { path, lineage }
    return this
  }

  isCheckpointed(): boolean {
    return this.lineage.marks.checkpoint !== undefined
  }

  getCheckpointFile(): string | undefined {
    return this.lineage.marks.checkpoint?.path
  }

  setName(name: string): this {
    this.lineage.marks.name = name
    return this
  }

  name(): string | undefined {
    return this.lineage.marks.name
  }

  protected derived<U>(lineage: Lineage): RDD<U> {
    return new RDD<U>(this.environment, lineage)
  }
}
