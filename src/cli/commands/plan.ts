import { Command, type Command as CommandType } from 'commander'
import { settingsOf, shared } from '../settings.ts'

export function planCommand(): CommandType {
  const command = new Command('plan')
    .description('Say what would be done, and change nothing.')
    .requiredOption(
      '--if-peer-dies <peer>',
      'name or id: what would be copied, from whom to whom, how long it takes, and which files would be in danger',
    )
  return shared(command, 'shoal plan --if-peer-dies p2').action(
    async ({ ifPeerDies }: { ifPeerDies: string }, self: CommandType) => {
      const { showDeathPlan } = await import('../mesh-plan.ts')
      await showDeathPlan(ifPeerDies, settingsOf(self))
    },
  )
}
