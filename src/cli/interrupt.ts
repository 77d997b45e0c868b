import { ShoalError } from '../base/errors.ts'

/** As shells report a process ended by SIGINT. */
export const EXIT_INTERRUPTED = 130

/**
 * Runs `work` with a signal that the first Ctrl-C (or SIGTERM) aborts; the second ends the process at once.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interrupted = new AbortController()
  const onSignal = (): void => {
    if (interrupted.signal.aborted) process.exit(EXIT_INTERRUPTED)
    interrupted.abort(new Interrupted())
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  try {
    return await work(interrupted.signal)
  } finally {
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}

/** The user pressed Ctrl-C: nothing to explain, but not a success either. */
export class Interrupted extends ShoalError<'CANCELLED'> {
  constructor() {
    super('CANCELLED', { what: 'the command' }, 'interrupted')
  }
}
