import { Command, type Command as CommandType } from 'commander'
import { settingsOf, shared } from '../settings.ts'

export function downCommand(): CommandType {
  const command = new Command('down')
    .description('Stop all peers that run here. Their data stays: `shoal up` brings them back.')
    .option('--dir <dir>', 'folder that holds .shoal (default: the nearest above that has one)')
  return shared(command, 'shoal down').action(async (options: { dir?: string }, self: CommandType) => {
    const { down } = await import('../mesh-down.ts')
    await down(options, settingsOf(self))
  })
}
