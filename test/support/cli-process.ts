import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export const PROGRAM = fileURLToPath(new URL('../../bin/shoal.js', import.meta.url))
/** A command that takes longer hangs. */
const TIMEOUT_MS = 90_000

export interface Ran {
  /** null when a signal ended it. */
  code: number | null
  stdout: string
  stderr: string
  stdoutBytes: Buffer
}

export interface CommandOptions {
  cwd: string
  env?: Record<string, string>
  input?: string | Uint8Array
}

/** Like a user's: without what this test run itself has set. */
export function commandEnvironment(env: Record<string, string> = {}): Record<string, string> {
  const { PATH = '', HOME = '' } = process.env
  return { PATH, HOME, ...env }
}

/** `shoal …` as a process of its own, to its end. @throws when it does not end. */
export async function shoal(args: readonly string[], options: CommandOptions): Promise<Ran> {
  return await startShoal(args, options).ended
}

export interface RunningCommand {
  kill(signal: NodeJS.Signals): void
  /** What it has said so far, on both. */
  output(): string
  readonly ended: Promise<Ran>
}

export function startShoal(args: readonly string[], options: CommandOptions): RunningCommand {
  const { cwd, env, input = '' } = options
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    cwd,
    env: commandEnvironment(env),
    stdio: 'pipe',
  })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
  // Whoever does not read its input is no failure of the test.
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const finish = async (): Promise<Ran> => {
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      child.kill('SIGKILL')
    }, TIMEOUT_MS)
    const [code] = (await once(child, 'close')) as [number | null]
    clearTimeout(timer)
    const stdoutBytes = Buffer.concat(stdout)
    const ran = {
      code,
      stdoutBytes,
      stdout: stdoutBytes.toString(),
      stderr: Buffer.concat(stderr).toString(),
    }
    if (isLate)
      throw new Error(`shoal ${args.join(' ')} did not end in ${TIMEOUT_MS} ms: ${ran.stdout}${ran.stderr}`)
    return ran
  }
  return {
    kill: signal => child.kill(signal),
    output: () => Buffer.concat([...stdout, ...stderr]).toString(),
    ended: finish(),
  }
}
