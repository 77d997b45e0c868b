import vm from 'node:vm'
import { snippetOf } from './snippet.ts'

/** What was typed was interrupted; there is no value. */
export const INTERRUPTED = Symbol('interrupted')

/** After a Ctrl-C, for the jobs to end by themselves and say so. */
const GRACE_MS = 1_500

export interface Prepared {
  script: vm.Script
  /** There is a loop in it, which might never end. */
  hasLoop: boolean
  /** See Snippet. */
  isAsync: boolean
}

/** @throws IncompleteSnippet, SYNTAX_ERROR */
export function prepare(source: string, file: string): Prepared {
  const { code, isAsync } = snippetOf(source, file)
  const script = new vm.Script(code, {
    filename: file,
    // Modules are looked up from the folder that the user is in.
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  })
  return { script, isAsync, hasLoop: /\b(?:while|for|do)\b/.test(code) }
}

/** Runs what is typed in this thread's global scope. Ctrl-C ends a loop, and gives up waiting for a promise. */
export class Evaluator {
  readonly #input: NodeJS.ReadStream
  #interrupt: ((graceMs: number) => void) | undefined

  constructor(input: NodeJS.ReadStream) {
    this.#input = input
  }

  get isBusy(): boolean {
    return this.#interrupt !== undefined
  }

  /** @returns the value, promises awaited; INTERRUPTED when nobody waits any longer. @throws what the code throws */
  async run({ script, isAsync, hasLoop }: Prepared): Promise<unknown> {
    const interrupted = Promise.withResolvers<symbol>()
    let timer: NodeJS.Timeout | undefined
    this.#interrupt = graceMs => {
      clearTimeout(timer)
      timer = setTimeout(() => interrupted.resolve(INTERRUPTED), graceMs)
    }
    try {
      const result = hasLoop
        ? this.#runInterruptibly(script)
        : script.runInThisContext({ displayErrors: false })
      const settled = await Promise.race([Promise.resolve(result), interrupted.promise])
      if (settled === INTERRUPTED || !isAsync) return settled
      const value = (settled as { value?: unknown } | undefined)?.value
      return await Promise.race([Promise.resolve(value), interrupted.promise])
    } finally {
      clearTimeout(timer)
      this.#interrupt = undefined
    }
  }

  /** Gives up on what runs: at once, or a little later so that it may end by itself. */
  interrupt(options: { atOnce: boolean }): void {
    this.#interrupt?.(options.atOnce ? 0 : GRACE_MS)
  }

  /**
   * A terminal in raw mode makes no signal of Ctrl-C, which alone can end a loop; in the other mode it shows what is typed
   * ahead. So only where there is a loop.
   */
  #runInterruptibly(script: vm.Script): unknown {
    const wasRaw = this.#input.isTTY && this.#input.isRaw
    if (wasRaw) this.#input.setRawMode(false)
    try {
      return script.runInThisContext({ displayErrors: false, breakOnSigint: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_INTERRUPTED') return INTERRUPTED
      throw error
    } finally {
      if (wasRaw) this.#input.setRawMode(true)
    }
  }
}
