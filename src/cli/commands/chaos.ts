import { Command, InvalidArgumentError, type Command as CommandType } from 'commander'
import { settingsOf, shared, wholeNumber } from '../settings.ts'
import type { ChaosOptions } from '../chaos/run-chaos.ts'

/** What `--actions` may name. */
export const HARMS = ['kill', 'pause', 'cut', 'corrupt', 'fill'] as const
export type HarmName = (typeof HARMS)[number]

/** Models of `shoal chaos check --model`. */
export const MODELS = ['namespace', 'register', 'set'] as const
export type ModelName = (typeof MODELS)[number]

export function chaosCommand(): CommandType {
  const command = new Command('chaos')
    .description(
      'Do harm to the local mesh while clients write and read, and check that it kept its promises: nothing acknowledged ' +
        'is lost, no wrong bytes, every answer fits into one order. Exit code 0 when it did, 1 when it did not.',
    )
    .option('--actions <list>', `what to do, separated by commas: ${HARMS.join(', ')}`, harmsOf, [
      'kill',
      'pause',
      'corrupt',
    ])
    .option('--rounds <n>', 'how often to do one of them', wholeNumber('--rounds', 1, 100_000), 5)
    .option('--clients <n>', 'that write and read meanwhile', wholeNumber('--clients', 1, 64), 6)
    .option('--seed <n>', 'decides what is done to whom (default: drawn)', wholeNumber('--seed', 0, 2 ** 31))
    .option(
      '--history <file>',
      'write down what the clients did and were told, a JSON line for each operation',
    )
    .option('--dir <dir>', 'folder that holds .shoal (default: the nearest above that has one)')
    .option('--yes', 'do not ask before')
    .addCommand(checkCommand())
  return shared(
    command,
    'shoal up --peers 5 --allow-chaos',
    'shoal chaos --actions kill,pause,cut,corrupt,fill --rounds 10 --history chaos.jsonl',
    'shoal chaos check chaos.jsonl',
  ).action(async (options: ChaosOptions, self: CommandType) => {
    const { runChaos } = await import('../chaos/run-chaos.ts')
    await runChaos(options, settingsOf(self))
  })
}

function checkCommand(): CommandType {
  const command = new Command('check')
    .description(
      'Check a history of operations: could one copy, one thing after another, have given these answers?',
    )
    .argument('<file>', 'JSON lines, as --history writes them')
    .option('--model <name>', MODELS.join(', '), modelOf, 'namespace')
  return shared(command, 'shoal chaos check chaos.jsonl').action(
    async (file: string, options: { model: ModelName }, self: CommandType) => {
      const { checkHistory } = await import('../chaos/check-history.ts')
      await checkHistory(file, options.model, settingsOf(self))
    },
  )
}

function harmsOf(text: string): HarmName[] {
  return text.split(',').map(word => {
    const found = HARMS.find(harm => harm === word.trim())
    if (found === undefined) throw new InvalidArgumentError(`They are ${HARMS.join(', ')}.`)
    return found
  })
}

function modelOf(text: string): ModelName {
  const found = MODELS.find(model => model === text)
  if (found === undefined) throw new InvalidArgumentError(`It is one of ${MODELS.join(', ')}.`)
  return found
}
