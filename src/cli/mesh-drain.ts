import { hasCode, ShoalError } from '../base/errors.ts'
import { sleep } from '../base/index.ts'
import type { DrainProgress } from '../node/index.ts'
import { attached } from './attached.ts'
import type { Settings } from './settings.ts'
import { isWatched, print, printJson } from './terminal.ts'
import { counted, humanBytes } from './units.ts'

export interface DrainOptions {
  cancel?: boolean
  degraded?: boolean
}

/** Between two looks at the progress. */
const LOOK_MS = 500

/** `shoal drain`: waits until the peer has left, unless told not to. @throws DRAIN_REFUSED, CONFIG_INVALID */
export async function drain(
  peer: string,
  { cancel, degraded }: DrainOptions,
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const begun = await mesh.drain(peer, {
      signal,
      ...(cancel === undefined ? {} : { cancel }),
      ...(degraded === undefined ? {} : { degraded }),
    })
    const say = (text: string, progress: DrainProgress): void => {
      if (settings.json) printJson(progress)
      else print(text)
    }
    if (cancel === true) {
      say(`${begun.name} stays and takes its share again`, begun)
      return
    }
    if (!settings.wait) {
      say(`${begun.name} is draining: ${describe(begun)}`, begun)
      return
    }
    let shown = ''
    for (;;) {
      const progress = await mesh.drainStatus(begun.peerId, { signal }).catch((error: unknown) => {
        // The peer that we are attached to is the one that left.
        if (hasCode(error, 'CONNECTION_LOST') || hasCode(error, 'UNREACHABLE')) return undefined
        throw error
      })
      if (progress === undefined) {
        print(`${begun.name} is gone, and with it this connection; \`shoal status\` shows whether it left`)
        return
      }
      if (progress.state === 'left') {
        say(`${progress.name} has left: everything it held is elsewhere`, progress)
        return
      }
      if (!progress.draining) {
        throw new ShoalError(
          'CANCELLED',
          { what: `the drain of ${progress.name}` },
          `somebody called the drain of ${progress.name} off; it stays`,
        )
      }
      const text = `${progress.name}: ${describe(progress)}`
      if (text !== shown && !settings.json && (isWatched() || shown === '')) process.stderr.write(`${text}\n`)
      shown = text
      await sleep(LOOK_MS, { signal })
    }
  })
}

/** `shoal weigh`. */
export async function weigh(peer: string, text: string, settings: Settings): Promise<void> {
  const weight = Number(text)
  if (text.trim() === '' || !(weight >= 0 && weight <= 1_000)) {
    const reason = `it must be a number from 0 to 1000, not ${JSON.stringify(text)}`
    throw new ShoalError('CONFIG_INVALID', { option: 'weight', reason }, `weight: ${reason}`)
  }
  await attached(settings, async (mesh, signal) => {
    await mesh.weigh(peer, weight, { signal })
    if (settings.json) printJson({ peer, weight })
    else print(`${peer} takes data by weight ${weight} from now on`)
  })
}

function describe({ slots, blocks, bytes, unsafe, votes }: DrainProgress): string {
  const parts = [
    `still on it are ${counted(blocks, 'block')} (${humanBytes(bytes)}), ${unsafe} of which are not yet safe elsewhere, and ${counted(slots, 'slot')}`,
  ]
  if (votes) parts.push('its vote is to be given to another peer')
  return parts.join('; ')
}
