import { isIterable } from './chunked-iterable.ts'
import { pipe, type PipeOptions } from './pipe.ts'
import type { BuiltinMaker } from './shared-builtins.ts'
import type { StreamFunction } from './stream-step.ts'

/** Builtins of `stream` steps: they take a whole partition as it comes, and may wait. */

type Chunks = AsyncIterable<readonly unknown[]>
type AsyncFunction = (element: unknown) => unknown

/** Results handed on at once, at most; the first go alone, so that a `take` behind them waits for little. */
const CHUNK_MAX = 256

export const STREAM_BUILTINS: Record<string, BuiltinMaker> = {
  mapAsync:
    (fn: AsyncFunction, concurrency: number): StreamFunction =>
    (chunks, _partition, signal) =>
      inChunks(inOrder(chunks, fn, concurrency, signal)),
  flatMapAsync: (fn: AsyncFunction, concurrency: number): StreamFunction => {
    const gathered = async (element: unknown): Promise<Iterable<unknown>> => elementsOf(await fn(element))
    return (chunks, _partition, signal) => inChunks(flattened(inOrder(chunks, gathered, concurrency, signal)))
  },
  /** Gives nothing on. */
  forEachAsync: (fn: AsyncFunction, concurrency: number): StreamFunction =>
    async function* (chunks, _partition, signal) {
      for await (const _ of inOrder(chunks, fn, concurrency, signal)) yield []
    },
  pipe:
    (options: PipeOptions): StreamFunction =>
    (chunks, _partition, signal) =>
      pipe(options, chunks, signal),
}

/** Results in the order of the elements, with at most `concurrency` calls under way or waiting for an earlier one. */
async function* inOrder(
  chunks: Chunks,
  fn: AsyncFunction,
  concurrency: number,
  signal: AbortSignal,
): AsyncGenerator<unknown, void, undefined> {
  const calls: Promise<unknown>[] = []
  for await (const elements of chunks) {
    for (const element of elements) {
      if (calls.length >= concurrency) yield await calls.shift()!
      if (signal.aborted) return
      const call = called(fn, element)
      // Seen when its turn comes; if an earlier one fails, never.
      call.catch(() => {})
      calls.push(call)
    }
  }
  for (const call of calls) yield await call
}

/** Throwing at once is rejecting, too. */
async function called(fn: AsyncFunction, element: unknown): Promise<unknown> {
  return fn(element)
}

async function* inChunks(
  results: AsyncIterable<unknown>,
): AsyncGenerator<readonly unknown[], void, undefined> {
  let size = 1
  let chunk: unknown[] = []
  for await (const result of results) {
    chunk.push(result)
    if (chunk.length < size) continue
    yield chunk
    chunk = []
    size = Math.min(2 * size, CHUNK_MAX)
  }
  yield chunk
}

async function* flattened(results: AsyncIterable<unknown>): AsyncGenerator<unknown, void, undefined> {
  for await (const elements of results) yield* elements as Iterable<unknown>
}

async function elementsOf(value: unknown): Promise<Iterable<unknown>> {
  if (isIterable(value)) return value
  if (typeof value === 'object' && value !== null && Symbol.asyncIterator in value) {
    const elements: unknown[] = []
    for await (const element of value as AsyncIterable<unknown>) elements.push(element)
    return elements
  }
  throw new TypeError(
    `the function of flatMapAsync gave ${value === null ? 'null' : typeof value}; it must give an iterable or an async iterable`,
  )
}
