import { ShoalError } from '../../base/index.ts'

/** Why a signal is aborted, with a code: a deadline's own, CANCELLED for everything else; undefined when it is not. */
export function abortReason(signal: AbortSignal | undefined, what: string): ShoalError | undefined {
  if (signal?.aborted !== true) return undefined
  if (signal.reason instanceof ShoalError && signal.reason.code !== 'CANCELLED') return signal.reason
  return new ShoalError('CANCELLED', { what }, `${what} was cancelled`, { cause: signal.reason })
}

export function connectionLost(peer: string, cause?: Error): ShoalError {
  const why = cause === undefined ? '' : `: ${cause.message}`
  return new ShoalError('CONNECTION_LOST', { peer }, `the connection to ${peer} is gone${why}`, { cause })
}

export function tooLarge(what: string, bytes: number, limitBytes: number): ShoalError {
  const text = `${what}: ${bytes} bytes are over the limit of ${limitBytes}`
  return new ShoalError('TOO_LARGE', { what, bytes, limitBytes }, text)
}

export function busy(what: string, limit: number): ShoalError {
  const text = `too many ${what} at once: ${limit} are allowed; try again later`
  return new ShoalError('BUSY', { what, limit }, text)
}

export function violation(reason: string): ShoalError {
  return new ShoalError('BAD_MESSAGE', { type: 'frame', reason }, `the remote broke the protocol: ${reason}`)
}
