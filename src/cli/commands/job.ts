import { Command, type Command as CommandType } from 'commander'
import { settingsOf, shared } from '../settings.ts'

export function jobCommand(): CommandType {
  const command = new Command('job')
    .description('Show what a job did: its stages, peers, slowest tasks, failures, skew.')
    .argument('[job]', 'its id, as `shoal jobs` shows it; without it, the latest')
    .option('--follow', 'go on, line by line, until the job has ended')
    .option('--timeline', 'draw which peer ran tasks when')
    .option('--events', 'print the events themselves, as JSON lines (docs/job-events.md)')
  return shared(command, 'shoal job 1f0c9a2b3d4e/7 --timeline', 'shoal job --follow').action(
    async (
      job: string | undefined,
      {
        follow = false,
        timeline = false,
        events = false,
      }: Partial<Record<'follow' | 'timeline' | 'events', boolean>>,
      self: CommandType,
    ) => {
      const { showJob } = await import('../show-job.ts')
      await showJob(job, { follow, timeline, events }, settingsOf(self))
    },
  )
}
