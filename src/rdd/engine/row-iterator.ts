/** Elements of a partition for the functions of mapPartitions: an ordinary iterator over arrays that come as they are needed. */
export class RowIterator extends Iterator<unknown, undefined, unknown> {
  readonly #chunks: Iterator<readonly unknown[]>
  #rows: readonly unknown[] = []
  #next = 0

  constructor(chunks: Iterable<readonly unknown[]>) {
    super()
    this.#chunks = chunks[Symbol.iterator]()
  }

  override next(): IteratorResult<unknown, undefined> {
    while (this.#next >= this.#rows.length) {
      const { done, value } = this.#chunks.next()
      if (done === true) return { done: true, value: undefined }
      this.#rows = value
      this.#next = 0
    }
    return { done: false, value: this.#rows[this.#next++] }
  }

  /** Called by loops that end early; nothing more is read. */
  override return(): IteratorResult<unknown, undefined> {
    this.#rows = []
    this.#next = 0
    this.#chunks.return?.()
    return { done: true, value: undefined }
  }
}
