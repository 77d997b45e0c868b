/** Bytes that are all here already: small ones travel in the same frame as the head they follow. */
export class WholeBody implements AsyncIterable<Uint8Array> {
  readonly chunks: readonly Uint8Array[]
  readonly sizeBytes: number

  constructor(chunks: readonly Uint8Array[]) {
    this.chunks = chunks
    this.sizeBytes = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, undefined> {
    yield* this.chunks
  }
}

/** A body of bytes at hand. They must not change until the call is over: nothing copies them. */
export function bodyOf(...chunks: readonly Uint8Array[]): WholeBody {
  return new WholeBody(chunks)
}
