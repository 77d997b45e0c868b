import { Command, type Command as CommandType } from 'commander'
import { numberFrom, settingsOf, shared } from '../settings.ts'
import type { StatusOptions } from '../mesh-status.ts'

export function statusCommand(): CommandType {
  const command = new Command('status')
    .description(
      'Show who is in the mesh and how they are, who leads it, how safe its files are, and what is wrong.',
    )
    .option(
      '--watch [seconds]',
      'look again and again until Ctrl-C (default: every 2 s)',
      numberFrom('--watch', 0.1, 86_400),
    )
  return shared(command, 'shoal status', 'shoal status --watch', 'shoal status --peer p2 --json').action(
    async (options: StatusOptions, self: CommandType) => {
      const { showStatus } = await import('../mesh-status.ts')
      await showStatus(options, settingsOf(self))
    },
  )
}
