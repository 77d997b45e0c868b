import type { Command } from 'commander'
import { ShoalError } from '../../../base/errors.ts'
import { settingsOf, shared, type Settings } from '../../settings.ts'

/** Arguments in their order, those that may be several each on their own. */
type Action = (args: string[], options: Record<string, unknown>, settings: Settings) => Promise<void>

/** Gives a command its shared options, its examples and what it does. */
export function on(command: Command, examples: string[], action: Action): Command {
  return shared(command, ...examples).action(async (...given: unknown[]) => {
    const self = given.at(-1) as Command
    await action(
      self.processedArgs
        .flat()
        .filter(arg => arg !== undefined)
        .map(String),
      self.opts(),
      settingsOf(self),
    )
  })
}

/** The last of several arguments, and those before it. */
export function splitTarget(args: readonly string[]): { sources: string[]; target: string } {
  return { sources: args.slice(0, -1), target: args.at(-1)! }
}

/** `-h` is for sizes that people can read, as in HDFS. */
export function withHumanSizes(command: Command, text = 'sizes like 1.5 MiB (they are)'): Command {
  return command.helpOption('--help', 'display help for command').option('-h, --human', text)
}

/** The last argument says where to: one alone is not enough. @throws CONFIG_INVALID */
export function needTarget(args: readonly string[], name: string): void {
  if (args.length >= 2) return
  const reason = `it is missing: ${name} stands last, behind what is to go there`
  throw new ShoalError('CONFIG_INVALID', { option: name, reason }, `${name}: ${reason} (--help shows how)`)
}
