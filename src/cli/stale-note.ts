import type { AsOf } from '../dht/index.ts'
import { humanMs } from './units.ts'

/** What a person has to know of answers that were allowed to be stale. */
export function staleNote({ index, ageMs }: AsOf): string {
  const heard =
    ageMs === undefined
      ? 'which has heard no leader since it began'
      : `which last heard a leader with a majority ${humanMs(ageMs)} ago`
  return `read as of log entry ${index} of this peer, ${heard}; there may be newer`
}
