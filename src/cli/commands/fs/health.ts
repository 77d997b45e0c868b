import { Command } from 'commander'
import { on } from './action.ts'

/** fsck, verify. */
export function healthCommands(): Command[] {
  return [fsck(), verify()]
}

function fsck(): Command {
  const command = new Command('fsck')
    .description(
      'Say whether files have all their copies, by the log, by who is alive, and by what the holders know of their disks. Ends with 0 only when all is healthy.',
    )
    .argument('[path]', 'a file, or a directory with all below', '/')
    .option('--files', 'name files that are healthy, too')
    .option('--blocks', 'name all partitions and blocks')
    .option('--locations', 'and the peers that hold them')
  return on(
    command,
    ['shoal fs fsck', 'shoal fs fsck /data --files --blocks --locations'],
    async ([path = '/'], options, settings) => {
      const { fsck: check } = await import('../../files/fsck.ts')
      await check(path, options, settings)
    },
  )
}

function verify(): Command {
  const command = new Command('verify')
    .description(
      'Have the holders read their copies again and compare them with the hashes in the log; bad ones are mended. Ends with 0 only when every copy was read and good.',
    )
    .argument('<path...>', 'files, or directories with all below')
  return on(
    command,
    ['shoal fs verify /books/moby-dick.txt', 'shoal fs verify /data'],
    async (paths, _options, settings) => {
      const { verify: read } = await import('../../files/verify.ts')
      await read(paths, settings)
    },
  )
}
