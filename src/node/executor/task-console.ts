import { formatWithOptions } from 'node:util'
import { RateLimit, TASK_OUTPUT, type OutputLevel, type PrintedLine } from '../../rdd/index.ts'

const METHODS = ['log', 'info', 'warn', 'error', 'debug'] as const

const SUPPRESSED = 0
const GATHERED = 1

/** Lines that a thread has neither handed on nor told the number of, when it is gone; there are none from then on. */
export function takeUntold(counts: Int32Array): number {
  return Atomics.exchange(counts, SUPPRESSED, 0) + Atomics.exchange(counts, GATHERED, 0)
}

export interface TaskConsoleParts {
  /** Hands lines on; must not wait. */
  post(lines: PrintedLine[]): void
  /**
   * Two cells, shared with the peer's main thread, which outlive this one: lines left out since the last that was told,
   * and lines gathered but not handed on.
   */
  counts: Int32Array
  nowMs(): number
}

/**
 * What user code prints in a worker thread: lines of `console` and of process.stdout and process.stderr, gathered for a
 * moment, at no more than a rate. Nothing here waits, and what is left out costs next to nothing.
 */
export class TaskConsole {
  readonly #parts: TaskConsoleParts
  #rate: RateLimit
  #lines: PrintedLine[] = []
  /** The first line goes at once. */
  #postedMs = -Infinity
  #timer: NodeJS.Timeout | undefined
  /** The method that is printing now, for what arrives at the streams. */
  #level: OutputLevel | undefined
  /** Ends of text without a line end, by stream. */
  readonly #open = { stdout: '', stderr: '' }

  constructor(parts: TaskConsoleParts) {
    this.#parts = parts
    this.#rate = this.#freshRate()
  }

  /** From now on everything that is printed in this thread comes here. Before any function of the user is revived. */
  install(): void {
    for (const name of ['stdout', 'stderr'] as const) {
      const stream = process[name]
      stream.write = (chunk: unknown, ...rest: unknown[]): boolean => {
        const encoding = typeof rest[0] === 'string' ? (rest[0] as BufferEncoding) : 'utf8'
        this.#write(
          name,
          typeof chunk === 'string' ? chunk : Buffer.from(chunk as Uint8Array).toString(encoding),
        )
        const done = rest.find(argument => typeof argument === 'function') as (() => void) | undefined
        if (done !== undefined) queueMicrotask(done)
        return true
      }
    }
    for (const method of METHODS) {
      const print = console[method].bind(console)
      console[method] = (...values: unknown[]): void => {
        const now = this.#parts.nowMs()
        // Formatting is what costs; where nothing is shown only lines are counted.
        if (!this.#rate.pass(now)) this.#suppress(countLines(values))
        else {
          this.#level = method
          this.#isPaid = true
          try {
            print(...values)
          } finally {
            this.#level = undefined
            this.#isPaid = false
          }
        }
      }
    }
  }

  /** The first line of what a method prints has passed the rate already. */
  #isPaid = false

  /** An attempt begins. */
  begin(): void {
    this.#rate = this.#freshRate()
    this.#open.stdout = ''
    this.#open.stderr = ''
  }

  /** Between slices of a task that prints little and computes long. */
  tick(): void {
    if (this.#lines.length > 0 && this.#parts.nowMs() - this.#postedMs >= TASK_OUTPUT.gatherMs) this.#post()
  }

  /** The attempt is over: all that it printed goes. */
  end(): void {
    for (const name of ['stdout', 'stderr'] as const) {
      if (this.#open[name] !== '') this.#write(name, '\n')
    }
    this.#post()
  }

  #write(name: 'stdout' | 'stderr', text: string): void {
    const lines = (this.#open[name] + text).split('\n')
    this.#open[name] = (lines.pop() ?? '').slice(0, TASK_OUTPUT.lineCharsMax + 1)
    for (const line of lines) this.#line(this.#level ?? name, line)
  }

  #line(level: OutputLevel, text: string): void {
    const now = this.#parts.nowMs()
    if (this.#isPaid) this.#isPaid = false
    else if (!this.#rate.pass(now)) {
      this.#suppress(1)
      return
    }
    const { counts } = this.#parts
    const suppressed = Atomics.exchange(counts, SUPPRESSED, 0)
    if (suppressed > 0) this.#lines.push({ suppressed })
    this.#lines.push({ level, text: cut(text) })
    Atomics.add(counts, GATHERED, suppressed + 1)
    if (this.#lines.length >= TASK_OUTPUT.batchLines || now - this.#postedMs >= TASK_OUTPUT.gatherMs)
      this.#post()
    // For a task that waits: a loop never gets to it, but to its slices.
    else this.#timer ??= setTimeout(() => this.#post(), TASK_OUTPUT.gatherMs).unref()
  }

  #suppress(lines: number): void {
    Atomics.add(this.#parts.counts, SUPPRESSED, lines)
  }

  #post(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#postedMs = this.#parts.nowMs()
    if (this.#lines.length === 0) return
    const lines = this.#lines
    this.#lines = []
    this.#parts.post(lines)
    Atomics.store(this.#parts.counts, GATHERED, 0)
  }

  #freshRate(): RateLimit {
    const { taskBurst: burst, taskPerSecond: perSecond } = TASK_OUTPUT
    return new RateLimit({ burst, perSecond, nowMs: this.#parts.nowMs() })
  }
}

function countLines(values: readonly unknown[]): number {
  let lines = 1
  const isSimple = values.every(value => typeof value !== 'object' || value === null)
  const texts = isSimple ? values.map(String) : [formatWithOptions({}, ...values)]
  for (const text of texts)
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines += 1
  return lines
}

function cut(text: string): string {
  const more = text.length - TASK_OUTPUT.lineCharsMax
  return more <= 0 ? text : `${text.slice(0, TASK_OUTPUT.lineCharsMax)}… (cut)`
}
