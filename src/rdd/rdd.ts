import { randomUUID } from 'node:crypto'
import { invalid, origin } from './dataset.ts'
import type { ActionOptions } from './dataset-actions.ts'
import { keepAll } from './keep-all.ts'
import { builtin, givenPartitioner, type Lineage } from './lineage.ts'
import { PairOperators } from './pair-operators.ts'
import { keptLevel, onDiskToo, StorageLevel, type KeptLevel, type StorageLevelName } from './storage-level.ts'

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

  /** Keeps computed partitions in the memory of the peers that computed them, from the next action on: `persist()`. */
  cache(): this {
    return this.persist()
  }

  /**
   * Keeps computed partitions, from the next action on, until `unpersist` or the end of this program. What there is no room for
   * is computed again when it is needed (MEMORY_ONLY) or goes to disk.
   * @param level @default MEMORY_ONLY, as of PySpark's RDDs
   * @throws PLAN_INVALID when it is kept in another way already: unpersist it first.
   */
  persist(level: StorageLevel | StorageLevelName = StorageLevel.MEMORY_ONLY): this {
    const wanted = StorageLevel.of(level)
    const { marks } = this.lineage
    const { level: known = wanted } = marks
    if (known !== wanted) {
      throw invalid(
        `persist(): ${this.toString()} is kept as ${known.name}; unpersist() it before it can be ${wanted.name}`,
      )
    }
    if (wanted === StorageLevel.NONE) return this
    marks.level = wanted
    this.environment.persisted.set(this.id(), this)
    return this
  }

  /** What it was kept as is forgotten everywhere; of a local checkpoint there is nothing left then. */
  unpersist(): this {
    const { marks } = this.lineage
    delete marks.level
    this.environment.persisted.delete(this.id())
    if (marks.keptAs.size > 0) this.environment.runner.forget([...marks.keptAs])
    marks.keptAs.clear()
    return this
  }

  getStorageLevel(): StorageLevel {
    return this.lineage.marks.level ?? StorageLevel.NONE
  }

  /** It is to be kept; whether some of it is, `toDebugString` tells. */
  get isCached(): boolean {
    return this.lineage.marks.level !== undefined
  }

  /**
   * Saves the elements in a mesh directory now, and reads them from there from then on, also in RDDs made from this one before:
   * what they were computed from is not computed again, whoever dies. How pairs are partitioned stays known.
   * @throws ALREADY_EXISTS, and what the job throws: then nothing has changed.
   * @param path The directory is yours to remove. @default a new one in `/.checkpoints`, which goes to the trash when this program ends
   */
  async checkpoint(path?: string, options: ActionOptions = {}): Promise<this> {
    const directory = path ?? `/.checkpoints/${randomUUID()}`
    const partitioner = givenPartitioner(await this.freeze({ kind: 'count' }, options))
    await this.saveAsObjectFile(directory, { name: 'checkpoint', ...options })
    if (path === undefined) this.environment.checkpoints.add(directory)
    const lineage: Lineage = {
      op: 'files',
      ...origin('checkpoint'),
      paths: [directory.replaceAll(/[\\*?[\]{}]/g, '\\$&')],
      layout: { by: 'file' },
      read: builtin('readObjects'),
      ...(partitioner !== undefined && { partitioner }),
    }
    this.lineage.marks.checkpoint = { path: directory, lineage }
    return this
  }

  /**
   * Computes all partitions now, keeps them on the peers that did, and forgets what they were computed from: as fast as
   * `persist`, but a partition that is lost with its peer is lost for good (CHECKPOINT_LOST). Kept as MEMORY_AND_DISK, or as it
   * was persisted and on disk too; persist it with two copies before, to outlive a peer.
   * @throws what the job throws: then nothing has changed.
   */
  async localCheckpoint(options: ActionOptions = {}): Promise<this> {
    const { marks } = this.lineage
    if (marks.checkpoint !== undefined) return this
    const wanted = marks.level ?? StorageLevel.MEMORY_AND_DISK
    const level: KeptLevel = { ...keptLevel(wanted), disk: true, pinned: true }
    const plan = await this.freeze({ kind: 'count' }, options)
    const { signal, name = 'localCheckpoint' } = options
    const kept = await keepAll(plan, level, this.environment.runner, { name, signal })
    const lineage: Lineage = { op: 'kept', ...origin('localCheckpoint'), ...kept }
    this.unpersist()
    marks.keptAs.add(kept.fingerprint)
    marks.level = onDiskToo(wanted)
    lineage.marks.keptAs.add(kept.fingerprint)
    marks.checkpoint = { lineage }
    this.environment.persisted.set(this.id(), this)
    return this
  }

  /** By a checkpoint of either kind. */
  isCheckpointed(): boolean {
    return this.lineage.marks.checkpoint !== undefined
  }

  isLocallyCheckpointed(): boolean {
    const { checkpoint } = this.lineage.marks
    return checkpoint !== undefined && checkpoint.path === undefined
  }

  /** Undefined before, and of a local checkpoint. */
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
