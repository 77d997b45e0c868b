import v8 from 'node:v8'
import { ShoalError } from '../base/errors.ts'
import {
  captureValue,
  encodeClosure,
  isPlainData,
  reviveValue,
  type CaptureOptions,
} from './closure/index.ts'

/**
 * Values of shared variables as bytes: what a broadcast holds, what accumulators come to. Plain data takes the engine's
 * own serializer, which is ten times as fast; what has classes or functions in it travels as a closure's captures do.
 */

const PLAIN = 0
const GRAPH = 1

export interface ValueOptions extends Pick<CaptureOptions, 'globals'> {
  /** "broadcast()", for refusals. */
  operator: string
  /** Bytes of one value. */
  maxBytes: number
}

/** @throws VALUE_REFUSED for what is larger than `maxBytes` or refers to another shared variable, CLOSURE_REFUSED for what cannot travel */
export function encodeValue(value: unknown, options: ValueOptions): Uint8Array {
  const plain = plainBytes(value)
  const bytes = plain ?? graphBytes(value, options)
  if (bytes.byteLength > options.maxBytes) {
    throw refused(options, `it takes ${bytes.byteLength} bytes, and ${options.maxBytes} are the most`)
  }
  const whole = new Uint8Array(bytes.byteLength + 1)
  whole[0] = plain === undefined ? GRAPH : PLAIN
  whole.set(bytes, 1)
  return whole
}

/** A copy of its own, also of the bytes under typed arrays. @throws BAD_MESSAGE for what encodeValue did not write */
export function decodeValue(bytes: Uint8Array): unknown {
  // Views of memory that other threads read, too, must not reach the user's code.
  const own = new Uint8Array(bytes.subarray(1))
  if (bytes[0] === GRAPH) return reviveValue(own)
  if (bytes[0] === PLAIN) return v8.deserialize(own)
  throw new ShoalError('BAD_MESSAGE', { type: 'shared value', reason: `a value of kind ${bytes[0]}` })
}

function plainBytes(value: unknown): Uint8Array | undefined {
  if (!isPlainData(value)) return undefined
  try {
    return v8.serialize(value)
  } catch {
    // Nested deeper than its recursion goes; the other way has none.
    return undefined
  }
}

function graphBytes(value: unknown, { operator, maxBytes, globals }: ValueOptions): Uint8Array {
  const captured = captureValue(value, {
    operator,
    maxBytes,
    maxNodes: Infinity,
    ...(globals !== undefined && { globals }),
  })
  if (captured.shared.length > 0) {
    throw refused({ operator }, 'it refers to another broadcast or accumulator; capture both in the function')
  }
  return encodeClosure(captured)
}

function refused({ operator }: { operator: string }, reason: string): ShoalError<'VALUE_REFUSED'> {
  return new ShoalError(
    'VALUE_REFUSED',
    { value: operator, reason },
    `${operator}: the value cannot be shared: ${reason}`,
  )
}
