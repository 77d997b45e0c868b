import { Command, InvalidArgumentError } from 'commander'
import type { FileFormat } from '../../../dht/index.ts'
import { wholeNumber } from '../../settings.ts'
import { needTarget, on, splitTarget } from './action.ts'

const FORMATS: readonly FileFormat[] = ['lines', 'csv', 'binary']

/** put, append, get, getmerge, cp. */
export function transferCommands(): Command[] {
  return [put(), append(), get(), getmerge(), cp()]
}

function put(): Command {
  const command = new Command('put')
    .description('Store local files and folders, or standard input (-). Each file becomes visible whole.')
    .usage('[options] <local...> <path>')
    .argument('<local...>', 'files, folders, or - for standard input; then where in the mesh')
    .option('--overwrite', 'replace files that are there')
    .option('--parents', 'make missing directories')
    .option('--resume', 'keep what is stored when interrupted, and go on from there the next time')
    .option(
      '--parallel <n>',
      'files under way at a time (default: 64, large ones 4)',
      wholeNumber('--parallel', 1, 256),
    )
    .option(
      '--partition-bytes <n>',
      'size to cut at (default: 33554432)',
      wholeNumber('--partition-bytes', 1, 2 ** 30),
    )
    .option('--format <format>', 'where to cut: lines, csv (not within quotes) or binary', formatOf)
    .option('--replication <n>', 'copies (default: 3)', wholeNumber('--replication', 1, 16))
    .option('-q, --quiet', 'no progress')
  const examples = [
    'shoal fs put flights.csv /data/flights.csv --parents --format csv',
    'shoal fs put 2025/ 2026/ /data',
    'zcat log.gz | shoal fs put - /log',
  ]
  return on(command, examples, async (args, options, settings) => {
    needTarget(args, '<path>')
    const { sources, target } = splitTarget(args)
    const { putFiles } = await import('../../files/transfer.ts')
    await putFiles(sources, target, options, settings)
  })
}

function append(): Command {
  const command = new Command('append')
    .description(
      'Add local files, or standard input (-), to a file of the mesh; what is added is seen at once or not at all.',
    )
    .usage('[options] <local...> <path>')
    .argument('<local...>', 'files, or - for standard input; then a file in the mesh')
    .option('-q, --quiet', 'no progress')
  return on(
    command,
    ['shoal fs append today.log /log', 'date | shoal fs append - /log'],
    async (args, options, settings) => {
      needTarget(args, '<path>')
      const { sources, target } = splitTarget(args)
      const { appendFiles } = await import('../../files/transfer.ts')
      await appendFiles(sources, target, options, settings)
    },
  )
}

function get(): Command {
  const command = new Command('get')
    .description('Copy files and directories of the mesh here, or a file to standard output (-).')
    .usage('[options] <path...> [local]')
    .argument('<path...>', 'in the mesh (begins with /); then a local file, folder, or - (default: here)')
    .option('--overwrite', 'replace local files')
    .option('--resume', 'keep what came when interrupted, and go on from there the next time')
    .option('--parallel <n>', 'files under way at a time (default: 8)', wholeNumber('--parallel', 1, 256))
    .option('-q, --quiet', 'no progress')
  const examples = [
    'shoal fs get /data/flights.csv',
    'shoal fs get /data/flights.csv - | wc -l',
    'shoal fs get /data copies/',
  ]
  return on(command, examples, async (args, options, settings) => {
    const { getFiles } = await import('../../files/transfer.ts')
    // One is a path of the mesh, which comes here; of several the last says where to.
    const { sources, target } = args.length === 1 ? { sources: args, target: undefined } : splitTarget(args)
    await getFiles(sources, target, options, settings)
  })
}

function getmerge(): Command {
  const command = new Command('getmerge')
    .description('Join files, or those in a directory by name, into one local file.')
    .usage('[options] <path...> <local>')
    .argument('<path...>', 'directories or files in the mesh; then a local file, or -')
    .option('--newline', 'end each file with a newline')
    .option('--overwrite', 'replace the local file')
    .option('-q, --quiet', 'no progress')
  return on(command, ['shoal fs getmerge /results results.txt'], async (args, options, settings) => {
    needTarget(args, '<local>')
    const { sources, target } = splitTarget(args)
    const { mergeFiles } = await import('../../files/transfer.ts')
    await mergeFiles(sources, target, options, settings)
  })
}

function cp(): Command {
  const command = new Command('cp')
    .description('Copy files and directories inside the mesh.')
    .usage('[options] <from...> <to>')
    .argument('<from...>', 'in the mesh; then where to; into it when it is a directory')
    .option('--overwrite', 'replace files that are there')
    .option('--parents', 'make missing directories')
    .option('-q, --quiet', 'no progress')
  return on(command, ["shoal fs cp '/data/*.csv' /backup"], async (args, options, settings) => {
    needTarget(args, '<to>')
    const { sources, target } = splitTarget(args)
    const { copyFiles } = await import('../../files/transfer.ts')
    await copyFiles(sources, target, options, settings)
  })
}

function formatOf(text: string): FileFormat {
  const format = FORMATS.find(each => each === text)
  if (format === undefined) throw new InvalidArgumentError(`It is one of ${FORMATS.join(', ')}.`)
  return format
}
