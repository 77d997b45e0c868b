import { byKey, type Model } from './model.ts'

/**
 * Things that are there or not, one for each key: `add` and `remove` → whether that changed anything, `has` → whether it
 * is there.
 */
export const setModel: Model<boolean> = {
  name: 'set',
  operations: ['add', 'remove', 'has'],
  init: () => false,
  step(state, { op, output }) {
    const next = op === 'add' ? true : op === 'remove' ? false : state
    if (output === null) return next
    // Refused: it did nothing.
    if ('error' in output) return state
    const answer = op === 'has' ? state : next !== state
    return output.ok === answer ? next : undefined
  },
  fingerprint: String,
  split: byKey,
}
