import { parse } from 'csv-parse/sync'
import { decoded } from '../../base/decoded.ts'
import { badContent, type FileInput, type FileReader } from './file-input.ts'

export interface CsvOptions {
  /** The first record of each file names the columns: rows are objects. @default false: rows are arrays of strings */
  header?: boolean
  /** Names of the columns, of files that do not name them. */
  columns?: readonly string[]
  /** One character. @default ',' */
  delimiter?: string
  /** One character; doubled inside quotes it stands for itself. @default '"' */
  quote?: string
  /** Values may have newlines: a file that was not stored with `format: 'csv'` is then read by one task. @default false */
  multiLine?: boolean
}

/** Parsed at once: large enough that a call costs nothing, small enough that its records do not matter. */
const PARSE_BYTES = 256 * 1024

/** Records of a stretch of a CSV file that begins and ends with records. */
export function csvReader(options: CsvOptions): FileReader {
  return async function* (input) {
    const { header = false, delimiter = ',', quote = '"' } = options
    const named = header ? await columnsOf(input, options) : options.columns
    const columns = named === undefined ? false : [...named]
    let skip = header && input.start === 0 ? 1 : 0
    let isFirst = input.start === 0
    for await (const text of records(input, options)) {
      try {
        yield parse(text, {
          columns,
          delimiter,
          quote,
          bom: isFirst,
          from: 1 + skip,
          skip_empty_lines: true,
          relax_column_count: columns === false,
        })
      } catch (error) {
        throw malformed(input, error)
      }
      isFirst = false
      skip = 0
    }
  }
}

async function columnsOf(input: FileInput, options: CsvOptions): Promise<string[]> {
  const { delimiter = ',', quote = '"' } = options
  for await (const text of records({ ...input, start: 0, end: input.sizeBytes }, options)) {
    try {
      const [names] = parse(text, { delimiter, quote, bom: true, to: 1, skip_empty_lines: true })
      if (names !== undefined) return names
    } catch (error) {
      throw malformed(input, error)
    }
  }
  return []
}

/** Whole records, in pieces of at least PARSE_BYTES where there are so many. */
async function* records(
  input: FileInput,
  { quote = '"' }: CsvOptions,
): AsyncGenerator<Buffer, void, undefined> {
  const { path, start, end, sizeBytes } = input
  const bytes = input.bytes(start, end)
  const isWhole = start === 0 && end === sizeBytes
  const cutter = new RecordCutter(quote.charCodeAt(0))
  for await (const chunk of isWhole ? decoded(path, bytes) : bytes) {
    const whole = cutter.push(chunk)
    if (whole !== undefined) yield whole
  }
  const last = cutter.end()
  if (cutter.isQuoted) {
    throw badContent(
      path,
      `a quote is open where a record must end (byte ${end}): values with newlines need { multiLine: true }, ` +
        `or the file stored with format 'csv'`,
    )
  }
  if (last.length > 0) yield last
}

const NEWLINE = 0x0a

/** Cuts bytes behind newlines that stand outside quotes. Looks only at quotes and at the last newline between two of them. */
class RecordCutter {
  readonly #quote: number
  #held: Uint8Array[] = []
  #heldBytes = 0
  /** True inside quotes, at the end of what was pushed. */
  isQuoted = false

  constructor(quote: number) {
    this.#quote = quote
  }

  push(chunk: Uint8Array): Buffer | undefined {
    const bytes = Buffer.from(chunk)
    let cut = 0
    for (let from = 0; from < bytes.length;) {
      const quote = bytes.indexOf(this.#quote, from)
      const to = quote < 0 ? bytes.length : quote
      if (!this.isQuoted && to > from) {
        const newline = bytes.lastIndexOf(NEWLINE, to - 1)
        if (newline >= from) cut = newline + 1
      }
      if (quote < 0) break
      this.isQuoted = !this.isQuoted
      from = quote + 1
    }
    if (cut === 0 || this.#heldBytes + cut < PARSE_BYTES) {
      this.#hold(bytes)
      return undefined
    }
    const whole = Buffer.concat([...this.#held, bytes.subarray(0, cut)])
    this.#held = []
    this.#heldBytes = 0
    this.#hold(bytes.subarray(cut))
    return whole
  }

  end(): Buffer {
    return Buffer.concat(this.#held)
  }

  #hold(bytes: Uint8Array): void {
    this.#held.push(bytes)
    this.#heldBytes += bytes.length
  }
}

function malformed({ path }: FileInput, error: unknown): Error {
  const reason = error instanceof Error ? error.message : String(error)
  return badContent(path, `no CSV as asked for: ${reason}`, error)
}
