import { closeSync, openSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { z } from 'zod'
import { ShoalError } from '../base/index.ts'
import { operationSchema, type Operation, type Outcome } from './operation.ts'

/** More are not kept: a checker could not do much with them in memory. */
export const HISTORY_OPERATIONS_MAX = 1_000_000

export interface RecorderOptions {
  /** Nanoseconds of a clock that never goes back. @default the process's own, from 0 at construction */
  nowNs?: () => number
  /** Also written there, a line for each operation as it ends; what is there already is replaced. */
  file?: string
}

/** An operation under way. End it exactly once; what is never ended is of unknown outcome. */
export interface OpenOperation {
  end(output: NonNullable<Outcome>): void
  /** It may have happened, or may yet. */
  unknown(): void
}

/** Keeps what each process asked and was answered, and when: the input of a checker. */
export class HistoryRecorder implements Disposable {
  readonly #nowNs: () => number
  readonly #operations: Operation[] = []
  readonly #open = new Set<Operation>()
  #file: number | undefined

  /** @throws LOCAL_FILE when the file cannot be written. */
  constructor(options: RecorderOptions = {}) {
    const startNs = process.hrtime.bigint()
    this.#nowNs = options.nowNs ?? (() => Number(process.hrtime.bigint() - startNs))
    this.#file = options.file === undefined ? undefined : opened(options.file)
  }

  /** @throws BUSY when there are HISTORY_OPERATIONS_MAX already. */
  begin(process: string, op: string, key: string, input: Operation['input'] = null): OpenOperation {
    if (this.#operations.length + this.#open.size >= HISTORY_OPERATIONS_MAX) {
      const limit = HISTORY_OPERATIONS_MAX
      throw new ShoalError('BUSY', { what: 'history', limit }, `a history has at most ${limit} operations`)
    }
    const operation: Operation = { process, op, key, input, output: null, call: this.#nowNs(), return: null }
    this.#open.add(operation)
    return {
      end: output => this.#keep(operation, { output, return: this.#nowNs() }),
      unknown: () => this.#keep(operation, {}),
    }
  }

  /** All so far, in the order of their ends; those still under way last, as unknown. */
  operations(): Operation[] {
    return [...this.#operations, ...this.#open]
  }

  /** What is under way counts as unknown, and may no longer end. */
  [Symbol.dispose](): void {
    for (const operation of this.#open) this.#keep(operation, {})
    if (this.#file !== undefined) closeSync(this.#file)
    this.#file = undefined
  }

  #keep(operation: Operation, ended: Partial<Operation>): void {
    if (!this.#open.delete(operation)) return
    const whole = { ...operation, ...ended }
    this.#operations.push(whole)
    // At once, so that a history survives whatever ends the process that writes it.
    if (this.#file !== undefined) writeSync(this.#file, lineOf(whole))
  }
}

/** One operation as a line of JSON. */
function lineOf({ process, op, key, input, output, call, return: returned }: Operation): string {
  return `${JSON.stringify({ process, op, key, input, output, call, return: returned })}\n`
}

/**
 * A history that was written as JSON lines.
 * @throws LOCAL_FILE when it cannot be read, BAD_MESSAGE with the line that is no operation, TOO_LARGE
 */
export async function readHistory(path: string): Promise<Operation[]> {
  const file = await open(path).catch((error: unknown) => {
    throw localFile(path, error)
  })
  const operations: Operation[] = []
  let number = 0
  for await (const line of file.readLines()) {
    number++
    if (line.trim() === '') continue
    operations.push(operationOf(line, `${path}:${number}`))
    if (operations.length > HISTORY_OPERATIONS_MAX) {
      const limit = HISTORY_OPERATIONS_MAX
      throw new ShoalError(
        'TOO_LARGE',
        { what: path, bytes: operations.length, limitBytes: limit },
        `${path} has more than ${limit} operations: check it in pieces, keys by keys`,
      )
    }
  }
  return operations
}

function operationOf(line: string, place: string): Operation {
  const parsed = operationSchema.safeParse(jsonOf(line))
  if (parsed.success) return parsed.data
  const reason = z.prettifyError(parsed.error)
  throw new ShoalError(
    'BAD_MESSAGE',
    { type: place, reason },
    `${place} is no operation of a history: ${reason}`,
  )
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

function opened(path: string): number {
  try {
    return openSync(path, 'w', 0o600)
  } catch (error) {
    throw localFile(path, error)
  }
}

function localFile(path: string, cause: unknown): ShoalError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new ShoalError('LOCAL_FILE', { path, reason }, `history ${path}: ${reason}`, { cause })
}
