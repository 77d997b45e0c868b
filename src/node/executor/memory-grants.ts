/** Memory is granted in pages of this. */
export const PAGE_BYTES = 1 << 20

/**
 * The one account of what all tasks of a peer hold together: a cell for each worker in shared memory, with the pages that
 * it has. A worker asks without waiting, by adding to its own cell and looking at the sum; two that ask for the last page
 * at once may both be refused, never both be granted. What a worker had that died is taken back by clearing its cell.
 */
export class MemoryGrants {
  readonly cells: Int32Array<SharedArrayBuffer>
  readonly #pagesMax: number

  /** @param cells One for each worker, the same memory in all threads. */
  constructor(cells: Int32Array<SharedArrayBuffer>, bytesMax: number) {
    this.cells = cells
    this.#pagesMax = Math.floor(bytesMax / PAGE_BYTES)
  }

  static of(workers: number, bytesMax: number): MemoryGrants {
    return new MemoryGrants(new Int32Array(new SharedArrayBuffer(4 * workers)), bytesMax)
  }

  get bytesMax(): number {
    return this.#pagesMax * PAGE_BYTES
  }

  /** Granted to all workers now. */
  get grantedBytes(): number {
    return this.#pages(0) * PAGE_BYTES
  }

  /**
   * The worker wants to have so much in all; false when that is more than there is, and nothing has changed. Half of all
   * is shared out evenly beforehand: that much a worker gets whatever the others have.
   */
  resize(worker: number, totalBytes: number): boolean {
    const pages = Math.ceil(totalBytes / PAGE_BYTES)
    const before = Atomics.exchange(this.cells, worker, pages)
    const share = Math.floor(this.#pagesMax / (2 * this.cells.length))
    if (pages <= before || pages <= share || this.#pages(share) <= this.#pagesMax) return true
    Atomics.store(this.cells, worker, before)
    return false
  }

  /** @param least Counted for a worker that has less. */
  #pages(least: number): number {
    let pages = 0
    for (let i = 0; i < this.cells.length; i++) pages += Math.max(least, Atomics.load(this.cells, i))
    return pages
  }
}
