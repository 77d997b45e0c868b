import { sleep } from '../base/index.ts'
import { describeError } from './error-report.ts'
import { Interrupted } from './interrupt.ts'
import { print } from './terminal.ts'
import { humanTime } from './units.ts'

export const WATCH_SECONDS_DEFAULT = 2

/** Home, then what is behind the cursor goes: no flicker of an empty screen. */
const REDRAW = '\x1b[H\x1b[J'
const CLEAR = '\x1b[2J'

/**
 * Looks again and again until Ctrl-C, which is its proper end. On a terminal each look replaces the one before; elsewhere they
 * follow each other, as JSON one line each. A look that fails after the first is shown as such, and the next may succeed.
 * @param every seconds; true: WATCH_SECONDS_DEFAULT
 */
export async function watch<Seen>(
  look: () => Promise<Seen>,
  describe: (seen: Seen) => string,
  every: number | true,
  { json, signal }: { json: boolean; signal: AbortSignal },
): Promise<void> {
  const everyMs = (every === true ? WATCH_SECONDS_DEFAULT : every) * 1_000
  const isScreen = process.stdout.isTTY === true && !json
  const show = (text: string): void =>
    print(isScreen ? `${REDRAW}${humanTime(Date.now())}, every ${everyMs / 1_000} s\n\n${text}` : text)
  try {
    const first = await look()
    if (isScreen) process.stdout.write(CLEAR)
    show(json ? JSON.stringify(first) : describe(first))
    for (;;) {
      await sleep(everyMs, { signal })
      try {
        const seen = await look()
        show(json ? JSON.stringify(seen) : `${isScreen ? '' : '\n'}${describe(seen)}`)
      } catch (error) {
        signal.throwIfAborted()
        show(json ? JSON.stringify({ error: String(error) }) : describeError(error))
      }
    }
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error
  }
}
