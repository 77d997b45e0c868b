import { Command, type Command as CommandType } from 'commander'
import { settingsOf, shared } from '../settings.ts'

export function statusCommand(): CommandType {
  const command = new Command('status').description(
    'Show who is in the mesh, who leads it, and how safe its files are.',
  )
  return shared(command, 'shoal status', 'shoal status --peer p2 --json').action(
    async (_options: unknown, self: CommandType) => {
      const { showStatus } = await import('../mesh-status.ts')
      await showStatus(settingsOf(self))
    },
  )
}
