import { inspect } from 'node:util'
import { ShoalError } from '../base/errors.ts'
import { callSite } from './call-site.ts'
import { capture } from './closure/index.ts'
import type { DatasetContext } from './context.ts'
import type { DatasetEnvironment } from './environment.ts'
import { user, type Lineage, type LineageFn, type Partitioning, type UserFunction } from './lineage.ts'
import type { RDD } from './rdd.ts'

export type Pair<K, V> = readonly [K, V]

/** The type of which a literal is a value: folding many `1`s (`as const`) gives a number, not a 1. */
export type Widen<T> = T extends number
  ? number
  : T extends string
    ? string
    : T extends boolean
      ? boolean
      : T extends bigint
        ? bigint
        : T

/** What the functions of mapPartitions get: an iterator, with its helpers (`map`, `filter`, `take`, …). */
export type Elements<T> = IteratorObject<T, undefined, unknown>

/**
 * Constraint of an operator's result type that keeps `[word, 1]` a pair: with a tuple in sight TypeScript infers
 * `[string, number]` where it would infer `(string | number)[]`. Allows every type.
 */
export type Row = Pair<unknown, unknown> | {} | null | undefined

let created = 0

/** What every RDD is: a lineage, and the environment that can run it. */
export abstract class Dataset {
  protected readonly environment: DatasetEnvironment
  protected readonly lineage: Lineage
  readonly #id = created++

  constructor(environment: DatasetEnvironment, lineage: Lineage) {
    this.environment = environment
    this.lineage = lineage
  }

  /** What it was made with: `mesh`. */
  get context(): DatasetContext {
    return this.environment.context
  }

  /** Tells RDDs of this process apart. */
  id(): number {
    return this.#id
  }

  /** `RDD "people" reduceByKey at job.ts:12`: what a REPL shows. */
  toString(): string {
    const { label, at, marks } = this.lineage
    const name = marks.name === undefined ? '' : `"${marks.name}" `
    return `RDD ${name}${label}${at === undefined ? '' : ` at ${at}`}`
  }

  [inspect.custom](): string {
    return this.toString()
  }

  /**
   * Takes a function of the user into the lineage. What it captures is read when an action runs; it is captured here
   * too, and thrown away, only to refuse at the operator's call what can never travel (about 0.2 ms each).
   * @throws CLOSURE_REFUSED naming variable, file and line.
   */
  protected fn(fn: UserFunction, operator: string): LineageFn {
    if (typeof fn !== 'function') throw invalid(`${operator}() needs a function, not ${typeof fn}`)
    const { warnings } = capture(fn, { ...this.environment.capture, operator })
    for (const warning of warnings) this.environment.onWarning(`${operator}(): ${warning}`)
    return user(fn)
  }

  /** An RDD of the same context. */
  protected abstract derived<U>(lineage: Lineage): RDD<U>

  /** Partitioning by an operator's optional arguments. */
  protected by<K>(
    operator: string,
    numPartitions: number | undefined,
    partitionFunc: ((key: K) => number) | undefined,
  ): Partitioning {
    const fn = partitionFunc === undefined ? undefined : this.fn(partitionFunc, operator)
    return partitioning(operator, numPartitions, fn)
  }
}

/** The part of a lineage that says where it comes from. */
export function origin(label: string): Pick<Lineage, 'label' | 'at' | 'marks'> {
  const at = callSite()
  return { label, ...(at !== undefined && { at }), marks: { keptAs: new Set() } }
}

/** Partitioning by an operator's optional `numPartitions` and `partitionFunc`. */
export function partitioning(
  operator: string,
  numPartitions: number | undefined,
  partitionFunc: LineageFn | undefined,
): Partitioning {
  const partitions =
    numPartitions === undefined ? {} : { partitions: partitionCount(operator, numPartitions) }
  return partitionFunc === undefined
    ? { kind: 'default', ...partitions }
    : { kind: 'custom', fn: partitionFunc, ...partitions }
}

export function partitionCount(operator: string, count: number): number {
  if (!Number.isSafeInteger(count) || count < 1) {
    throw invalid(`${operator}(): the number of partitions must be a whole number from 1 on, not ${count}`)
  }
  return count
}

export function invalid(reason: string): ShoalError<'PLAN_INVALID'> {
  return new ShoalError('PLAN_INVALID', { reason }, reason)
}
