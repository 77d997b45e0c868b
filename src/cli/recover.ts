import { createInterface } from 'node:readline/promises'
import { asMeshId } from '../base/ids.ts'
import { ShoalError } from '../base/errors.ts'
import { inspectDirectory, recoverMesh, rejoinMesh, type DirectoryReport } from '../node/index.ts'
import type { RecoverOptions } from './commands/recover.ts'
import type { Settings } from './settings.ts'
import { table } from './table.ts'
import { colors, errorColors, note, print, printJson } from './terminal.ts'

/** `shoal recover`: works on directories, for there is no mesh to ask. */
export async function recover(
  directories: string[],
  { inspect, unsafe, rejoin, yes }: RecoverOptions,
  settings: Settings,
): Promise<void> {
  if ([inspect === true, unsafe === true, rejoin !== undefined].filter(Boolean).length !== 1)
    throw wrong('give one of --inspect, --unsafe and --rejoin')
  if (unsafe === true && directories.length !== 1)
    throw wrong('--unsafe takes one directory: the one with the longest log, which --inspect tells')
  const reports = await Promise.all(directories.map(inspectDirectory))
  if (inspect === true) {
    if (settings.json) printJson({ directories: reports, best: bestOf(reports)?.directory })
    else print(describe(reports))
    return
  }
  for (const { directory, pid } of reports) if (pid !== undefined) throw locked(directory, pid)
  if (rejoin !== undefined) {
    for (const { directory } of reports) await rejoinMesh(directory, asMeshId(rejoin))
    if (settings.json) printJson({ meshId: rejoin, directories })
    else print(`brought over to ${rejoin}: start them with --join and the address of a peer that runs`)
    return
  }
  const [report] = reports
  if (yes !== true) await confirm(report!)
  const { meshId, was } = await recoverMesh(report!.directory)
  if (settings.json) {
    printJson({ meshId, was, directory: report!.directory })
    return
  }
  print(`${report!.name} is the only voter of generation ${colors.bold(meshId)} now (before: ${was})`)
  print(
    'Start it, look at `shoal status` for partitions without a copy, and bring other peers that are left over with',
  )
  print(`  shoal recover --rejoin ${meshId} DIRECTORY`)
}

/** The later last term wins, then the longer log: as an election would have it. One that lost its log comes last. */
function bestOf(reports: readonly DirectoryReport[]): DirectoryReport | undefined {
  return reports.toSorted(
    (a, b) => Number(a.forgot) - Number(b.forgot) || b.lastTerm - a.lastTerm || b.lastIndex - a.lastIndex,
  )[0]
}

function describe(reports: readonly DirectoryReport[]): string {
  const best = bestOf(reports)
  const rows = reports.map(report => [
    report === best ? colors.green(`${report.directory} *`) : report.directory,
    report.name,
    report.meshId,
    String(report.term),
    `${report.lastIndex} (term ${report.lastTerm})`,
    `≥ ${report.committedAtLeast}`,
    String(report.voters.length),
    [
      ...(report.pid === undefined ? [] : [`runs (${report.pid})`]),
      ...(report.isDamaged ? [colors.red('damaged')] : []),
      ...(report.forgot ? [colors.yellow('lost its log before')] : []),
    ].join(', '),
  ])
  const titles = ['DIRECTORY', 'PEER', 'MESH', 'TERM', 'LAST ENTRY', 'COMMITTED', 'VOTERS', '']
  const overview = table(
    titles.map(title => ({ title })),
    rows,
  )
  return `${overview}\n\n* has the longest log: what a majority acknowledged is most likely there`
}

async function confirm({ directory, name, voters, lastIndex, isDamaged }: DirectoryReport): Promise<void> {
  const { red, bold } = errorColors
  note(red(bold('This gives up what the lost peers alone had acknowledged, for good.')))
  note(
    `The log of ${name} in ${directory}, up to entry ${lastIndex}${isDamaged ? ', where it is damaged' : ''}, becomes the truth: files committed later are gone,`,
  )
  note(
    `and so is every partition without a copy on a peer that is brought over. Of its ${voters.length} voters, only`,
  )
  note('go on if a majority can never come back: if they can, start them instead. Copy the directory first.')
  if (!process.stdin.isTTY) throw wrong('there is no terminal to ask at: --yes says that you mean it')
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await terminal.question(`Type the peer's name, ${bold(name)}, to go on: `)
    if (answer.trim() !== name)
      throw new ShoalError('CANCELLED', { what: 'the recovery' }, 'nothing was changed')
  } finally {
    terminal.close()
  }
}

function wrong(reason: string): ShoalError<'CONFIG_INVALID'> {
  return new ShoalError('CONFIG_INVALID', { option: 'recover', reason }, reason)
}

function locked(directory: string, pid: number): ShoalError<'DATA_DIR_LOCKED'> {
  return new ShoalError(
    'DATA_DIR_LOCKED',
    { directory, pid },
    `${directory} is in use by process ${pid}: stop that peer first`,
  )
}
