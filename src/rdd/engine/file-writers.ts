import { constants, createGzip, createZstdCompress } from 'node:zlib'
import { Readable } from 'node:stream'
import { encodeRows } from '../codec/index.ts'
import { csvText, type CsvSaveOptions } from './csv-text.ts'
import { ENGINE } from './config.ts'
import { parquetBytes, type ParquetSaveOptions } from './parquet-bytes.ts'
import type { BuiltinMaker } from './shared-builtins.ts'
import type { StreamFunction } from './stream-step.ts'

export type SaveCodec = 'gzip' | 'zstd'
type Chunks = AsyncIterable<readonly unknown[]>
export type Bytes = AsyncIterable<Uint8Array>

/** Builtins of `stream` steps that make the bytes of a part file, for the action `saveBytes`. */
export const FILE_WRITERS: Record<string, BuiltinMaker> = {
  textBytes: (codec: SaveCodec): StreamFunction => saved(chunks => inText(chunks, lines), codec),
  jsonBytes: (codec: SaveCodec | null): StreamFunction => saved(chunks => inText(chunks, jsonLines), codec),
  csvBytes: (options: CsvSaveOptions, codec: SaveCodec | null): StreamFunction =>
    saved(chunks => inText(chunks, csvText(options)), codec),
  objectBytes: (codec: SaveCodec | null): StreamFunction => saved(objectBytes, codec),
  parquetBytes: (options: ParquetSaveOptions): StreamFunction =>
    saved(chunks => parquetBytes(chunks, options), null),
}

function saved(bytesOf: (chunks: Chunks) => Bytes, codec: SaveCodec | null): StreamFunction {
  return async function* (chunks) {
    const bytes = bytesOf(chunks)
    for await (const chunk of codec === null ? bytes : compressed(bytes, codec)) yield [chunk]
  }
}

function lines(rows: readonly unknown[]): string {
  let text = ''
  for (const row of rows) text += String(row) + '\n'
  return text
}

function jsonLines(rows: readonly unknown[]): string {
  let text = ''
  for (const row of rows) {
    const json = JSON.stringify(row)
    // JSON has no undefined and no functions: a line that is not there would be an element less.
    if (json === undefined) throw new TypeError(`saveAsJsonLines(): ${String(row)} cannot be written as JSON`)
    text += json + '\n'
  }
  return text
}

async function* inText(
  chunks: Chunks,
  textOf: (rows: readonly unknown[]) => string,
): AsyncGenerator<Uint8Array, void, undefined> {
  let text = ''
  for await (const rows of chunks) {
    text += textOf(rows)
    if (text.length < ENGINE.saveChunkChars) continue
    yield Buffer.from(text)
    text = ''
  }
  // Also of no rows: that may have a head.
  text += textOf([])
  if (text !== '') yield Buffer.from(text)
}

async function* objectBytes(chunks: Chunks): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const rows of chunks) if (rows.length > 0) yield encodeRows([...rows])
}

/** Level 3 of zstd and 6 of gzip: their defaults, which text files are usually stored with. */
async function* compressed(bytes: Bytes, codec: SaveCodec): AsyncGenerator<Uint8Array, void, undefined> {
  const encoder =
    codec === 'gzip' ? createGzip() : createZstdCompress({ params: { [constants.ZSTD_c_checksumFlag]: 1 } })
  const input = Readable.from(bytes, { objectMode: false })
  const failure: { error?: Error } = {}
  input.on('error', error => {
    failure.error = error
    encoder.destroy(error)
  })
  try {
    for await (const chunk of input.pipe(encoder)) yield new Uint8Array(chunk as Buffer)
  } catch (error) {
    throw failure.error ?? error
  } finally {
    input.destroy()
    encoder.destroy()
  }
}
