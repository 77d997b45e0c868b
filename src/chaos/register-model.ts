import { byKey, type Model } from './model.ts'
import type { Operation } from './operation.ts'

type Value = Operation['input']

/**
 * Registers, one for each key, `null` at first: `read` → value, `write` value, `cas` `{ from, to }` → whether it was so.
 */
export const registerModel: Model<Value> = {
  name: 'register',
  operations: ['read', 'write', 'cas'],
  init: () => null,
  step(state, { op, input, output }) {
    // Refused: it did nothing.
    if (output !== null && 'error' in output) return state
    if (op === 'write') return input
    if (op === 'read') return output === null || same(output.ok, state) ? state : undefined
    const { from, to } = casOf(input)
    const swaps = same(state, from)
    if (output !== null && output.ok !== swaps) return undefined
    return swaps ? to : state
  },
  fingerprint: state => JSON.stringify(state),
  split: byKey,
}

function casOf(input: Value): { from: Value; to: Value } {
  if (input === null || typeof input !== 'object' || Array.isArray(input)) return { from: null, to: null }
  return { from: input['from'] ?? null, to: input['to'] ?? null }
}

function same(a: Value, b: Value): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
