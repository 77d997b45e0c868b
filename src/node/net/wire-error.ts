import { z } from 'zod'
import { fromWire, pack, ShoalError, toWire, unpack } from '../../base/index.ts'
import type { ErrorCode, WireError } from '../../base/index.ts'
import { ERROR_BYTES_MAX } from './frame-codec.ts'

/** Longest message and stack that cross when the error as it is does not fit. */
const TEXT_CHARS_MAX = 8_000
/** Causes deeper than this are left out. */
const CAUSE_DEPTH_MAX = 4

/** A newer peer may have codes that we do not know: any of their shape is let through. */
const code = z.custom<ErrorCode>(value => typeof value === 'string' && /^[A-Z_]{1,40}$/.test(value))

const wireError: z.ZodType<WireError> = z.object({
  code,
  message: z.string(),
  details: z.record(z.string(), z.unknown()),
  get cause(): z.ZodExactOptional<z.ZodType<WireError>> {
    return wireError.exactOptional()
  },
})

/** Anything thrown, as the payload of an ERROR or REFUSE frame. */
export function encodeError(error: unknown): Uint8Array {
  const wire = shortened(toWire(error), 0)
  try {
    const payload = pack(wire)
    if (payload.byteLength <= ERROR_BYTES_MAX) return payload
  } catch {
    // Details that cannot be packed are left out below.
  }
  return pack({ code: wire.code, message: wire.message.slice(0, TEXT_CHARS_MAX), details: {} })
}

/** What the remote threw; anything malformed becomes BAD_MESSAGE. */
export function decodeError(payload: Uint8Array): ShoalError {
  let value: unknown
  try {
    value = unpack(payload)
  } catch {
    value = undefined
  }
  const parsed = wireError.safeParse(value)
  if (parsed.success) return fromWire(parsed.data)
  return new ShoalError('BAD_MESSAGE', { type: 'error', reason: 'not a wire error' })
}

function shortened(wire: WireError, depth: number): WireError {
  const { cause, ...rest } = wire
  return cause === undefined || depth === CAUSE_DEPTH_MAX
    ? rest
    : { ...rest, cause: shortened(cause, depth + 1) }
}
