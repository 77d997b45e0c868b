import { basename, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of Shoal's own sources: frames in it are not the user's. */
const OWN_SOURCES = fileURLToPath(new URL('..', import.meta.url))

/** Where the user called an operator, "job.ts:12": the nearest stack frame outside Shoal. A few microseconds. */
export function callSite(): string | undefined {
  for (const frame of (new Error('call site').stack ?? '').split('\n').slice(1)) {
    const match = /(?:\(|at (?:async )?)([^()]+?):(\d+):\d+\)?$/.exec(frame)
    if (match === null) continue
    const [, place = '', line] = match
    const file = place.startsWith('file:') ? fileURLToPath(place) : place
    if (file.startsWith(OWN_SOURCES) || file.startsWith('node:')) continue
    return `${basename(file.replaceAll('/', sep))}:${line}`
  }
  return undefined
}
