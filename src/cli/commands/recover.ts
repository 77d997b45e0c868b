import { Command, type Command as CommandType } from 'commander'
import { settingsOf, shared } from '../settings.ts'

export function recoverCommand(): CommandType {
  const command = new Command('recover')
    .description('Bring back a mesh whose majority of voters is lost for good. Peers must be stopped.')
    .argument('<dir...>', 'data directories of peers, as .shoal/peers/p1')
    .option('--inspect', 'only tell what is readable of each, and which has the longest log')
    .option('--unsafe', 'make the peer of the one directory the only voter of a new generation of the mesh')
    .option(
      '--rejoin <mesh>',
      'bring the peers of these directories, with their blocks, over to that generation',
    )
    .option('--yes', 'do not ask')
  return shared(
    command,
    'shoal recover --inspect .shoal/peers/*',
    'shoal recover --unsafe .shoal/peers/p2',
    'shoal recover --rejoin 0123…cdef .shoal/peers/p4',
  ).action(async (directories: string[], options: RecoverOptions, self: CommandType) => {
    const { recover } = await import('../recover.ts')
    await recover(directories, options, settingsOf(self))
  })
}

export interface RecoverOptions {
  inspect?: boolean
  unsafe?: boolean
  rejoin?: string
  yes?: boolean
}
