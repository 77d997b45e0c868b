import { isWatched, note } from './terminal.ts'

/** One line on stderr that changes in place on a terminal; elsewhere nothing. */
export class StatusLine implements Disposable {
  #shown = ''

  show(text: string): void {
    if (!isWatched() || text === this.#shown) return
    this.#shown = text
    const width = process.stderr.columns || 80
    process.stderr.write(`\r\x1b[2K${text.length < width ? text : `${text.slice(0, width - 2)}…`}`)
  }

  /** A line that stays. */
  say(text: string): void {
    this[Symbol.dispose]()
    note(text)
  }

  [Symbol.dispose](): void {
    if (this.#shown !== '') process.stderr.write('\r\x1b[2K')
    this.#shown = ''
  }
}
