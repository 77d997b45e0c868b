import { Command, type Command as CommandType } from 'commander'
import { settingsOf, shared } from '../settings.ts'

export function jobsCommand(): CommandType {
  const command = new Command('jobs').description('List the jobs that the mesh remembers, the latest last.')
  return shared(command, 'shoal jobs', 'shoal jobs --json').action(
    async (_options: unknown, self: CommandType) => {
      const { showJobs } = await import('../mesh-jobs.ts')
      await showJobs(settingsOf(self))
    },
  )
}

export function cancelCommand(): CommandType {
  const command = new Command('cancel')
    .description('Cancel a running job, whoever started it.')
    .argument('<job>', 'its id, as `shoal jobs` shows it')
    .option('--reason <text>', 'told to whoever waits for the job')
  return shared(command, 'shoal cancel 1f0c9a2b3d4e/7').action(
    async (job: string, options: { reason?: string }, self: CommandType) => {
      const { cancelRunning } = await import('../mesh-jobs.ts')
      await cancelRunning(job, options.reason, settingsOf(self))
    },
  )
}
