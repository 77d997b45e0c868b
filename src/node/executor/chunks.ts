import { EXECUTOR } from '../config.ts'

/** A body in pieces, so that other streams of the connection can go between. */
export async function* inChunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += EXECUTOR.chunkBytes) {
    yield bytes.subarray(at, at + EXECUTOR.chunkBytes)
  }
}
