import { decodeBatches, decodePairBatches, estimateBytes } from '../codec/index.ts'
import type { SpillFile } from '../task.ts'
import { pairsBlock, rowsBlock, textBlock, type Block } from './block.ts'
import { chunked, isIterable } from './chunked-iterable.ts'
import type { MemoryHolding } from './task-memory.ts'
import type { TextLines } from './text-lines.ts'

/** Where blocks come from: at once, or made of chunks of bytes that may have to be waited for. */
export type BlockSource =
  /** `made`: of what the task has read, and counted, already. */
  | { kind: 'blocks'; blocks: Iterable<Block>; made?: true }
  /** One source after the other, each opened when the one before has ended. */
  | { kind: 'parts'; parts: readonly (() => Promise<BlockSource>)[]; made?: true }
  /** Made by functions that wait. `memory` is charged when they must be gathered first. */
  | { kind: 'stream'; blocks: AsyncIterable<Block>; memory: MemoryHolding }
  | {
      kind: 'chunks'
      chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>
      decoder: ChunkDecoder
      /** Charged when the chunks must be gathered first. */
      memory: MemoryHolding
    }

export interface ChunkDecoder {
  /** True once further chunks do not matter. */
  readonly done: boolean
  push(chunk: Uint8Array): Iterable<Block>
  end(): Iterable<Block>
}

/** Block after block; waits between chunks only. */
export async function* blocksOf(source: BlockSource): AsyncGenerator<Block, void, undefined> {
  if (source.kind === 'blocks') {
    yield* source.blocks
    return
  }
  if (source.kind === 'parts') {
    for (const open of source.parts) yield* blocksOf(await open())
    return
  }
  if (source.kind === 'stream') {
    yield* source.blocks
    return
  }
  const { decoder } = source
  for await (const chunk of source.chunks) {
    for (const block of decoder.push(chunk)) yield block
    if (decoder.done) break
  }
  for (const block of decoder.end()) yield block
}

/**
 * The same without waiting, for iterators that are handed to the user. Chunks that come asynchronously are gathered
 * first, as bytes, those that the task has no memory for on disk; local ones are read as they are needed.
 */
export async function blocksNow(source: BlockSource): Promise<Iterable<Block>> {
  if (source.kind === 'blocks') return source.blocks
  if (source.kind === 'parts') {
    const opened: Iterable<Block>[] = []
    for (const open of source.parts) opened.push(await blocksNow(await open()))
    return joined(opened)
  }
  if (source.kind === 'stream') {
    const blocks: Block[] = []
    for await (const block of source.blocks) {
      source.memory.grow(rowsEstimate(block))
      blocks.push(block)
    }
    return blocks
  }
  const { chunks, decoder, memory } = source
  if (isSync(chunks)) return decoded(chunks, decoder)
  const gathered: Uint8Array[] = []
  let onDisk: { file: SpillFile; extents: [start: number, end: number][] } | undefined
  for await (const chunk of chunks) {
    if (onDisk === undefined && memory.tryGrow(chunk.length)) {
      gathered.push(chunk)
      continue
    }
    onDisk ??= { file: memory.spill.open(), extents: [] }
    const start = onDisk.file.append(chunk)
    onDisk.extents.push([start, start + chunk.length])
    memory.spill.bytes += chunk.length
  }
  return decoded(onDisk === undefined ? gathered : chunksOf(gathered, onDisk), decoder)
}

function* chunksOf(
  gathered: readonly Uint8Array[],
  { file, extents }: { file: SpillFile; extents: readonly [start: number, end: number][] },
): Generator<Uint8Array, void, undefined> {
  yield* gathered
  for (const [start, end] of extents) yield file.read(start, end)
}

/** Of a block of rows, one in so many is measured. */
const MEASURE_EVERY = 16

function rowsEstimate({ a, end }: Block): number {
  let bytes = 0
  for (let i = 0; i < end; i += MEASURE_EVERY) bytes += MEASURE_EVERY * estimateBytes(a[i])
  return bytes
}

function* joined(parts: readonly Iterable<Block>[]): Generator<Block, void, undefined> {
  for (const part of parts) yield* part
}

function* decoded(chunks: Iterable<Uint8Array>, decoder: ChunkDecoder): Generator<Block, void, undefined> {
  for (const chunk of chunks) {
    yield* decoder.push(chunk)
    if (decoder.done) break
  }
  yield* decoder.end()
}

function isSync(chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): chunks is Iterable<Uint8Array> {
  return Symbol.iterator in chunks
}

/** Rows in the row codec. */
export function* rowBlocks(bytes: Uint8Array): Generator<Block, void, undefined> {
  for (const rows of decodeBatches(bytes)) yield rowsBlock(rows)
}

/** The same in several pieces, each of whole batches. */
export function* keptBlocks(chunks: Iterable<Uint8Array>): Generator<Block, void, undefined> {
  for (const chunk of chunks) yield* rowBlocks(chunk)
}

/** Chunks are whole batches of rows. */
export const rowDecoder: ChunkDecoder = {
  done: false,
  push: rowBlocks,
  end: () => [],
}

/** Arrays of rows as they are made. */
export function* pulledBlocks(chunks: Iterable<readonly unknown[]>): Generator<Block, void, undefined> {
  for (const rows of chunks) yield rowsBlock(rows)
}

/** Chunks are whole buckets of pairs in the row codec. */
export const pairDecoder: ChunkDecoder = {
  done: false,
  *push(chunk) {
    for (const { keys, values, count } of decodePairBatches(chunk)) yield pairsBlock(keys, values, count)
  },
  end: () => [],
}

export function lineDecoder(lines: TextLines): ChunkDecoder {
  return {
    get done() {
      return lines.done
    },
    *push(chunk) {
      for (const text of lines.push(chunk)) yield textBlock(text)
    },
    *end() {
      for (const text of lines.end()) yield textBlock(text)
    },
  }
}

/** What a function over a partition returned, as blocks of rows. */
export function* returnedBlocks(value: unknown, operator: string): Generator<Block, void, undefined> {
  if (Array.isArray(value)) {
    yield rowsBlock(value)
    return
  }
  if (!isIterable(value)) {
    throw new TypeError(`the function of ${operator} returned ${String(value)}; it must return an iterable`)
  }
  const elements = chunked(value)
  try {
    for (let rows = elements.next(); rows.length > 0; rows = elements.next()) yield rowsBlock(rows)
  } finally {
    elements.close()
  }
}
