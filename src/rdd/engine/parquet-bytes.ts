import { gzipSync, zstdCompressSync } from 'node:zlib'
import type { BasicType, ColumnSource } from 'hyparquet-writer'

export interface ParquetSaveOptions {
  /**
   * Names, order and types of the columns. @default those of the first row group of each part, where numbers are DOUBLE,
   * bigints INT64, dates TIMESTAMP, bytes BYTE_ARRAY, and objects and arrays JSON
   */
  columns?: Readonly<Record<string, ParquetType>>
  /** @default 'SNAPPY' */
  codec?: 'UNCOMPRESSED' | 'SNAPPY' | 'GZIP' | 'ZSTD'
  /** Rows of a row group: what is held in memory, and what a reader of the file holds. @default 65_536 */
  rowGroupRows?: number
}

export type ParquetType = Extract<
  BasicType,
  'BOOLEAN' | 'INT32' | 'INT64' | 'FLOAT' | 'DOUBLE' | 'BYTE_ARRAY' | 'STRING' | 'JSON' | 'TIMESTAMP' | 'UUID'
>

const ROW_GROUP_ROWS = 65_536

/** A part file as its bytes, row group by row group. */
export async function* parquetBytes(
  chunks: AsyncIterable<readonly unknown[]>,
  options: ParquetSaveOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { ByteWriter, ParquetWriter, schemaFromColumnData } = await import('hyparquet-writer')
  const { codec = 'SNAPPY', rowGroupRows = ROW_GROUP_ROWS } = options
  const bytes = new ByteWriter()
  const taken = (): Uint8Array => {
    const chunk = new Uint8Array(bytes.getBytes())
    bytes.index = 0
    return chunk
  }
  let types = options.columns
  let writer: InstanceType<typeof ParquetWriter> | undefined
  const write = (rows: readonly unknown[]): void => {
    types ??= typesOf(rows)
    const columns = columnsOf(rows, types)
    writer ??= new ParquetWriter({
      writer: bytes,
      schema: schemaFromColumnData({ columnData: columns }),
      codec,
      compressors: { GZIP: plain => gzipSync(plain), ZSTD: plain => zstdCompressSync(plain) },
    })
    if (rows.length > 0) void writer.write({ columnData: columns, rowGroupSize: rows.length })
  }
  let rows: unknown[] = []
  for await (const chunk of chunks) {
    for (const row of chunk) {
      rows.push(row)
      if (rows.length < rowGroupRows) continue
      write(rows)
      yield taken()
      rows = []
    }
  }
  if (rows.length > 0 || writer === undefined) write(rows)
  void writer!.finish()
  yield taken()
}

function columnsOf(
  rows: readonly unknown[],
  types: Readonly<Record<string, ParquetType>>,
): (ColumnSource & { data: unknown[] })[] {
  const columns = Object.entries(types).map(([name, type]) => ({
    name,
    type,
    nullable: true,
    data: [] as unknown[],
  }))
  for (const row of rows) {
    if (!isRecord(row)) throw new TypeError('saveAsParquet(): rows must be objects, their columns by name')
    const unknown = Object.keys(row).find(name => !Object.hasOwn(types, name))
    if (unknown !== undefined) {
      throw new TypeError(
        `saveAsParquet(): a row has a column "${unknown}" that the first rows have not: name the columns and their types, ` +
          `saveAsParquet(path, { columns: { ${unknown}: 'STRING', … } })`,
      )
    }
    for (const { name, type, data } of columns) data.push(checked(name, type, row[name]))
  }
  return columns
}

function checked(name: string, type: ParquetType, value: unknown): unknown {
  if (value === null || value === undefined) return null
  if (type === 'JSON' || type === 'UUID' || typeof value === JAVASCRIPT[type]) return value
  if (type === 'INT64' && Number.isSafeInteger(value)) return BigInt(value as number)
  if (type === 'BYTE_ARRAY' && value instanceof Uint8Array) return value
  if (type === 'TIMESTAMP' && value instanceof Date) return value
  throw new TypeError(`saveAsParquet(): column "${name}" is ${type} but a row has ${typeof value} in it`)
}

const JAVASCRIPT: Partial<Record<ParquetType, string>> = {
  BOOLEAN: 'boolean',
  INT32: 'number',
  INT64: 'bigint',
  FLOAT: 'number',
  DOUBLE: 'number',
  STRING: 'string',
}

/** Of each column by its first value that is one; a column without any is text. */
function typesOf(rows: readonly unknown[]): Record<string, ParquetType> {
  const types: Record<string, ParquetType> = {}
  const open = new Set<string>()
  for (const row of rows) {
    if (!isRecord(row)) continue
    for (const [name, value] of Object.entries(row)) {
      if (Object.hasOwn(types, name) && !open.has(name)) continue
      const type = typeOf(value)
      if (type === undefined) open.add(name)
      else open.delete(name)
      types[name] = type ?? 'STRING'
    }
  }
  return types
}

function typeOf(value: unknown): ParquetType | undefined {
  switch (typeof value) {
    case 'number':
      return 'DOUBLE'
    case 'bigint':
      return 'INT64'
    case 'boolean':
      return 'BOOLEAN'
    case 'string':
      return 'STRING'
    case 'object':
      if (value === null) return undefined
      if (value instanceof Date) return 'TIMESTAMP'
      return value instanceof Uint8Array ? 'BYTE_ARRAY' : 'JSON'
    default:
      return undefined
  }
}

function isRecord(row: unknown): row is Record<string, unknown> {
  return typeof row === 'object' && row !== null && !Array.isArray(row)
}
