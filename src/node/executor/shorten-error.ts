import type { WireError } from '../../base/index.ts'
import { EXECUTOR } from '../config.ts'

/** Deepest chain of causes that is reported. */
const CAUSES_MAX = 8

/** The same error with its texts cut, so that it fits into a report whatever user code has thrown. */
export function shortened(error: WireError, causes = CAUSES_MAX): WireError {
  const { code, message, details, cause } = error
  const short: WireError = {
    code,
    message: cut(message),
    details: Object.fromEntries(Object.entries(details).map(([name, value]) => [name, cutValue(value)])),
  }
  if (cause !== undefined && causes > 0) short.cause = shortened(cause, causes - 1)
  return short
}

function cutValue(value: unknown): unknown {
  if (typeof value === 'string') return cut(value)
  if (!Array.isArray(value)) return value
  const { errorItemsMax, errorItemCharsMax } = EXECUTOR
  return value
    .slice(0, errorItemsMax)
    .map((item: unknown) => (typeof item === 'string' ? cut(item, errorItemCharsMax) : item))
}

function cut(text: string, charsMax: number = EXECUTOR.errorCharsMax): string {
  if (text.length <= charsMax) return text
  return `${text.slice(0, charsMax)}… (${text.length - charsMax} more characters)`
}
