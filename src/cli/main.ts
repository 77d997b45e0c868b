import { createRequire } from 'node:module'
import { Command, CommanderError } from 'commander'
import { jobCommand } from './commands/job.ts'
import { cancelCommand, jobsCommand } from './commands/jobs.ts'
import { chaosCommand } from './commands/chaos.ts'
import { downCommand } from './commands/down.ts'
import { drainCommand, weighCommand } from './commands/drain.ts'
import { fsCommand } from './commands/fs.ts'
import { leaderCommand } from './commands/leader.ts'
import { peerCommand } from './commands/peer.ts'
import { planCommand } from './commands/plan.ts'
import { recoverCommand } from './commands/recover.ts'
import { reportCommand } from './commands/report.ts'
import { replCommand } from './commands/repl.ts'
import { runCommand } from './commands/run.ts'
import { statusCommand } from './commands/status.ts'
import { upCommand } from './commands/up.ts'
import { EXIT_FAILED, EXIT_USAGE, reportError } from './error-report.ts'
import { settingsOf, type Settings } from './settings.ts'
import { quietOnBrokenPipe, quietOnExperiments } from './terminal.ts'

/** What is still open this long after the work is done does not keep the process. */
const LINGER_MS = 3_000

/** The command line. Sets the exit code: 0 done, 1 failed, 2 used wrongly, 130 interrupted. */
export async function main(argv: readonly string[]): Promise<void> {
  quietOnBrokenPipe()
  quietOnExperiments()
  let settings: Partial<Settings> = {}
  let isJob = false
  const fail = (error: unknown): void => {
    process.exit(reportError(error, settings))
  }
  process.on('uncaughtException', fail)
  try {
    const root = program().hook('preAction', (_root, command) => {
      settings = settingsOf(command)
      isJob = command.name() === 'run'
    })
    await root.parseAsync(argv, { from: 'user' })
  } catch (error) {
    process.exitCode = error instanceof CommanderError ? usageExit(error) : reportError(error, settings)
  }
  // A job's module may go on after its last line.
  if (!isJob) setTimeout(exitWhenRead, LINGER_MS).unref()
}

/** Not before whoever reads our output, such as a pager, has got all of it. */
function exitWhenRead(): void {
  if (process.stdout.writableLength === 0) process.exit()
  process.stdout.once('drain', () => process.exit())
}

function program(): Command {
  const { version } = createRequire(import.meta.url)('../../package.json') as { version: string }
  const root = new Command('shoal')
    .description('A peer-to-peer mesh for data sets: replicated files and resilient distributed datasets.')
    .version(version, '--version')
    .enablePositionalOptions()
    .exitOverride()
    .showHelpAfterError('(--help shows how)')
    .helpCommand(false)
    .addHelpText(
      'after',
      '\nExample:\n  $ shoal up --peers 5\n  $ shoal fs put moby-dick.txt /books/moby-dick.txt --parents\n  $ shoal repl',
    )
    .option('--peer <address>', 'peer to attach to: an address, or the name of a local peer')
    .option('--key <file>', "the mesh's key file")
    .option('--json', 'print JSON, for programs')
    .option('--no-wait', 'do not wait for the mesh')
    .option('--stale', 'reads may answer what the peer knows')
    .option('--debug', 'show stacks of errors')
  const commands = [
    upCommand(),
    peerCommand(),
    statusCommand(),
    reportCommand(),
    fsCommand(),
    runCommand(),
    replCommand(),
    jobsCommand(),
    jobCommand(),
    cancelCommand(),
    leaderCommand(),
    recoverCommand(),
    drainCommand(),
    weighCommand(),
    planCommand(),
    chaosCommand(),
    downCommand(),
  ]
  for (const command of commands) root.addCommand(inherit(command, root))
  return root
}

/** Added commands do not take over their parent's settings by themselves. */
function inherit(command: Command, parent: Command): Command {
  command.copyInheritedSettings(parent)
  for (const child of command.commands) inherit(child, command)
  return command
}

function usageExit({ code }: CommanderError): number {
  if (code === 'commander.helpDisplayed' || code === 'commander.version') return 0
  return code.startsWith('commander.') ? EXIT_USAGE : EXIT_FAILED
}
