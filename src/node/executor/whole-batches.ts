import { wholeBatchBytes } from '../../rdd/index.ts'

/**
 * Bytes of a bucket in any chunking, as pieces that are whole batches, so that a reader needs no more memory than its
 * largest batch. A bucket that ends inside a batch ends with a piece that does not decode.
 */
export async function* wholeBatches(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let waiting: Uint8Array[] = []
  let bytes = 0
  /** What the open batch is known to need before it can be whole. */
  let neededBytes = 1
  for await (const chunk of chunks) {
    waiting.push(chunk)
    bytes += chunk.byteLength
    if (bytes < neededBytes) continue
    const all = waiting.length === 1 ? waiting[0]! : Buffer.concat(waiting, bytes)
    const { whole, nextBytes } = wholeBatchBytes(all)
    if (whole > 0) yield all.subarray(0, whole)
    const rest = all.subarray(whole)
    waiting = rest.byteLength === 0 ? [] : [rest]
    bytes = rest.byteLength
    neededBytes = Math.max(1, nextBytes)
  }
  if (bytes > 0) yield Buffer.concat(waiting, bytes)
}
