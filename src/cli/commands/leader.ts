import { Command, type Command as CommandType } from 'commander'
import { settingsOf, shared } from '../settings.ts'

export function leaderCommand(): CommandType {
  const command = new Command('leader')
    .description('Name the peer that leads.')
    .option('--why', 'and tell who voted for it, whom it feeds, and what happened before')
  return shared(command, 'shoal leader', 'shoal leader --why').action(
    async ({ why }: { why?: boolean }, self: CommandType) => {
      if (why === true) {
        const { showWhy } = await import('../leader-why.ts')
        await showWhy(settingsOf(self))
        return
      }
      const { showLeader } = await import('../mesh-status.ts')
      await showLeader(settingsOf(self))
    },
  )
}
