/** What a shared variable looks like inside a closure: its name, and what a task must know of it beforehand. */
export interface ShippedHandle {
  what: 'broadcast' | 'accumulator'
  /** Captured in turn. */
  of: unknown
}

/**
 * A variable that every peer knows by its id: capture ships the reference in its place, never its value, and revive asks
 * the executing task for its own end of it.
 */
export abstract class SharedHandle {
  abstract readonly id: string
  /** @throws where it cannot be used any more. */
  abstract shipped(): ShippedHandle
}

/** The executing task's end of shared variables. */
export interface SharedPort {
  handle(what: ShippedHandle['what'], id: string, of: unknown): object
}
