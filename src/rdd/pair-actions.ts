import { encodeRows } from './codec/index.ts'
import { reviveClosure } from './closure/index.ts'
import type { Pair, Widen } from './dataset.ts'
import type { ActionOptions } from './dataset-actions.ts'
import { resolveFunction } from './engine/builtins.ts'
import { partitionFunction } from './engine/partition-function.ts'
import { KeyedMap } from './keyed-map.ts'
import { builtin, type Lineage, type UserFunction } from './lineage.ts'
import { NumericActions } from './numeric-actions.ts'
import type { FunctionRef } from './plan.ts'
import { foldInOrder, resultPartitions } from './requester.ts'

/** Actions on pairs: they exist where the elements are pairs. Keys are compared by content. */
export abstract class PairActions<T> extends NumericActions<T> {
  /** Pairs as a Map; of several values of one key (by content) the last wins. */
  async collectAsMap<K, V>(this: PairActions<Pair<K, V>>, options: ActionOptions = {}): Promise<Map<K, V>> {
    const map = new KeyedMap<K, V>()
    for (const [key, value] of await this.collect({ name: 'collectAsMap', ...options })) map.set(key, value)
    return map.toMap()
  }

  /** How often each key occurs (by content), in order of first occurrence. */
  async countByKey<K>(
    this: PairActions<Pair<K, unknown>>,
    options: ActionOptions = {},
  ): Promise<Map<K, number>> {
    return this.occurrences<K>(builtin('countKeys'), 'countByKey', options)
  }

  /** All values of one key. Reads one partition when the partitioner of this RDD is known, else all. */
  async lookup<K, V>(this: PairActions<Pair<K, V>>, key: K, options: ActionOptions = {}): Promise<V[]> {
    const matching = builtin('pairKeyEquals', [], [encodeRows([key])])
    const values: Lineage = {
      op: 'steps',
      label: 'lookup',
      marks: { keptAs: new Set() },
      parent: this.lineage,
      steps: [
        { op: 'filter', fn: matching },
        { op: 'map', fn: builtin('pairValue') },
      ],
      keepsPartitioner: false,
    }
    const plan = await this.derived<V>(values).freeze({ kind: 'collect' }, options)
    const { partitioner } = plan.nodes.at(-2)!
    if (partitioner !== undefined) {
      const resolve = (ref: FunctionRef) =>
        resolveFunction(ref, closure => reviveClosure(plan.closures[closure]!) as UserFunction, 'lookup')
      plan.only = [partitionFunction(partitioner, resolve)(key)]
    }
    const out: V[] = []
    const results = this.partials(plan, 'lookup', options)
    await foldInOrder(results, resultPartitions(plan), rows => {
      for (const row of rows) out.push(row as V)
    })
    return out
  }

  /** reduceByKey with the result here, as a Map: every peer sends one value a key. */
  async reduceByKeyLocally<K, V>(
    this: PairActions<Pair<K, V>>,
    fn: (left: Widen<V>, right: Widen<V>) => Widen<V>,
    options: ActionOptions = {},
  ): Promise<Map<K, Widen<V>>> {
    const label = 'reduceByKeyLocally'
    const reduced = new KeyedMap<K, { value: Widen<V> }>()
    const action = { kind: 'partition', fn: builtin('reduceByKey', [this.fn(fn, label)]) } as const
    await this.foldPartials(action, label, options, partial => {
      for (const [key, value] of partial as Pair<K, Widen<V>>[]) {
        const known = reduced.get(key)
        if (known === undefined) reduced.set(key, { value })
        else known.value = fn(known.value, value)
      }
    })
    return new Map(reduced.entries().map(([key, { value }]) => [key, value]))
  }
}
