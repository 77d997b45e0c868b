import { once } from 'node:events'
import { inspect } from 'node:util'
import colors from 'picocolors'

/** Whoever reads our output has gone (`shoal fs cat … | head`): that is no failure. */
export function quietOnBrokenPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0)
      throw error
    })
  }
}

/** That Node calls a feature experimental is our business, not the user's. */
export function quietOnExperiments(): void {
  process.removeAllListeners('warning')
  process.on('warning', warning => {
    if (warning.name !== 'ExperimentalWarning') note(`${errorColors.yellow('warning')}: ${warning.message}`)
  })
}

/** Results go to stdout, one line each. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, undefined, 2))
}

/** What people like to know but programs do not goes to stderr. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`)
}

/** Bytes to stdout, as fast as they are read there. */
export async function printBytes(chunk: Uint8Array): Promise<void> {
  if (!process.stdout.write(chunk)) await once(process.stdout, 'drain')
}

/** Progress is for people who look. */
export function isWatched(): boolean {
  return process.stderr.isTTY === true && process.env['TERM'] !== 'dumb'
}

/** Colours of stderr; picocolors looks at stdout only. */
export const errorColors = colors.createColors(
  process.stderr.isTTY === true && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb',
)

export { default as colors } from 'picocolors'

export function shown(value: unknown): string {
  return inspect(value, { colors: process.stdout.isTTY === true && colors.isColorSupported })
}
