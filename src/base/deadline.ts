import { ShoalError } from './errors.ts'

export interface AbortOptions {
  signal?: AbortSignal | undefined
}

/** A signal that aborts with the caller's or after `timeoutMs`, with a coded reason naming what was waited for. */
export function withDeadline(
  what: string,
  timeoutMs: number,
  signal?: AbortSignal,
): AbortSignal & Disposable {
  const controller = new AbortController()
  const onAbort = (): void => controller.abort(signal?.reason)
  const timer = setTimeout(() => {
    controller.abort(
      new ShoalError('TIMEOUT', { what, timeoutMs }, `${what} did not finish in ${timeoutMs} ms`),
    )
  }, timeoutMs)
  if (signal?.aborted === true) onAbort()
  else signal?.addEventListener('abort', onAbort, { once: true })
  return Object.assign(controller.signal, {
    [Symbol.dispose]() {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    },
  })
}

/** Settles as `promise`, or rejects with the signal's reason as soon as it aborts; the promise itself goes on. */
export async function raceAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  // Nobody waits for it once the signal has won: its failure must not count as unhandled then.
  promise.catch(() => undefined)
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const onAbort = (): void => aborted.reject(signal.reason as Error)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** Waits, unless aborted. */
export async function sleep(ms: number, options: AbortOptions = {}): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  try {
    await (options.signal === undefined ? promise : raceAbort(promise, options.signal))
  } finally {
    clearTimeout(timer)
  }
}
