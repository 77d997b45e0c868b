/**
 * Works on several items at a time, taken in order. The first error ends it: nothing more is begun, what runs is told by the
 * signal and waited for.
 */
export async function inParallel<Item>(
  items: Iterable<Item> | AsyncIterable<Item>,
  workers: number,
  signal: AbortSignal | undefined,
  work: (item: Item, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController()
  const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal])
  const source = iterate(items)
  const worker = async (): Promise<void> => {
    try {
      for (;;) {
        either.throwIfAborted()
        const { done, value } = await source.next()
        if (done === true) return
        await work(value, either)
      }
    } catch (error) {
      if (!stop.signal.aborted) stop.abort(error)
      throw error
    }
  }
  const ends = await Promise.allSettled(Array.from({ length: workers }, worker))
  await source.return()
  if (ends.some(({ status }) => status === 'rejected')) {
    signal?.throwIfAborted()
    throw stop.signal.reason
  }
}

/** A generator answers one `next` after the other, however many workers ask at once. */
async function* iterate<Item>(items: Iterable<Item> | AsyncIterable<Item>): AsyncGenerator<Item, void> {
  yield* items
}
