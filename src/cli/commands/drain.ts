import { Command, type Command as CommandType } from 'commander'
import { settingsOf, shared } from '../settings.ts'
import type { DrainOptions } from '../mesh-drain.ts'

export function drainCommand(): CommandType {
  const command = new Command('drain')
    .description(
      'Move everything off a peer: its copies are made elsewhere and verified, its vote goes to another one; then it leaves and stops.',
    )
    .argument('<peer>', 'its name or id')
    .option('--cancel', 'call it off: the peer stays and takes its share again')
    .option('--degraded', 'go on although fewer copies than wanted remain, for want of peers')
  return shared(command, 'shoal drain p4', 'shoal drain p4 --cancel').action(
    async (peer: string, options: DrainOptions, self: CommandType) => {
      const { drain } = await import('../mesh-drain.ts')
      await drain(peer, options, settingsOf(self))
    },
  )
}

export function weighCommand(): CommandType {
  const command = new Command('weigh')
    .description(
      'Change the share of the data that a peer takes, while it runs: twice the weight, twice the data; 0 takes none.',
    )
    .argument('<peer>', 'its name or id')
    .argument('<weight>', '0 to 1000; 1 is usual')
  return shared(command, 'shoal weigh p4 2').action(
    async (peer: string, weight: string, _options: unknown, self: CommandType) => {
      const { weigh } = await import('../mesh-drain.ts')
      await weigh(peer, weight, settingsOf(self))
    },
  )
}
