export interface CsvSaveOptions {
  /** Each part file begins with the names of the columns. @default false */
  header?: boolean
  /** Names and order of the columns, for rows that are objects. @default the names of the first row of each part */
  columns?: readonly string[]
  /** @default ',' */
  delimiter?: string
  /** @default '"' */
  quote?: string
}

/**
 * Rows (arrays, or objects by column) as CSV of RFC 4180, with `\n` behind each record; null and undefined are
 * empty, dates ISO 8601, other objects JSON.
 */
export function csvText(options: CsvSaveOptions): (rows: readonly unknown[]) => string {
  const { delimiter = ',', quote = '"', header = false } = options
  let columns = options.columns
  let isHeadDue = header
  const special = new RegExp(`[${[delimiter, quote].map(escaped).join('')}\\r\\n]`)
  const field = (value: unknown): string => {
    const text = textOf(value)
    return special.test(text) ? quote + text.replaceAll(quote, quote + quote) + quote : text
  }
  const record = (values: readonly unknown[]): string => {
    const text = values.map(field).join(delimiter)
    // A line with nothing on it would be no record.
    return (text === '' ? quote + quote : text) + '\n'
  }
  return rows => {
    let text = ''
    if (columns === undefined && rows.length > 0 && isRecord(rows[0])) columns = Object.keys(rows[0])
    if (isHeadDue && columns !== undefined) {
      text += record(columns)
      isHeadDue = false
    }
    for (const row of rows) text += record(valuesOf(row, columns))
    return text
  }
}

function textOf(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (value instanceof Date) return value.toISOString()
  switch (typeof value) {
    case 'string':
      return value
    case 'number':
    case 'bigint':
    case 'boolean':
      return String(value)
    default:
      return JSON.stringify(value) ?? ''
  }
}

function valuesOf(row: unknown, columns: readonly string[] | undefined): readonly unknown[] {
  if (Array.isArray(row)) return row
  if (!isRecord(row)) return [row]
  return (columns ?? []).map(name => row[name])
}

function isRecord(row: unknown): row is Record<string, unknown> {
  return typeof row === 'object' && row !== null && !Array.isArray(row) && !(row instanceof Date)
}

function escaped(character: string): string {
  return character.replaceAll(/[\\\]^-]/g, '\\$&')
}
