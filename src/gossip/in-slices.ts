import { setImmediate as nextTurn } from 'node:timers/promises'
import type { AbortOptions, Clock } from '../base/index.ts'

/** Work between two turns of the event loop, in milliseconds: heartbeats must get through. */
const SLICE_MS = 8

export interface SlicesOptions extends AbortOptions {
  /** Called before others get their turn. */
  onPause?: () => void
}

/** Goes on with the work whenever others had their turn; between two yields of it nobody has. Stops when aborted. */
export async function inSlices(
  work: Iterable<unknown>,
  clock: Clock,
  { signal, onPause }: SlicesOptions = {},
): Promise<void> {
  let sliceEndMs = clock.nowMs() + SLICE_MS
  for (const _ of work) {
    if (clock.nowMs() < sliceEndMs) continue
    onPause?.()
    await nextTurn()
    if (signal?.aborted === true) return
    sliceEndMs = clock.nowMs() + SLICE_MS
  }
}
