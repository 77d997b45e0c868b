/**
 * How far a worker is ahead of its peer with the bytes of the part file that its task saves. The peer answers each chunk
 * when it has taken it; the worker waits only once it is too far ahead, so that both work at the same time.
 */
export class OutputCredit {
  readonly #bytesMax: number
  /** Names the running task in messages: what comes late of an earlier one is not this one's. */
  #task = 0
  #aheadBytes = 0
  #failure: Error | undefined
  #wake: (() => void) | undefined

  /** @param bytesMax One chunk may go beyond it. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get task(): number {
    return this.#task
  }

  /** The next task begins, with nothing written. */
  begin(): void {
    this.#task++
    this.#aheadBytes = 0
    this.#failure = undefined
  }

  /** Resolves when as many bytes may be sent, and counts them. Throws what the peer said of any chunk before. */
  async take(bytes: number): Promise<void> {
    await this.#until(() => this.#aheadBytes < this.#bytesMax)
    this.#aheadBytes += bytes
  }

  /** The peer has taken so many, or could not. */
  taken(task: number, bytes: number, failure?: Error): void {
    if (task !== this.#task) return
    this.#aheadBytes -= bytes
    this.#failure ??= failure
    this.#wake?.()
  }

  /** All that was sent has been taken. */
  async drained(): Promise<void> {
    await this.#until(() => this.#aheadBytes === 0)
  }

  async #until(isSo: () => boolean): Promise<void> {
    while (this.#failure === undefined && !isSo()) {
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
    if (this.#failure !== undefined) throw this.#failure
  }
}
