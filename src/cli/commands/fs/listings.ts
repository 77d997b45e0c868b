import { Command } from 'commander'
import type { TestName } from '../../files/checks.ts'
import { on, withHumanSizes } from './action.ts'

/** ls, find, stat, du, count, locate, test. */
export function listingCommands(): Command[] {
  return [ls(), find(), stat(), du(), count(), locate(), test()]
}

function ls(): Command {
  const command = withHumanSizes(new Command('ls').description('List directories.'))
    .argument('[path...]', 'in the mesh (default: /)')
    .option('-R, --recursive', 'and all below them')
    .option('-d, --directory', 'directories themselves, not what is in them')
    .option('-t, --time', 'the latest first')
    .option('-S, --size', 'the largest first')
    .option('-r, --reverse', 'the other way round')
    .option('-b, --bytes', 'sizes in bytes')
    .option('-C, --paths-only', 'only the paths, one a line')
  const examples = ['shoal fs ls /books', 'shoal fs ls -R --json /', "shoal fs ls -t '/data/2026-*'"]
  return on(command, examples, async (args, options, settings) => {
    const { list } = await import('../../files/listing.ts')
    await list(orRoot(args), options, settings)
  })
}

function find(): Command {
  const command = new Command('find')
    .description('Print the paths of what fits: all tests must hold.')
    .usage('[path...] [-name PATTERN] [-iname PATTERN] [-type f|d] [-size [+-]N[ckMGT]] [-newer PATH]')
    .argument('[words...]', 'where to look (default: /), then tests')
    .allowUnknownOption()
  const examples = ["shoal fs find /data -name '*.csv' -size +10M", 'shoal fs find / -type d']
  return on(command, examples, async (args, _options, settings) => {
    const { find: search } = await import('../../files/listing.ts')
    await search(args, settings)
  })
}

function stat(): Command {
  const command = new Command('stat')
    .description('All about files and directories.')
    .argument('<path...>', 'in the mesh')
    .option(
      '--format <format>',
      'a line: %n name, %N path, %F type, %b bytes, %o partition size, %r copies, %y time, %Y in milliseconds, %a mode, %u owner, %g group',
    )
  const examples = ['shoal fs stat /books/moby-dick.txt', "shoal fs stat --format '%b %n' '/books/*'"]
  return on(command, examples, async (args, options, settings) => {
    const { showEntries } = await import('../../files/listing.ts')
    await showEntries(args, options, settings)
  })
}

function du(): Command {
  const command = withHumanSizes(new Command('du').description('Sum up what is in directories.'))
    .argument('[path...]', 'in the mesh (default: /)')
    .option('-s, --summary', 'only the sum of each')
    .option('-b, --bytes', 'sizes in bytes')
  return on(command, ['shoal fs du /books', "shoal fs du -s '/data/*'"], async (args, options, settings) => {
    const { showUsage } = await import('../../files/listing.ts')
    await showUsage(orRoot(args), options, settings)
  })
}

function count(): Command {
  const command = withHumanSizes(
    new Command('count').description('Count directories (itself among them), files and bytes.'),
    'sizes like 1.5 MiB',
  )
    .argument('<path...>', 'in the mesh')
    .option('-q, --quota', 'limits of names and bytes too, and what is left of them')
    .option('-v, --header', 'name the columns')
  return on(command, ['shoal fs count -v /data'], async (args, options, settings) => {
    const { countEntries } = await import('../../files/listing.ts')
    await countEntries(args, options, settings)
  })
}

function locate(): Command {
  const command = new Command('locate')
    .description('Show the partitions of a file, and which peers hold each.')
    .argument('<path>', 'in the mesh')
  return on(command, ['shoal fs locate /books/moby-dick.txt'], async (args, _options, settings) => {
    const { showPlaces } = await import('../../files/listing.ts')
    await showPlaces(args[0]!, settings)
  })
}

function test(): Command {
  const command = new Command('test')
    .description('Say yes (exit code 0) or no (1), for scripts; 3 when it cannot be found out.')
    .argument('<path>', 'in the mesh')
    .option('-e, --exists', 'it exists (the default)')
    .option('-d, --directory', 'it is a directory')
    .option('-f, --file', 'it is a file')
    .option('-s, --not-empty', 'it is not empty')
    .option('-z, --empty', 'it is an empty file')
  const examples = ['shoal fs test -f /data/flights.csv && echo there']
  return on(command, examples, async (args, options, settings) => {
    const names: TestName[] = ['exists', 'directory', 'file', 'notEmpty', 'empty']
    const { testPath } = await import('../../files/checks.ts')
    await testPath(
      args[0]!,
      names.filter(name => options[name] === true),
      settings,
    )
  })
}

function orRoot(paths: readonly string[]): readonly string[] {
  return paths.length === 0 ? ['/'] : paths
}
