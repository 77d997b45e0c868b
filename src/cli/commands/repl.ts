import { Command, type Command as CommandType } from 'commander'
import { settingsOf, shared } from '../settings.ts'

export function replCommand(): CommandType {
  const command = new Command('repl').description(
    'Type TypeScript against the mesh: `mesh` is in scope, await works, Ctrl-C cancels a job, Ctrl-D leaves.',
  )
  return shared(command, 'shoal repl', 'shoal repl --peer p3').action(
    async (_options: unknown, self: CommandType) => {
      const { runRepl } = await import('../repl/repl.ts')
      await runRepl(settingsOf(self))
    },
  )
}
