import { Readable } from 'node:stream'
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib'
import { ShoalError } from '../../base/index.ts'

/**
 * Bytes of a body between hosts, as one zstd stream: at level 1 it takes a processor as long as a network of some
 * gigabits does, and columns of the row codec become two to four times smaller. On one host the bytes would only be
 * copied anyway.
 */
export async function* packed(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  // With a checksum: damage that still decodes would be other rows.
  const params = { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 }
  yield* through(chunks, createZstdCompress({ params }))
}

/** @throws BAD_MESSAGE for what is no such stream, or ends early */
export async function* unpacked(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* through(chunks, createZstdDecompress(), error => {
    const reason = `a compressed body cannot be read: ${error.message}`
    return new ShoalError('BAD_MESSAGE', { type: 'rdd.shuffle.fetch', reason }, reason)
  })
}

/** Errors of the source are the reader's as they are; leaving the loop ends the source. */
async function* through(
  chunks: AsyncIterable<Uint8Array>,
  codec: ReturnType<typeof createZstdCompress> | ReturnType<typeof createZstdDecompress>,
  explained: (error: Error) => Error = error => error,
): AsyncGenerator<Uint8Array, void, undefined> {
  const input = Readable.from(chunks, { objectMode: false })
  const failure: { error?: Error } = {}
  input.on('error', error => {
    failure.error = error
    codec.destroy(error)
  })
  try {
    for await (const chunk of input.pipe(codec)) yield new Uint8Array(chunk as Buffer)
  } catch (error) {
    throw failure.error ?? explained(error instanceof Error ? error : new Error(String(error)))
  } finally {
    input.destroy()
    codec.destroy()
  }
}
