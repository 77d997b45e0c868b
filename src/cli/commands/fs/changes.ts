import { Command } from 'commander'
import { needTarget, on, splitTarget } from './action.ts'

/** mkdir, mv, rm. */
export function changeCommands(): Command[] {
  return [mkdir(), mv(), rm()]
}

function mkdir(): Command {
  const command = new Command('mkdir')
    .description('Make directories.')
    .argument('<path...>', 'in the mesh')
    .option('-p, --parents', 'missing parents too; one that is there is fine')
  return on(command, ['shoal fs mkdir -p /data/2026'], async (args, options, settings) => {
    const { makeDirectories } = await import('../../files/change.ts')
    await makeDirectories(args, options['parents'] === true, settings)
  })
}

function mv(): Command {
  const command = new Command('mv')
    .description('Move or rename; into the target when that is a directory.')
    .usage('[options] <from...> <to>')
    .argument('<from...>', 'in the mesh; then where to')
  const examples = ['shoal fs mv /data/draft.csv /data/final.csv', "shoal fs mv '/in/*.csv' /data"]
  return on(command, examples, async (args, _options, settings) => {
    needTarget(args, '<to>')
    const { sources, target } = splitTarget(args)
    const { move } = await import('../../files/change.ts')
    await move(sources, target, settings)
  })
}

function rm(): Command {
  const command = new Command('rm')
    .description('Remove files and directories; for a day the trash has them.')
    .argument('<path...>', 'in the mesh')
    .option('-r, --recursive', 'a directory with all in it')
    .option('--skip-trash', 'for good, at once')
    .option('-f, --force', 'what is not there is no error')
  return on(
    command,
    ['shoal fs rm /data/old.csv', 'shoal fs rm -r /data/2025'],
    async (args, options, settings) => {
      const { remove } = await import('../../files/change.ts')
      await remove(args, options, settings)
    },
  )
}
