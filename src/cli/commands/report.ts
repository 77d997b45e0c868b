import { Command, type Command as CommandType } from 'commander'
import { settingsOf, shared } from '../settings.ts'

export function reportCommand(): CommandType {
  const command = new Command('report').description(
    'Tell all about each peer: its disk, its copies and when they were verified, its log, its load.',
  )
  return shared(command, 'shoal report', 'shoal report --json').action(
    async (_options: unknown, self: CommandType) => {
      const { showReport } = await import('../mesh-report.ts')
      await showReport(settingsOf(self))
    },
  )
}
