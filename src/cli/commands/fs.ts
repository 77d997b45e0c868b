import { Command, InvalidArgumentError, type Command as CommandType } from 'commander'
import type { FileFormat } from '../../dht/index.ts'
import { settingsOf, shared, wholeNumber, type Settings } from '../settings.ts'

const FORMATS: readonly FileFormat[] = ['lines', 'csv', 'binary']
const LINES_DEFAULT = 10

/** `shoal fs …`: the files of the mesh, by the names that HDFS gave its commands. */
export function fsCommand(): CommandType {
  const fs = new Command('fs').description(
    'Files of the mesh: put, get, cat, head, tail, ls, stat, du, mkdir, mv, rm, locate.',
  )
  for (const command of [...transfers(), ...readers(), ...listings(), ...changes()]) fs.addCommand(command)
  return fs.addHelpText(
    'after',
    '\nExample:\n  $ shoal fs put moby-dick.txt /books/moby-dick.txt --parents\n  $ shoal fs ls -R /',
  )
}

function transfers(): CommandType[] {
  const put = new Command('put')
    .description('Store a local file, or standard input (-). It becomes visible whole.')
    .argument('<local>', 'a file, or - for standard input')
    .argument('<path>', 'where in the mesh; into it when it is a directory')
    .option('--overwrite', 'replace the file that is there')
    .option('--parents', 'make missing directories')
    .option(
      '--partition-bytes <n>',
      'size to cut at (default: 33554432)',
      wholeNumber('--partition-bytes', 1, 2 ** 30),
    )
    .option('--format <format>', 'where to cut: lines, csv (not within quotes) or binary', formatOf)
    .option('--replication <n>', 'copies (default: 3)', wholeNumber('--replication', 1, 16))
  const get = new Command('get')
    .description('Copy a file of the mesh to a local one, or to standard output (-).')
    .argument('<path>', 'in the mesh')
    .argument('[local]', 'a file, a folder, or - (default: its name, here)')
    .option('--overwrite', 'replace the local file')
  return [
    on(
      put,
      [
        'shoal fs put flights.csv /data/flights.csv --parents --format csv',
        'zcat log.gz | shoal fs put - /log',
      ],
      async (args, options, settings) => {
        const { putFile } = await import('../files/transfer.ts')
        await putFile(args[0]!, args[1]!, options, settings)
      },
    ),
    on(
      get,
      ['shoal fs get /data/flights.csv', 'shoal fs get /data/flights.csv - | wc -l'],
      async (args, options, settings) => {
        const { getFile } = await import('../files/transfer.ts')
        await getFile(args[0]!, args[1], options, settings)
      },
    ),
  ]
}

function readers(): CommandType[] {
  const lines = (): ((text: string) => number) => wholeNumber('--lines', 0, 10_000_000)
  const cat = new Command('cat').description('Print files.').argument('<path...>', 'in the mesh')
  const head = new Command('head')
    .description('Print the first lines of a file.')
    .argument('<path>', 'in the mesh')
    .option('-n, --lines <n>', 'how many', lines(), LINES_DEFAULT)
  const tail = new Command('tail')
    .description('Print the last lines of a file.')
    .argument('<path>', 'in the mesh')
    .option('-n, --lines <n>', 'how many', lines(), LINES_DEFAULT)
  return [
    on(cat, ['shoal fs cat /books/moby-dick.txt | grep -c whale'], async (args, _options, settings) => {
      const { catFiles } = await import('../files/transfer.ts')
      await catFiles(args, settings)
    }),
    on(head, ['shoal fs head -n 5 /books/moby-dick.txt'], async (args, options, settings) => {
      const { printEnd } = await import('../files/transfer.ts')
      await printEnd('head', args[0]!, Number(options['lines']), settings)
    }),
    on(tail, ['shoal fs tail -n 5 /books/moby-dick.txt'], async (args, options, settings) => {
      const { printEnd } = await import('../files/transfer.ts')
      await printEnd('tail', args[0]!, Number(options['lines']), settings)
    }),
  ]
}

function listings(): CommandType[] {
  const ls = new Command('ls')
    .description('List a directory.')
    .argument('[path]', 'in the mesh', '/')
    .option('-R, --recursive', 'and all below it')
  const stat = new Command('stat')
    .description('All about one file or directory.')
    .argument('<path>', 'in the mesh')
  const du = new Command('du')
    .description('Sum up what is in a directory.')
    .argument('[path]', 'in the mesh', '/')
  const locate = new Command('locate')
    .description('Show the partitions of a file, and which peers hold each.')
    .argument('<path>', 'in the mesh')
  return [
    on(ls, ['shoal fs ls /books', 'shoal fs ls -R --json /'], async (args, options, settings) => {
      const { list } = await import('../files/listing.ts')
      await list(args[0]!, options['recursive'] === true, settings)
    }),
    on(stat, ['shoal fs stat /books/moby-dick.txt'], async (args, _options, settings) => {
      const { showEntry } = await import('../files/listing.ts')
      await showEntry(args[0]!, settings)
    }),
    on(du, ['shoal fs du /books'], async (args, _options, settings) => {
      const { showUsage } = await import('../files/listing.ts')
      await showUsage(args[0]!, settings)
    }),
    on(locate, ['shoal fs locate /books/moby-dick.txt'], async (args, _options, settings) => {
      const { showPlaces } = await import('../files/listing.ts')
      await showPlaces(args[0]!, settings)
    }),
  ]
}

function changes(): CommandType[] {
  const mkdir = new Command('mkdir')
    .description('Make a directory.')
    .argument('<path>', 'in the mesh')
    .option('-p, --parents', 'missing parents too; one that is there is fine')
  const mv = new Command('mv')
    .description('Move or rename; into the target when that is a directory.')
    .argument('<from>', 'in the mesh')
    .argument('<to>', 'in the mesh')
  const rm = new Command('rm')
    .description('Remove a file or directory.')
    .argument('<path>', 'in the mesh')
    .option('-r, --recursive', 'a directory with all in it')
  return [
    on(mkdir, ['shoal fs mkdir -p /data/2026'], async (args, options, settings) => {
      const { makeDirectory } = await import('../files/change.ts')
      await makeDirectory(args[0]!, options['parents'] === true, settings)
    }),
    on(mv, ['shoal fs mv /data/draft.csv /data/final.csv'], async (args, _options, settings) => {
      const { move } = await import('../files/change.ts')
      await move(args[0]!, args[1]!, settings)
    }),
    on(rm, ['shoal fs rm /data/old.csv', 'shoal fs rm -r /data/2025'], async (args, options, settings) => {
      const { remove } = await import('../files/change.ts')
      await remove(args[0]!, options['recursive'] === true, settings)
    }),
  ]
}

type Action = (args: string[], options: Record<string, unknown>, settings: Settings) => Promise<void>

function on(command: CommandType, examples: string[], action: Action): CommandType {
  return shared(command, ...examples).action(async (...given: unknown[]) => {
    const self = given.at(-1) as CommandType
    await action(
      self.processedArgs
        .flat()
        .filter(arg => arg !== undefined)
        .map(String),
      self.opts(),
      settingsOf(self),
    )
  })
}

function formatOf(text: string): FileFormat {
  const format = FORMATS.find(each => each === text)
  if (format === undefined) throw new InvalidArgumentError(`It is one of ${FORMATS.join(', ')}.`)
  return format
}
