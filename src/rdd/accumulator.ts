import { ShoalError } from '../base/errors.ts'
import { SharedHandle, type ShippedHandle } from './closure/index.ts'
import { decodeValue, encodeValue } from './shared-codec.ts'
import { ACCUMULATOR } from './shared-config.ts'

/**
 * How a task's share of an accumulator begins and grows (`add`, in the task), and how shares come together (`merge`, at
 * the requester). Both return the new total, which may be the old one, changed.
 */
export interface AccumulatorParam<V, T = V> {
  /** Each task begins with a copy, or with what the function returns. Adding it must change nothing. */
  zero: V | (() => V)
  add: (total: V, term: T) => V
  merge: (total: V, other: V) => V
}

/** What a task knows of an accumulator, as captured. */
export type AccumulatorKind =
  | 'number'
  | 'bigint'
  | 'list'
  /** `zero`: bytes of a value, or the function that makes it. */
  | { zero: Uint8Array | (() => unknown); add: (total: unknown, term: unknown) => unknown }

/**
 * A total that tasks add to and only the requester reads. Each task's share is counted once, however often the task was
 * tried (docs/shared-variables.md).
 */
export class Accumulator<V, T = V> extends SharedHandle {
  readonly id: string
  readonly #kind: AccumulatorKind
  readonly #add: (total: V, term: T) => V
  readonly #merge: (total: V, other: V) => V
  #value: V

  /** Made by `context.accumulator(…)`. */
  constructor(options: {
    id: string
    kind: AccumulatorKind
    initial: V
    add: (total: V, term: T) => V
    merge: (total: V, other: V) => V
  }) {
    super()
    this.id = options.id
    this.#kind = options.kind
    this.#add = options.add
    this.#merge = options.merge
    this.#value = options.initial
  }

  /** What was added here and by the tasks whose results are in. In a task: ACCUMULATOR_READ. */
  get value(): V {
    return this.#value
  }

  add(term: T): void {
    this.#value = this.#add(this.#value, term)
  }

  /** Takes in one task's share. */
  merge(share: V): void {
    this.#value = this.#merge(this.#value, share)
  }

  override shipped(): ShippedHandle {
    return { what: 'accumulator', of: this.#kind }
  }
}

/** One task's share: it begins with the first term. */
export class AccumulatorShare {
  readonly #kind: AccumulatorKind
  #total: unknown
  #begun = false

  constructor(kind: AccumulatorKind) {
    this.#kind = kind
  }

  get begun(): boolean {
    return this.#begun
  }

  add(id: string, term: unknown): void {
    const kind = this.#kind
    if (!this.#begun) {
      this.#total = zeroOf(kind)
      this.#begun = true
    }
    if (kind === 'list') (this.#total as unknown[]).push(term)
    else if (typeof kind === 'object') this.#total = kind.add(this.#total, term)
    else this.#total = sum(id, kind, this.#total, term)
  }

  /** The share, which begins anew. */
  take(): unknown {
    const total = this.#total
    this.#total = undefined
    this.#begun = false
    return total
  }
}

/** @throws VALUE_REFUSED for a term of another type, which would turn a sum into a text. */
export function sum(id: string, kind: 'number' | 'bigint', total: unknown, term: unknown): number | bigint {
  if (kind === 'number' && typeof total === 'number' && typeof term === 'number') return total + term
  if (kind === 'bigint' && typeof total === 'bigint' && typeof term === 'bigint') return total + term
  const reason = `accumulator ${id} adds ${kind}s, not a ${term === null ? 'null' : typeof term}`
  throw new ShoalError('VALUE_REFUSED', { value: String(term), reason }, reason)
}

function zeroOf(kind: AccumulatorKind): unknown {
  if (kind === 'number') return 0
  if (kind === 'bigint') return 0n
  if (kind === 'list') return []
  return typeof kind.zero === 'function' ? kind.zero() : decodeValue(kind.zero)
}

/** What the accumulators of one task came to: pairs [id, share]. */
export type AccumulatorUpdates = [id: string, share: unknown][]

/** @throws VALUE_REFUSED for more than `ACCUMULATOR.updateBytesMax` */
export function encodeUpdates(updates: AccumulatorUpdates): Uint8Array {
  return encodeValue(updates, { operator: "a task's accumulators", maxBytes: ACCUMULATOR.updateBytesMax })
}

/** @throws BAD_MESSAGE */
export function decodeUpdates(bytes: Uint8Array): AccumulatorUpdates {
  const value = decodeValue(bytes)
  if (!Array.isArray(value)) {
    throw new ShoalError('BAD_MESSAGE', { type: 'accumulator updates', reason: 'no list' })
  }
  return value.flatMap((pair: unknown): AccumulatorUpdates =>
    Array.isArray(pair) && typeof pair[0] === 'string' ? [[pair[0], pair[1]]] : [],
  )
}
