import type { Operation } from './operation.ts'

/**
 * What a thing should do when one operation happens after the other. The checker looks for an order of a history's
 * operations that such a thing could have shown.
 */
export interface Model<State> {
  readonly name: string
  /** Operations it knows; another one in a history is an error of the history, not of the thing. */
  readonly operations: readonly string[]
  init(): State
  /**
   * The state after the operation, or undefined when it could not have had this output in this state. Never changes the
   * given state. With an unknown output: the state if it took effect here.
   */
  step(state: State, operation: Operation): State | undefined
  /** Equal for equal states, different for different ones. */
  fingerprint(state: State): string
  /**
   * Histories that can be checked one by one, because each stands for itself: all are linearizable if and only if the
   * whole is, or (where that is said) at least whenever the whole is.
   */
  split(history: readonly Operation[]): Map<string, Operation[]>
}

/** Splits by key. */
export function byKey(history: readonly Operation[]): Map<string, Operation[]> {
  return Map.groupBy(history, ({ key }) => key)
}
