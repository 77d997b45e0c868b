import { Command, type Command as CommandType } from 'commander'
import { PEER } from '../../node/config.ts'
import { byteCount, settingsOf, shared, wholeNumber } from '../settings.ts'
import type { UpOptions } from '../mesh-up.ts'

export function upCommand(): CommandType {
  const command = new Command('up')
    .description(
      'Start a mesh of peers on this machine, or what is missing of one. Each counts as a host of its own, so that copies are spread as over machines.',
    )
    .option('--peers <n>', 'how many (default: as many as there were, else 3)', wholeNumber('--peers', 1, 64))
    .option(
      '--workers <n>',
      'threads of each (default: the cores, shared out)',
      wholeNumber('--workers', 1, 1024),
    )
    .option(
      '--memory <size>',
      'memory of each, such as 512mb, beside that of an idle peer (default: as the machine has)',
      byteCount('--memory', PEER.memoryBytesMin),
    )
    .option(
      '--cache-memory <size>',
      'memory for cached partitions of each, such as 256mb (default: 256mb, or a quarter of --memory)',
      byteCount('--cache-memory', 0),
    )
    .option(
      '--cache-disk <size>',
      'disk for them, for levels such as DISK_ONLY (default: 8gb)',
      byteCount('--cache-disk', 0),
    )
    .option(
      '--packages <dir>',
      'folder with the node_modules of packages that closures use (default: the folder that holds .shoal)',
    )
    .option('--dir <dir>', 'folder that holds .shoal (default: the nearest above that has one, else here)')
    .option('--allow-chaos', 'let `shoal chaos` cut these peers off and fill their disks')
    .option('--foreground', 'stay, and stop them all on Ctrl-C')
  return shared(command, 'shoal up --peers 5', 'shoal up --peers 2 --memory 512mb').action(
    async (options: UpOptions, self: CommandType) => {
      const { up } = await import('../mesh-up.ts')
      await up(options, settingsOf(self))
    },
  )
}
