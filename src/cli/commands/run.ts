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
    .option('--detach', 'hand the RDD that it returns over to the mesh, print the id of the job, and go')
    .option(
      '--save <path>',
      'with --detach: save it as text in that directory of the mesh, instead of keeping its elements',
    )
    .passThroughOptions()
  return shared(
    command,
    'shoal run examples/word-count.ts /books/moby-dick.txt',
    'shoal run --peer p2 job.ts',
    'shoal run --detach --save /out job.ts',
  ).action(
    async (file: string, args: string[], options: { detach?: true; save?: string }, self: CommandType) => {
      if (options.detach === true) {
        const { detachJob } = await import('../job/detach-job.ts')
        await detachJob(file, args, options.save, settingsOf(self))
        return
      }
      const { runJob } = await import('../job/run-job.ts')
      await runJob(file, args, settingsOf(self))
    },
  )
}
