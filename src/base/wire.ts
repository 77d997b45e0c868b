import { Packr } from 'msgpackr'

/**
 * msgpack for message heads, log entries and snapshots: self-contained (no shared structures), so any version can read
 * it. `undefined` fields are left out by the callers' schemas; bytes come back as Uint8Array views of the input.
 */
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: false, int64AsType: 'number' })

export function pack(value: unknown): Uint8Array {
  return packr.pack(value)
}

/** Throws on bytes that are not one whole msgpack value; the caller turns that into BAD_MESSAGE. */
export function unpack(bytes: Uint8Array): unknown {
  return packr.unpack(bytes)
}
