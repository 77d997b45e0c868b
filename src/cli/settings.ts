import type { Command } from 'commander'
import { ShoalError } from '../base/errors.ts'

/** What every command understands, before or after its name. */
export interface Settings {
  /** Multiaddr, or the name of a local peer. */
  peer?: string
  /** A `mesh.key` file. */
  key?: string
  /** For programs: one JSON value on stdout, errors as JSON on stderr. */
  json: boolean
  /** False: do not wait for the mesh to agree. */
  wait: boolean
  /** Reads may answer what the attached peer knows, however old; without it, only with `--no-wait`. */
  stale: boolean
  /** Show stacks. */
  debug: boolean
}

/** Declares the options that a command shares with all others, and shows how it is used. */
export function shared(command: Command, ...examples: string[]): Command {
  return command
    .option('--peer <address>', 'peer to attach to: an address, or the name of a local peer (SHOAL_PEER)')
    .option('--key <file>', "the mesh's key file (SHOAL_KEY)")
    .option('--json', 'print JSON, for programs')
    .option(
      '--no-wait',
      'do not wait for the mesh: no waiting for a leader, reads answer what the peer knows, up and down return at once',
    )
    .option(
      '--stale',
      'reads may answer what the peer knows, also without a leader; how old that may be is said',
    )
    .option('--debug', 'show stacks of errors')
    .addHelpText('after', `\nExample:\n${examples.map(example => `  $ ${example}`).join('\n')}`)
}

/** The shared options of a command; what stands nearer to the command wins. */
export function settingsOf(command: Command): Settings {
  const given: Record<string, unknown> = {}
  for (let at: Command | null = command; at !== null; at = at.parent) {
    for (const [name, value] of Object.entries(at.opts())) {
      const source = at.getOptionValueSource(name)
      if (source === 'cli' && !(name in given)) given[name] = value
    }
  }
  const { peer, key, json, wait, stale, debug } = given
  return {
    ...(typeof peer === 'string' && { peer }),
    ...(typeof key === 'string' && { key }),
    json: json === true,
    wait: wait !== false,
    stale: stale === true || wait === false,
    debug: debug === true,
  }
}

/** A parser for options that count something. */
export function wholeNumber(option: string, min: number, max: number): (text: string) => number {
  return text => {
    const value = Number(text)
    if (text.trim() !== '' && Number.isSafeInteger(value) && value >= min && value <= max) return value
    const reason = `it must be a whole number from ${min} to ${max}, not ${JSON.stringify(text)}`
    throw new ShoalError('CONFIG_INVALID', { option, reason }, `${option}: ${reason}`)
  }
}

/** A parser for options that measure something. */
export function numberFrom(option: string, min: number, max: number): (text: string) => number {
  return text => {
    const value = Number(text)
    if (text.trim() !== '' && value >= min && value <= max) return value
    const reason = `it must be a number from ${min} to ${max}, not ${JSON.stringify(text)}`
    throw new ShoalError('CONFIG_INVALID', { option, reason }, `${option}: ${reason}`)
  }
}

const BYTE_UNITS: Record<string, number> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 }

/** A parser for options that are sizes: '512m', '512mb', '2GiB', all in powers of 1024; without a unit, bytes. */
export function byteCount(option: string, min: number): (text: string) => number {
  return text => {
    const [, digits = '', unit = ''] = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim()) ?? []
    const value = Math.floor(Number(digits) * (BYTE_UNITS[unit.toLowerCase()] ?? Number.NaN))
    if (digits !== '' && Number.isSafeInteger(value) && value >= min) return value
    const reason = `it must be a size such as 512mb or 2g, at least ${min / 2 ** 20}mb, not ${JSON.stringify(text)}`
    throw new ShoalError('CONFIG_INVALID', { option, reason }, `${option}: ${reason}`)
  }
}

/** A parser for options that may be given several times. */
export function several(text: string, before: readonly string[] = []): string[] {
  return [...before, text]
}
