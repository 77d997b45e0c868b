/** Elements pulled at once from an iterable that is no array, at most. The first pull takes one. */
const CHUNK_MAX = 64

/**
 * Feeds a generated loop from any iterable in small arrays, so that the loop has one inner loop for arrays and others.
 * It begins with one element and doubles: an endless generator in front of `take` is pulled little too far.
 */
export class ChunkedIterable {
  readonly #iterator: Iterator<unknown>
  #size = 1
  #done = false

  constructor(iterable: Iterable<unknown>) {
    this.#iterator = iterable[Symbol.iterator]()
  }

  /** The next elements; none at the end. */
  next(): unknown[] {
    const chunk: unknown[] = []
    while (!this.#done && chunk.length < this.#size) {
      const { done, value } = this.#iterator.next()
      if (done === true) this.#done = true
      else chunk.push(value)
    }
    this.#size = Math.min(this.#size * 2, CHUNK_MAX)
    return chunk
  }

  /** Nothing more will be asked for. */
  close(): void {
    if (!this.#done) this.#iterator.return?.()
    this.#done = true
  }
}

/** What flatMap's function returned, when it is no array. */
export function chunked(value: unknown): ChunkedIterable {
  if (!isIterable(value)) {
    const what = value === null ? 'null' : typeof value
    throw new TypeError(
      `the function of flatMap returned ${what}; it must return an array or another iterable`,
    )
  }
  return new ChunkedIterable(value)
}

export function isIterable(value: unknown): value is Iterable<unknown> {
  if (typeof value === 'string') return true
  return typeof value === 'object' && value !== null && Symbol.iterator in value
}
