import { invalid } from '../dataset.ts'
import { builtin, type Lineage, type LineageFn } from '../lineage.ts'
import { steps } from './builders.ts'

/** Operators that wait for something outside: asynchronous functions and external commands. */

/** Calls under way at once in one partition, where the call names no number: enough to hide a network's latency. */
const CONCURRENCY = 16

export interface AsyncOptions {
  /** Calls under way at once in each partition. @default 16 */
  concurrency?: number
}

export function asyncStep(
  parent: Lineage,
  operator: 'mapAsync' | 'flatMapAsync' | 'forEachAsync',
  fn: LineageFn,
  { concurrency = CONCURRENCY }: AsyncOptions,
): Lineage {
  if (!Number.isSafeInteger(concurrency) || concurrency < 1) {
    throw invalid(`${operator}(): the concurrency must be a whole number from 1 on, not ${concurrency}`)
  }
  return steps(parent, operator, [{ op: 'stream', fn: builtin(operator, [fn], [concurrency]) }])
}

export function piped(
  parent: Lineage,
  command: string | readonly string[],
  env: Readonly<Record<string, string>>,
  checkCode: boolean,
): Lineage {
  const [program, ...args] = typeof command === 'string' ? words(command) : command
  if (program === undefined || program === '') throw invalid('pipe() needs a command')
  const options = { command: program, args, env: { ...env }, checkCode }
  return steps(parent, 'pipe', [{ op: 'stream', fn: builtin('pipe', [], [options]) }])
}

/** Words as a shell has them: quotes and backslashes, but no variables, patterns or pipes. */
function words(command: string): string[] {
  const found: string[] = []
  let word: string | undefined
  const part = /\s+|'([^']*)'|"((?:[^"\\]|\\[^])*)"|\\([^])|([^\s'"\\]+)/gy
  while (part.lastIndex < command.length) {
    const at = part.lastIndex
    const match = part.exec(command)
    if (match === null) throw invalid(`pipe(): a quote is not closed in ${command.slice(at)}`)
    const [, single, double, escaped, plain] = match
    const text = single ?? double?.replaceAll(/\\(["\\])/g, '$1') ?? escaped ?? plain
    if (text === undefined) {
      if (word !== undefined) found.push(word)
      word = undefined
    } else word = (word ?? '') + text
  }
  return word === undefined ? found : [...found, word]
}
