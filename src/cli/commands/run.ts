import { Command, type Command as CommandType } from 'commander'
import { settingsOf, shared } from '../settings.ts'

export function runCommand(): CommandType {
  const command = new Command('run')
    .description(
      'Run a job: a TypeScript or JavaScript module. Its default export, if it is a function, is called with the mesh ' +
        'and the arguments; else the module attaches by itself with connect().',
    )
    .argument('<file>', 'the module')
    .argument('[args...]', 'for the job')
    .passThroughOptions()
  return shared(
    command,
    'shoal run examples/word-count.ts /books/moby-dick.txt',
    'shoal run --peer p2 job.ts',
  ).action(async (file: string, args: string[], _options: unknown, self: CommandType) => {
    const { runJob } = await import('../job/run-job.ts')
    await runJob(file, args, settingsOf(self))
  })
}
