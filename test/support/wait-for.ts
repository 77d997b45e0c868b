import { setTimeout as wait } from 'node:timers/promises'

const POLL_MS = 50

/**
 * Asks again and again until the condition gives something; what it throws counts as "not yet".
 * @throws naming what was waited for and why it was not there the last time.
 */
export async function waitFor<T>(
  what: string,
  condition: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 60_000,
): Promise<T> {
  const untilMs = performance.now() + timeoutMs
  let last: unknown
  for (;;) {
    try {
      const found = await condition()
      if (found !== undefined && found !== false) return found
      last = undefined
    } catch (error) {
      last = error
    }
    if (performance.now() > untilMs) {
      throw new Error(`${what}: not within ${timeoutMs} ms`, { cause: last })
    }
    await wait(POLL_MS)
  }
}
