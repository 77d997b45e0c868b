import { Command, type Command as CommandType } from 'commander'
import { PEER } from '../../node/config.ts'
import { byteCount, settingsOf, several, shared, wholeNumber, numberFrom } from '../settings.ts'
import type { PeerProcessOptions } from '../peer-process.ts'

export function peerCommand(): CommandType {
  const command = new Command('peer')
    .description('Run one peer in the foreground, until Ctrl-C.')
    .option('--data <dir>', 'its data directory, of one peer at a time', '.shoal/peers/NAME')
    .option(
      '--join <address>',
      'a peer of the mesh to join (again for more); without any, a new mesh begins',
      several,
    )
    .option('--mesh-key <file>', "the mesh's secret, needed to join", '.shoal/mesh.key')
    .option('--name <name>', 'shown to people', 'p1')
    .option('--listen <address>', 'multiaddr to listen on (again for more)', several)
    .option('--host <label>', "copies are spread over hosts first (default: the machine's name)")
    .option('--zone <label>', 'and over zones before that')
    .option(
      '--weight <n>',
      'share of the data it takes, relative to the others (default: as it was, else 1)',
      numberFrom('--weight', 0, 1_000),
    )
    .option(
      '--copy-rate <mib>',
      'MiB per second that it pulls for repair and slot moves (default: 32)',
      numberFrom('--copy-rate', 1, 100_000),
    )
    .option(
      '--workers <n>',
      'threads for tasks (default: one for each core)',
      wholeNumber('--workers', 1, 1024),
    )
    .option(
      '--memory <size>',
      'what it may take beside that of an idle peer, such as 512mb: for tasks, cached partitions and outputs (default: as the machine has)',
      byteCount('--memory', PEER.memoryBytesMin),
    )
    .option(
      '--cache-memory <size>',
      'memory for cached partitions, such as 256mb (default: 256mb, or a quarter of --memory)',
      byteCount('--cache-memory', 0),
    )
    .option(
      '--cache-disk <size>',
      'disk for them, for levels such as DISK_ONLY (default: 8gb)',
      byteCount('--cache-disk', 0),
    )
    .option(
      '--packages <dir>',
      'folder with the node_modules of packages that closures use (default: the working directory)',
    )
    .option('--allow-chaos', 'obey `shoal chaos` when it cuts this peer off or fills its disk')
    .option('--log <file>', 'append the log to a file (default: stderr)')
  return shared(
    command,
    'shoal peer --name p1 --listen /ip4/10.0.0.1/tcp/4001',
    'shoal peer --name p2 --join /ip4/10.0.0.1/tcp/4001 --mesh-key mesh.key --listen /ip4/0.0.0.0/tcp/4001',
  ).action(async (_options: unknown, self: CommandType) => {
    const { runPeer } = await import('../peer-process.ts')
    await runPeer(given(self), settingsOf(self))
  })
}

/** Only what was given: the defaults above are for people to read. */
function given(command: CommandType): PeerProcessOptions {
  const entries = Object.entries(command.opts()).filter(
    ([name]) => command.getOptionValueSource(name) === 'cli',
  )
  return Object.fromEntries(entries)
}
