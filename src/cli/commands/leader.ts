import { Command, type Command as CommandType } from 'commander'
import { settingsOf, shared } from '../settings.ts'

export function leaderCommand(): CommandType {
  const command = new Command('leader').description('Name the peer that leads.')
  return shared(command, 'shoal leader').action(async (_options: unknown, self: CommandType) => {
    const { showLeader } = await import('../mesh-status.ts')
    await showLeader(settingsOf(self))
  })
}
