import { createGunzip, createZstdDecompress } from 'node:zlib'
import { Readable } from 'node:stream'
import { ShoalError } from './errors.ts'

const GZIP = [0x1f, 0x8b]
const ZSTD = [0x28, 0xb5, 0x2f, 0xfd]

/** So many of the first bytes tell. */
export const PACKED_HEAD_BYTES = ZSTD.length

/** True for the beginning of a gzip or zstd file. */
export function isPacked(head: Uint8Array): boolean {
  return [GZIP, ZSTD].some(magic => magic.every((byte, at) => head[at] === byte))
}

/**
 * The bytes without their compression, which the first bytes tell (gzip, zstd), not the name; what is not compressed comes as it is.
 * @throws BAD_CONTENT when it begins as gzip or zstd but does not go on so
 */
export async function* decoded(
  path: string,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  const iterator = source[Symbol.asyncIterator]()
  let head: Uint8Array = new Uint8Array(0)
  while (head.length < ZSTD.length) {
    const { done, value } = await iterator.next()
    if (done === true) break
    head = head.length === 0 ? value : Buffer.concat([head, value])
  }
  async function* whole(): AsyncGenerator<Uint8Array, void> {
    try {
      if (head.length > 0) yield head
      for (;;) {
        const { done, value } = await iterator.next()
        if (done === true) return
        yield value
      }
    } finally {
      await iterator.return?.()
    }
  }
  const begins = (magic: readonly number[]): boolean => magic.every((byte, at) => head[at] === byte)
  const decoder = begins(GZIP) ? createGunzip() : begins(ZSTD) ? createZstdDecompress() : undefined
  if (decoder === undefined) {
    yield* whole()
    return
  }
  const input = Readable.from(whole(), { objectMode: false })
  // What fails at the source is the reader's error as it is, not one of the compression.
  const failure: { error?: Error } = {}
  input.on('error', error => {
    failure.error = error
    decoder.destroy(error)
  })
  try {
    for await (const chunk of input.pipe(decoder)) yield chunk as Uint8Array
  } catch (error) {
    if (failure.error !== undefined) throw failure.error
    const reason = error instanceof Error ? error.message : String(error)
    throw new ShoalError(
      'BAD_CONTENT',
      { path, reason },
      `${path} begins as ${begins(GZIP) ? 'gzip' : 'zstd'} but cannot be unpacked (${reason}); read its bytes with cat`,
      { cause: error },
    )
  } finally {
    input.destroy()
    decoder.destroy()
  }
}
