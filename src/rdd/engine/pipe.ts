import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'

/** A command that a partition is piped through. */
export interface PipeOptions {
  command: string
  args: readonly string[]
  /** Added to the environment of the peer. */
  env: Readonly<Record<string, string>>
  /** Does an exit code other than 0, or death by a signal, fail the task? */
  checkCode: boolean
}

/** Of what the command writes to its standard error, so much of the end is told when it fails. */
const STDERR_KEPT_CHARS = 4096
/** Characters gathered before they are written to the command. */
const WRITE_CHARS = 64 * 1024

/**
 * Writes `String(element)` and a newline for each element to the command's standard input, and gives the lines of its
 * standard output. Both sides wait for each other: neither is gathered. A command that stops reading early is fine.
 * It is killed when the task ends before it does.
 */
export async function* pipe(
  { command, args, env, checkCode }: PipeOptions,
  chunks: AsyncIterable<readonly unknown[]>,
  signal: AbortSignal,
): AsyncGenerator<readonly unknown[], void, undefined> {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: 'pipe' })
  const kill = (): void => void child.kill('SIGKILL')
  signal.addEventListener('abort', kill, { once: true })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-STDERR_KEPT_CHARS)
  })
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  const fed = feed(child, chunks)
  // Both are awaited below; until then a failure of one must not count as unhandled.
  ended.catch(() => {})
  fed.catch(() => {})
  try {
    yield* lines(child.stdout)
    const [code, killedBy] = await ended
    await fed
    if (checkCode && code !== 0) {
      const how = code === null ? `was killed by ${killedBy ?? 'a signal'}` : `exited with ${code}`
      throw new Error(`pipe(): ${command} ${how}${errors === '' ? '' : `:\n${errors.trimEnd()}`}`)
    }
  } catch (error) {
    if (error instanceof Error && 'syscall' in error && String(error.syscall).startsWith('spawn')) {
      throw new Error(`pipe(): cannot start ${command} on this peer: ${error.message}`, { cause: error })
    }
    throw error
  } finally {
    signal.removeEventListener('abort', kill)
    if (child.exitCode === null && child.signalCode === null) kill()
  }
}

/** Ends the command's input after the last element; what the command does not read any more is dropped. */
async function feed(
  child: ChildProcessWithoutNullStreams,
  chunks: AsyncIterable<readonly unknown[]>,
): Promise<void> {
  const { stdin } = child
  // EPIPE of a command that has read enough.
  stdin.on('error', () => {})
  try {
    for await (const elements of chunks) {
      let text = ''
      for (const [i, element] of elements.entries()) {
        text += `${String(element)}\n`
        if (text.length < WRITE_CHARS && i < elements.length - 1) continue
        if (stdin.destroyed) return
        if (!stdin.write(text)) await drained(stdin)
        text = ''
      }
    }
    stdin.end()
  } catch (error) {
    // The elements could not be made: the command must not take what it got for all there is.
    child.kill('SIGKILL')
    throw error
  }
}

/** Until it takes more, or never will. */
function drained(stream: Writable): Promise<void> {
  return new Promise(resolve => {
    const go = (): void => {
      stream.off('drain', go).off('close', go)
      resolve()
    }
    stream.on('drain', go).on('close', go)
  })
}

async function* lines(output: AsyncIterable<Buffer>): AsyncGenerator<readonly string[], void, undefined> {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  for await (const bytes of output) {
    const found = (rest + decoder.write(bytes)).split('\n')
    rest = found.pop()!
    yield found
  }
  rest += decoder.end()
  if (rest !== '') yield [rest]
}
