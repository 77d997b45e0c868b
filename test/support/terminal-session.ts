import { stripVTControlCharacters } from 'node:util'
import { spawn, type IPty } from '@lydell/node-pty'
import { commandEnvironment, PROGRAM } from './cli-process.ts'
import { waitFor } from './wait-for.ts'

/** Keys as terminals send them. */
export const KEYS = { enter: '\r', ctrlC: '\x03', ctrlD: '\x04', tab: '\t', up: '\x1b[A' } as const

/** A command in a pseudo-terminal: what a person at a keyboard sees and does. */
export class TerminalSession implements AsyncDisposable {
  readonly #pty: IPty
  #output = ''
  /** Up to where `expect` has looked. */
  #seen = 0
  #exitCode: number | undefined

  constructor(args: readonly string[], options: { cwd: string; env?: Record<string, string> }) {
    const env = commandEnvironment({ TERM: 'xterm', ...options.env })
    this.#pty = spawn(process.execPath, [PROGRAM, ...args], { cwd: options.cwd, env, cols: 100, rows: 40 })
    this.#pty.onData(text => {
      this.#output += text
    })
    this.#pty.onExit(({ exitCode }) => {
      this.#exitCode = exitCode
    })
  }

  get pid(): number {
    return this.#pty.pid
  }

  press(keys: string): void {
    this.#pty.write(keys)
  }

  /** Types a line and Enter. */
  type(line: string): void {
    this.press(line + KEYS.enter)
  }

  /** Waits for text that was not expected before. @returns what was shown up to its end, without control characters */
  async expect(pattern: RegExp): Promise<string> {
    const find = (): { shown: string; end: number } | undefined => {
      const shown = this.#shown()
      const match = pattern.exec(shown)
      return match === null ? undefined : { shown, end: match.index + match[0].length }
    }
    const found = await waitFor(`${String(pattern)} on the terminal`, find, 40_000).catch(
      (error: unknown) => {
        throw new Error(`${String(error)}; there is: ${JSON.stringify(this.#shown())}`, { cause: error })
      },
    )
    this.#seen += found.end
    return found.shown.slice(0, found.end)
  }

  async exitCode(): Promise<number> {
    return await waitFor('the end of the command', () =>
      this.#exitCode === undefined ? undefined : { code: this.#exitCode },
    ).then(({ code }) => code)
  }

  #shown(): string {
    return stripVTControlCharacters(this.#output).slice(this.#seen)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#exitCode === undefined) this.#pty.kill('SIGKILL')
    await this.exitCode()
  }
}
