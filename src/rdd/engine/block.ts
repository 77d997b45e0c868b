/**
 * What a generated loop runs over: part of a source, in one fixed shape for all sources so that loops stay monomorphic.
 * - rows: `a[i]` for i in [start, end)
 * - pairs: `[a[i], b[i]]`
 * - range: `first + i·step`, both constants of the loop
 * - lines: lines of `text`, positions are UTF-16 units
 */
export interface Block {
  start: number
  end: number
  a: ArrayLike<unknown>
  b: ArrayLike<unknown>
  text: string
  /** Elements read by the loop so far; counted by the loops over text. */
  lines: number
}

export type SourceShape =
  | { kind: 'rows' }
  | { kind: 'pairs' }
  | { kind: 'range'; first: number; step: number }
  | { kind: 'lines' }

const NOTHING: readonly unknown[] = []

export function rowsBlock(rows: ArrayLike<unknown>): Block {
  return { start: 0, end: rows.length, a: rows, b: NOTHING, text: '', lines: 0 }
}

export function pairsBlock(keys: ArrayLike<unknown>, values: ArrayLike<unknown>, count: number): Block {
  return { start: 0, end: count, a: keys, b: values, text: '', lines: 0 }
}

export function rangeBlock(start: number, end: number): Block {
  return { start, end, a: NOTHING, b: NOTHING, text: '', lines: 0 }
}

export function textBlock(text: string): Block {
  return { start: 0, end: text.length, a: NOTHING, b: NOTHING, text, lines: 0 }
}
