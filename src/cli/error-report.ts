import { fileURLToPath } from 'node:url'
import { hasCode, ShoalError, toWire } from '../base/errors.ts'
import { EXIT_INTERRUPTED, Interrupted } from './interrupt.ts'
import { errorColors, note } from './terminal.ts'

export const EXIT_FAILED = 1
/** The command line itself was wrong. */
export const EXIT_USAGE = 2

/** Says what went wrong in one calm block on stderr. @returns the exit code. */
export function reportError(error: unknown, options: { json?: boolean; debug?: boolean } = {}): number {
  if (error instanceof Interrupted) {
    if (options.json !== true) note('interrupted')
    return EXIT_INTERRUPTED
  }
  if (options.json === true) note(JSON.stringify({ error: toWire(error) }))
  else note(describeError(error, options))
  return error instanceof ShoalError && error.code === 'CONFIG_INVALID' ? EXIT_USAGE : EXIT_FAILED
}

/** 'error CODE: message', then what helps to find the place. */
export function describeError(error: unknown, options: { debug?: boolean } = {}): string {
  const { red, bold, dim } = errorColors
  const lines: string[] = []
  if (error instanceof ShoalError) {
    lines.push(`${red(bold(`error ${error.code}`))}: ${error.message}`)
    lines.push(...whereItFailed(error).map(line => dim(line)))
    if (hasCode(error, 'INTERNAL') && error.details.reason !== error.message)
      lines.push(dim(error.details.reason))
  } else {
    lines.push(`${red(bold('error'))}: ${headline(error)}`)
    lines.push(...ownFrames(error).map(line => dim(line)))
  }
  if (options.debug === true && error instanceof Error) lines.push(dim(fullStack(error)))
  return lines.join('\n')
}

/** Peer, partition, attempt and the user's own lines of a task that failed. */
function whereItFailed(error: ShoalError): string[] {
  const {
    peer,
    peerName = peer,
    stage,
    partition,
    attempt,
    stack,
  } = error.details as Partial<
    Record<'peer' | 'peerName' | 'stage' | 'partition' | 'attempt' | 'stack', unknown>
  >
  const lines: string[] = []
  if (typeof stage === 'number' && typeof partition === 'number') {
    const who = typeof peerName === 'string' && peerName !== '' ? `on peer ${peerName}, ` : ''
    const which = typeof attempt === 'number' ? `, attempt ${attempt + 1}` : ''
    lines.push(`  ${who}stage ${stage}, partition ${partition}${which}`)
  }
  if (typeof stack === 'string') lines.push(...frames(stack))
  return lines
}

function headline(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.name === 'Error' ? error.message : `${error.name}: ${error.message}`
}

const FRAMES_MAX = 6

function frames(stack: string): string[] {
  return stack
    .split('\n')
    .filter(line => /^\s+at |^caused by: /.test(line))
    .slice(0, FRAMES_MAX)
    .map(line => `  ${line.trim()}`)
}

/** Shoal's own sources: frames in them say nothing to the user. */
const OWN_SOURCES = ['..', '../../bin'].map(folder => fileURLToPath(new URL(folder, import.meta.url)))

/** The user's frames of an error of the user's own program. */
function ownFrames(error: unknown): string[] {
  if (!(error instanceof Error)) return []
  const isTheirs = (line: string): boolean =>
    !OWN_SOURCES.some(own => line.includes(own)) &&
    !line.includes('node:') &&
    !line.includes('/node_modules/')
  const stack = (error.stack ?? '').split('\n')
  return frames(stack.filter(isTheirs).join('\n'))
}

function fullStack(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by: ${fullStack(error.cause)}` : ''
  return `${error.stack ?? error.message}${cause}`
}
