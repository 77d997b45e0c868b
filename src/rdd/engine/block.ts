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
  /** More of the same block follows: what is done after so many blocks must not depend on how it came in parts. */
  isPart: boolean
}

export type SourceShape =
  | { kind: 'rows' }
  | { kind: 'pairs' }
  | { kind: 'range'; first: number; step: number }
  | { kind: 'lines' }

const NOTHING: readonly unknown[] = []

export function rowsBlock(rows: ArrayLike<unknown>): Block {
  return { start: 0, end: rows.length, a: rows, b: NOTHING, text: '', lines: 0, isPart: false }
}

export function pairsBlock(keys: ArrayLike<unknown>, values: ArrayLike<unknown>, count: number): Block {
  return { start: 0, end: count, a: keys, b: values, text: '', lines: 0, isPart: false }
}

export function rangeBlock(start: number, end: number): Block {
  return { start, end, a: NOTHING, b: NOTHING, text: '', lines: 0, isPart: false }
}

export function textBlock(text: string): Block {
  return { start: 0, end: text.length, a: NOTHING, b: NOTHING, text, lines: 0, isPart: false }
}

/**
 * Rows that would be one block, had they all been in memory, in parts of whole slices: whoever takes them slice by slice
 * sees no difference.
 */
export function* inParts(blocks: Iterable<Block>, sliceRows: number): Generator<Block, void, undefined> {
  let keys: unknown[] = []
  let values: unknown[] = []
  const part = (): Block => ({ ...pairsBlock(keys, values, keys.length), isPart: true })
  for (const block of blocks) {
    let at = block.start
    if (keys.length === 0) {
      const whole = block.end - (block.end % sliceRows)
      if (whole > 0) yield { ...block, end: whole, isPart: true }
      at = whole
    }
    for (; at < block.end; at++) {
      keys.push(block.a[at])
      values.push(block.b[at])
      if (keys.length < sliceRows) continue
      yield part()
      keys = []
      values = []
    }
  }
  yield { ...part(), isPart: false }
}
