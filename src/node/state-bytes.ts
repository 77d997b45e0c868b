import { pack, unpack } from '../base/index.ts'

/** Length of the part that follows. */
const LENGTH_BYTES = 4

/** A snapshot's parts, one after the other, each with its length before it. */
export function packParts(parts: Iterable<unknown>): Uint8Array<ArrayBuffer> {
  const pieces: Uint8Array[] = []
  let bytes = 0
  for (const part of parts) {
    const packed = pack(part)
    const length = Buffer.alloc(LENGTH_BYTES)
    length.writeUInt32LE(packed.byteLength)
    pieces.push(length, packed)
    bytes += LENGTH_BYTES + packed.byteLength
  }
  const all = new Uint8Array(bytes)
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.byteLength
  }
  return all
}

/** Decoded one at a time, when it is asked for. */
export function* unpackParts(bytes: Uint8Array): Generator<unknown> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at < bytes.byteLength;) {
    const end = at + LENGTH_BYTES + view.getUint32(at, true)
    yield unpack(bytes.subarray(at + LENGTH_BYTES, end))
    at = end
  }
}
