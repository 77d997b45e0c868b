import { isDeepStrictEqual } from 'node:util'
import { StatusLine } from '../../src/cli/status-line.ts'
import { colors, print } from '../../src/cli/terminal.ts'
import { humanMs } from '../../src/cli/units.ts'

const INDENT = '   '

/** What the demo shows: calm lines on stdout, progress on stderr when somebody watches. Counts what did not agree. */
export class Screen implements Disposable {
  readonly #progress = new StatusLine()
  #scenes = 0
  differences = 0
  checks = 0

  title(text: string): void {
    print(colors.bold(text))
  }

  /** A new part, with a line that says what is about to happen and why. */
  scene(name: string, ...explanation: string[]): void {
    this.#progress[Symbol.dispose]()
    print(`\n${colors.bold(colors.cyan(`${++this.#scenes}  ${name}`))}`)
    for (const line of explanation) print(INDENT + line)
  }

  say(text = ''): void {
    this.#progress[Symbol.dispose]()
    for (const line of text.split('\n')) print(line === '' ? '' : INDENT + line)
  }

  quote(text: string): void {
    for (const line of text.split('\n')) this.say(`  ${colors.dim(line)}`)
  }

  /** In place, on a terminal only. */
  progress(text: string): void {
    this.#progress.show(INDENT + text)
  }

  /** Says whether both are deeply equal. */
  check(claim: string, actual: unknown, expected: unknown, tookMs?: number): void {
    const took = tookMs === undefined ? '' : colors.dim(`  ${humanMs(tookMs)}`)
    this.checks++
    if (isDeepStrictEqual(actual, expected)) {
      this.say(`${colors.green('✓')} ${claim}${took}`)
      return
    }
    this.differences++
    this.say(`${colors.red('✗')} ${claim}: NOT SO${took}`)
    this.say(`  the mesh: ${brief(actual)}\n  the loop: ${brief(expected)}`)
  }

  [Symbol.dispose](): void {
    this.#progress[Symbol.dispose]()
  }
}

const BRIEF_MAX = 300

function brief(value: unknown): string {
  const text = JSON.stringify(value instanceof Map ? [...value] : value) ?? String(value)
  return text.length <= BRIEF_MAX ? text : `${text.slice(0, BRIEF_MAX)}… (${text.length} characters)`
}

/** `n` bars' worth of `max`, as blocks. */
export function bar(value: number, max: number, width: number): string {
  return '▇'.repeat(Math.max(1, Math.round((value / max) * width)))
}

export const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })
