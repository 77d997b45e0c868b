import { ShoalError } from '../../base/index.ts'

/** Why a signal is aborted, with a code: a deadline's own, CANCELLED for everything else; undefined when it is not. */
export function abortReason(signal: AbortSignal | undefined, what: string): ShoalError | undefined {
  if (signal?.aborted !== true) return undefined
  if (signal.reason instanceof ShoalError && signal.reason.code !== 'CANCELLED') return signal.reason
  return new ShoalError('CANCELLED', { what }, `${what} was cancelled`, { cause: signal.reason })
}
