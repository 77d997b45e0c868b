import { Command } from 'commander'
import { wholeNumber } from '../../settings.ts'
import { on } from './action.ts'

/** cat, text, head, tail, checksum. */
export function readingCommands(): Command[] {
  const cat = new Command('cat')
    .description('Print files as they are.')
    .argument('<path...>', 'in the mesh; - is standard input')
  const text = new Command('text')
    .description('Print files, unpacked when they are gzip or zstd, whatever their names.')
    .argument('<path...>', 'in the mesh; - is standard input')
  const checksum = new Command('checksum')
    .description('SHA-256 of the content of files, as sha256sum has it; how they are cut does not matter.')
    .argument('<path...>', 'in the mesh')
    .option('-q, --quiet', 'no progress')
  return [
    on(cat, ['shoal fs cat /books/moby-dick.txt | grep -c whale'], async (args, _options, settings) => {
      const { printFiles } = await import('../../files/reading.ts')
      await printFiles(args, { unpack: false }, settings)
    }),
    on(text, ["shoal fs text '/logs/*.gz' | wc -l"], async (args, _options, settings) => {
      const { printFiles } = await import('../../files/reading.ts')
      await printFiles(args, { unpack: true }, settings)
    }),
    on(
      withAmount(new Command('head').description('Print the first lines (or bytes) of files.')),
      ['shoal fs head -n 5 /books/moby-dick.txt', 'shoal fs head -c 100 /books/moby-dick.txt'],
      async (args, options, settings) => {
        const { printEnds } = await import('../../files/reading.ts')
        await printEnds('head', args, options, settings)
      },
    ),
    on(
      withAmount(new Command('tail').description('Print the last lines (or bytes) of files.')).option(
        '-f, --follow',
        'and what is appended from then on, until Ctrl-C',
      ),
      ['shoal fs tail -n 5 /books/moby-dick.txt', 'shoal fs tail -f /log'],
      async (args, options, settings) => {
        const { printEnds } = await import('../../files/reading.ts')
        await printEnds('tail', args, options, settings)
      },
    ),
    on(
      checksum,
      ['shoal fs checksum /data/flights.csv', "shoal fs checksum '/data/*.csv' > sums"],
      async (args, options, settings) => {
        const { showChecksums } = await import('../../files/checks.ts')
        await showChecksums(args, options, settings)
      },
    ),
  ]
}

function withAmount(command: Command): Command {
  return command
    .argument('<path...>', 'in the mesh')
    .option('-n, --lines <n>', 'how many lines (default: 10)', wholeNumber('--lines', 0, 10_000_000))
    .option('-c, --bytes <n>', 'how many bytes', wholeNumber('--bytes', 0, Number.MAX_SAFE_INTEGER))
}
