import { rowsBlock, type Block } from './block.ts'

/** A function over a whole partition that may wait. The signal says that nobody wants more of it. */
export type StreamFunction = (
  chunks: AsyncIterable<readonly unknown[]>,
  partition: number,
  signal: AbortSignal,
) => AsyncIterable<readonly unknown[]>

/** How often a task that waits for a function of the user looks whether it should stop. */
const CANCEL_POLL_MS = 50

interface StreamContext {
  partition: number
  /** Throws when the attempt should stop. */
  checkCancelled(): void
}

/**
 * What the function makes, as blocks. A promise of the user's that never settles does not hold a cancelled task: the
 * function is left waiting, with its signal aborted.
 */
export async function* streamedBlocks(
  fn: StreamFunction,
  chunks: AsyncIterable<readonly unknown[]>,
  context: StreamContext,
): AsyncGenerator<Block, void, undefined> {
  const stop = new AbortController()
  let turn = Promise.withResolvers<IteratorResult<readonly unknown[]>>()
  const watch = setInterval(() => {
    try {
      context.checkCancelled()
    } catch (error) {
      turn.reject(error)
    }
  }, CANCEL_POLL_MS)
  const output = fn(chunks, context.partition, stop.signal)[Symbol.asyncIterator]()
  try {
    for (;;) {
      turn = Promise.withResolvers()
      output.next().then(turn.resolve, turn.reject)
      const { done, value } = await turn.promise
      if (done === true) return
      if (value.length > 0) yield rowsBlock(value)
    }
  } finally {
    clearInterval(watch)
    stop.abort()
    // Not awaited: it may be the one that hangs.
    output.return?.().catch(() => {})
  }
}
