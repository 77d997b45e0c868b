import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib'
import type { AsyncBuffer, Compressors, RowGroup } from 'hyparquet'
import { badContent, type FileReader } from './file-input.ts'

export interface ParquetOptions {
  /** Only these. @default all */
  columns?: readonly string[]
}

/** Offset of its first page; 0 for a group without columns. */
function beginningOf({ columns }: RowGroup): number {
  const offsets = columns.flatMap(({ meta_data: meta }) =>
    // Some writers say 0 for no dictionary.
    meta === undefined ? [] : [Number(meta.dictionary_page_offset || meta.data_page_offset)],
  )
  return offsets.length === 0 ? 0 : Math.min(...offsets)
}

const COMPRESSORS: Compressors = {
  GZIP: bytes => gunzipSync(bytes),
  ZSTD: bytes => zstdDecompressSync(bytes),
  BROTLI: bytes => brotliDecompressSync(bytes),
}

/**
 * Rows as objects, one row group in memory at a time, and of it only the columns that are wanted. A row group belongs to the
 * range in which it begins.
 */
export function parquetReader({ columns }: ParquetOptions): FileReader {
  return async function* (input) {
    const { path, sizeBytes } = input
    const file: AsyncBuffer = {
      byteLength: sizeBytes,
      slice: async (start, end = sizeBytes) => (await input.gather(start, end)).buffer,
    }
    // Loaded by those who need it: most jobs read no Parquet.
    const { parquetMetadataAsync, parquetReadObjects } = await import('hyparquet')
    try {
      const metadata = await parquetMetadataAsync(file)
      let rowStart = 0
      for (const group of metadata.row_groups) {
        const rowEnd = rowStart + Number(group.num_rows)
        const at = beginningOf(group)
        if (at < input.start || at >= input.end) {
          rowStart = rowEnd
          continue
        }
        input.hold(Number(group.total_byte_size))
        const wanted = columns === undefined ? {} : { columns: [...columns] }
        const options = { file, metadata, rowStart, rowEnd, compressors: COMPRESSORS, ...wanted }
        yield await parquetReadObjects(options)
        rowStart = rowEnd
      }
    } catch (error) {
      if (error instanceof Error && 'code' in error) throw error
      throw badContent(path, `no Parquet that can be read: ${String(error)}`, error)
    }
  }
}
