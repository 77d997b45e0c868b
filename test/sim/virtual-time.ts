interface Due {
  atMs: number
  /** Breaks ties in the order of scheduling, so that a run depends on its seed alone. */
  order: number
  run: () => void
}

/** Simulated time: a queue of what happens when. Nothing in a simulation waits for anything else. */
export class VirtualTime {
  nowMs = 0
  #order = 0
  /** Binary heap, the earliest first. */
  readonly #heap: Due[] = []

  after(delayMs: number, run: () => void): void {
    const heap = this.#heap
    const due: Due = { atMs: this.nowMs + Math.max(0, delayMs), order: this.#order++, run }
    let child = heap.push(due) - 1
    while (child > 0) {
      const parent = (child - 1) >> 1
      if (!before(due, heap[parent]!)) break
      heap[child] = heap[parent]!
      child = parent
    }
    heap[child] = due
  }

  /** Runs everything due until then; time stands at `untilMs` afterwards. */
  runUntil(untilMs: number): void {
    for (let due = this.#heap[0]; due !== undefined && due.atMs <= untilMs; due = this.#heap[0]) {
      this.#removeFirst()
      this.nowMs = due.atMs
      due.run()
    }
    this.nowMs = untilMs
  }

  /** Runs until the condition holds; false when it does not within `timeoutMs`. Looks each `everyMs`. */
  runUntilTrue(condition: () => boolean, timeoutMs: number, everyMs = 50): boolean {
    const endMs = this.nowMs + timeoutMs
    while (!condition()) {
      if (this.nowMs >= endMs) return false
      this.runUntil(Math.min(endMs, this.nowMs + everyMs))
    }
    return true
  }

  #removeFirst(): void {
    const heap = this.#heap
    const last = heap.pop()!
    if (heap.length === 0) return
    let parent = 0
    for (;;) {
      let child = 2 * parent + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, last)) break
      heap[parent] = heap[child]!
      parent = child
    }
    heap[parent] = last
  }
}

function before(a: Due, b: Due): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
