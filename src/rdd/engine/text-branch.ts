import { textPairBatches, type TextPairs } from '../codec/index.ts'
import type { FunctionRef } from '../plan.ts'
import { pairDecoder } from './block-source.ts'
import { pairsBlock, type Block } from './block.ts'
import type { Branch } from './branch.ts'
import type { MemoryHolding } from './task-memory.ts'
import { TextSort } from './text-sort.ts'

/** The shuffled pairs of a partition that are to be sorted by key: as texts, as long as they are. */
export type SortedTexts =
  /** All were pairs of ASCII strings. */
  | { kind: 'texts'; sort: TextSort }
  /** They were not: all of them, to be sorted as values, those of equal keys in the order of their coming. */
  | { kind: 'values'; blocks: AsyncIterable<Block> }

/** True of a branch that begins with a sort by the keys of pairs. */
export function sortsPairs(branch: Branch): boolean {
  const first = branch.steps[0]?.step
  return !branch.cached && first?.op === 'sort' && isBuiltin(first.by, 'pairKey')
}

/** True when all that is left to do with sorted pairs is to take their values. */
export function takesValues(branch: Branch): boolean {
  const [, second, ...others] = branch.steps
  return others.length === 0 && second?.step.op === 'map' && isBuiltin(second.step.fn, 'pairValue')
}

function isBuiltin(ref: FunctionRef, name: string): boolean {
  return ref.kind === 'builtin' && ref.name === name
}

/** Reads all chunks, until one has anything else than pairs of ASCII strings. */
export async function sortTexts(
  chunks: AsyncIterable<Uint8Array>,
  memory: MemoryHolding,
  ascending: boolean,
  check: () => void,
): Promise<SortedTexts> {
  const sort = new TextSort(memory, ascending)
  const iterator = chunks[Symbol.asyncIterator]()
  for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
    check()
    const batches = textPairBatches(next.value)
    // Not by for…of: leaving that would end the batches, too.
    for (let batch = batches.next(); batch.done !== true; batch = batches.next()) {
      const each = batch.value
      if ('texts' in each) sort.add(each.texts)
      else return { kind: 'values', blocks: asValues(sort, each.batch, batches, iterator) }
    }
  }
  return { kind: 'texts', sort }
}

async function* asValues(
  sort: TextSort,
  other: Uint8Array,
  others: ReturnType<typeof textPairBatches>,
  chunks: AsyncIterator<Uint8Array>,
): AsyncGenerator<Block, void, undefined> {
  try {
    for (const texts of sort.unsorted()) yield stringPairs(texts)
    yield* pairDecoder.push(other)
    for (const each of others) {
      if ('texts' in each) yield stringPairs(each.texts)
      else yield* pairDecoder.push(each.batch)
    }
    for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) {
      yield* pairDecoder.push(next.value)
    }
  } finally {
    await chunks.return?.()
  }
}

/** Sorted pairs as strings, in slices of the loops: with what comes last an empty block, which ends them all. */
export function* sortedPairs(sort: TextSort, check: () => void): Generator<Block, void, undefined> {
  for (const slice of sort.sorted(check)) yield { ...stringPairs(slice.pairs()), isPart: true }
  yield pairsBlock([], [], 0)
}

function stringPairs({ count, keys, keyEnds, values, valueEnds }: TextPairs): Block {
  return pairsBlock(strings(keys, keyEnds, count), strings(values, valueEnds, count), count)
}

function strings(bytes: Uint8Array, ends: Uint32Array, count: number): string[] {
  const size = count === 0 ? 0 : ends[count - 1]!
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, size).toString('latin1')
  const all: string[] = []
  for (let i = 0, start = 0; i < count; i++) {
    const end = ends[i]!
    all.push(text.slice(start, end))
    start = end
  }
  return all
}
