import { randomBytes } from 'node:crypto'
import { ShoalError } from '../base/errors.ts'
import {
  Accumulator,
  decodeUpdates,
  sum,
  type AccumulatorKind,
  type AccumulatorParam,
} from './accumulator.ts'
import { AccumulatorMerge } from './accumulator-merge.ts'
import { Broadcast, type BroadcastRef, type BroadcastSource } from './broadcast.ts'
import { decodeValue, encodeValue } from './shared-codec.ts'
import { ACCUMULATOR, BROADCAST } from './shared-config.ts'

/** What the runner of jobs asks of the requester's shared variables. */
export interface SharedAtRequester {
  /** Undefined when it is none of these; 'destroyed' when it was one. */
  broadcast(id: string): BroadcastSource | 'destroyed' | undefined
  /** The share of a map task, counted once for each map partition of a shuffle, whichever job and attempt computed it. */
  mapUpdates(shuffle: string, map: number, updates: Uint8Array): void
}

/** Tells the peers that copies of a broadcast are to go. */
export type DropBroadcast = (ref: BroadcastRef, generation: number, destroyed: boolean) => void

/** The broadcasts and accumulators of one context, at the requester. They live until they are destroyed, or it ends. */
export class SharedVariables implements SharedAtRequester {
  readonly #prefix = randomBytes(6).toString('hex')
  readonly #globals: object | undefined
  readonly #drop: DropBroadcast
  readonly #broadcasts = new Map<string, Broadcast<unknown>>()
  readonly #accumulators = new Map<string, { merge(share: unknown): void }>()
  /** By shuffle; the oldest first. */
  readonly #maps = new Map<string, AccumulatorMerge>()
  /** What a merge threw while no action was looking. */
  #failure: { error: unknown } | undefined
  #seq = 0

  constructor(options: { globals?: object | undefined; drop: DropBroadcast }) {
    this.#globals = options.globals
    this.#drop = options.drop
  }

  makeBroadcast<T>(value: T): Broadcast<T> {
    const globals = this.#globals
    const bytes = encodeValue(value, {
      operator: 'broadcast()',
      maxBytes: BROADCAST.valueBytesMax,
      ...(globals !== undefined && { globals }),
    })
    const broadcast = new Broadcast({ id: this.#id(), value, bytes, owner: { drop: this.#drop } })
    this.#broadcasts.set(broadcast.id, broadcast)
    return broadcast
  }

  makeSum<V extends number | bigint>(initial: V): Accumulator<V> {
    const kind = typeof initial === 'bigint' ? 'bigint' : 'number'
    const id = this.#id()
    const add = (total: V, term: V): V => sum(id, kind, total, term) as V
    return this.#keep(new Accumulator<V>({ id, kind, initial, add, merge: add }))
  }

  makeList<T>(initial: readonly T[]): Accumulator<T[], T> {
    const add = (list: T[], term: T): T[] => {
      list.push(term)
      return list
    }
    const merge = (list: T[], more: T[]): T[] => {
      for (const term of more) list.push(term)
      return list
    }
    return this.#keep(
      new Accumulator<T[], T>({ id: this.#id(), kind: 'list', initial: [...initial], add, merge }),
    )
  }

  makeCustom<V, T>({ zero, add, merge }: AccumulatorParam<V, T>): Accumulator<V, T> {
    const globals = this.#globals
    const bytes = isMaker(zero)
      ? zero
      : encodeValue(zero, {
          operator: 'accumulator()',
          maxBytes: ACCUMULATOR.updateBytesMax,
          ...(globals !== undefined && { globals }),
        })
    const kind: AccumulatorKind = { zero: bytes, add: add as (total: unknown, term: unknown) => unknown }
    const initial = typeof bytes === 'function' ? bytes() : (decodeValue(bytes) as V)
    return this.#keep(new Accumulator<V, T>({ id: this.#id(), kind, initial, add, merge }))
  }

  broadcast(id: string): BroadcastSource | 'destroyed' | undefined {
    const known = this.#broadcasts.get(id)
    return known === undefined ? undefined : (known.source() ?? 'destroyed')
  }

  /** Of the tasks of one job's last stage. */
  resultUpdates(partitions: readonly number[]): AccumulatorMerge {
    return new AccumulatorMerge(updates => this.#merge(updates), partitions)
  }

  mapUpdates(shuffle: string, map: number, updates: Uint8Array): void {
    let merge = this.#maps.get(shuffle)
    if (merge === undefined) {
      merge = new AccumulatorMerge(each => this.#merge(each))
      this.#maps.set(shuffle, merge)
      const [oldest] = this.#maps.keys()
      if (this.#maps.size > ACCUMULATOR.shufflesMax && oldest !== undefined) this.#maps.delete(oldest)
    }
    try {
      merge.take(map, updates)
    } catch (error) {
      // The executor that tells us can do nothing about it; the action can.
      this.#failure ??= { error }
    }
  }

  /** A job is over: shares that wait for those of earlier partitions wait no longer. @throws what a `merge` of the user threw */
  settle(): void {
    for (const merge of this.#maps.values()) merge.flush()
    const failure = this.#failure
    this.#failure = undefined
    if (failure !== undefined) throw failure.error
  }

  #merge(updates: Uint8Array): void {
    for (const [id, share] of decodeUpdates(updates)) this.#accumulators.get(id)?.merge(share)
  }

  #keep<V, T>(accumulator: Accumulator<V, T>): Accumulator<V, T> {
    this.#accumulators.set(accumulator.id, { merge: share => accumulator.merge(share as V) })
    return accumulator
  }

  #id(): string {
    return `${this.#prefix}/${++this.#seq}`
  }
}

export function isParam(given: unknown): given is AccumulatorParam<unknown, unknown> {
  if (typeof given !== 'object' || given === null || !('zero' in given)) return false
  return (
    'add' in given && typeof given.add === 'function' && 'merge' in given && typeof given.merge === 'function'
  )
}

function isMaker<V>(zero: V | (() => V)): zero is () => V {
  return typeof zero === 'function'
}

/** What `context.accumulator(…)` was given makes none. */
export function noAccumulator(given: unknown): ShoalError<'CONFIG_INVALID'> {
  const reason = `a number, a bigint, an array, or { zero, add, merge }, not ${given === null ? 'null' : typeof given}`
  return new ShoalError('CONFIG_INVALID', { option: 'accumulator', reason }, `accumulator() takes ${reason}`)
}
