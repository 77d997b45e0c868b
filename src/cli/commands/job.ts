import { Command, type Command as CommandType } from 'commander'
import { settingsOf, shared } from '../settings.ts'
import { cancelCommand } from './jobs.ts'

export function jobCommand(): CommandType {
  const command = new Command('job')
    .description('Show what a job did: its stages, peers, slowest tasks, failures, skew.')
    .argument('[job]', 'its id, as `shoal jobs` shows it; without it, the latest')
    .option('--follow', 'go on, line by line, until the job has ended')
    .option('--timeline', 'draw which peer ran tasks when')
    .option('--events', 'print the events themselves, as JSON lines (docs/job-events.md)')
  command.addCommand(resultCommand()).addCommand(cancelCommand())
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

function resultCommand(): CommandType {
  const command = new Command('result')
    .description(
      'Wait for a detached job, and print its result: one element a line. Once printed it is gone from the mesh.',
    )
    .argument('<job>', 'its id, as `shoal run --detach` and `shoal jobs` show it')
    .option('--keep', 'leave it where it is, until its time is over')
  return shared(command, 'shoal job result 1f0c9a2b3d4e/1').action(
    async (job: string, { keep = false }: { keep?: boolean }, self: CommandType) => {
      const { showResult } = await import('../job/job-result.ts')
      await showResult(job, keep, settingsOf(self))
    },
  )
}
