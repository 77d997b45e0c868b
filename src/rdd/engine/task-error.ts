import { inspect } from 'node:util'
import { hasCode, ShoalError, toWire, type WireError } from '../../base/errors.ts'
import { GENERATED_FILE } from '../codec/generated-function.ts'
import type { TaskInput, TaskOutcome } from '../task.ts'

/** Frames that say nothing to the user: the engine's own and those of Node. */
const OWN_FRAMES = [
  GENERATED_FILE,
  '/src/rdd/engine/',
  '/src/rdd/codec/',
  '/src/node/executor/',
  '(node:',
  'at node:',
]
/** Causes of causes that are reported. */
const CAUSES_MAX = 4

/** How an attempt ended that threw: a fetch that failed, an error of the engine with its code, or the user's own. */
export function failedOutcome(thrown: unknown, input: TaskInput): TaskOutcome {
  if (hasCode(thrown, 'FETCH_FAILED')) {
    const { shuffle, map, peer } = thrown.details
    const locations = input.shuffles.find(each => each.shuffle === shuffle)
    if (locations !== undefined) {
      return { type: 'failed', error: toWire(thrown), fetch: { node: locations.node, map, peer } }
    }
  }
  return { type: 'failed', error: thrown instanceof ShoalError ? toWire(thrown) : userError(thrown, input) }
}

/** The executor fills in its own name. */
function userError(thrown: unknown, { id }: TaskInput): WireError {
  const { stage, partition, attempt } = id
  const message = headline(thrown)
  const stack = userStack(thrown)
  const place = /\n\s+at (.*)/.exec(stack)?.[1]
  return toWire(
    new ShoalError(
      'TASK_FAILED',
      { message, peer: '', stage, partition, attempt, ...(stack !== '' && { stack }) },
      `${message}${place === undefined ? '' : `, at ${place}`} (stage ${stage}, partition ${partition})`,
    ),
  )
}

function headline(thrown: unknown): string {
  return thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : `thrown value ${inspect(thrown)}`
}

/** The stacks of an error and its causes, without the engine's frames where others are left. */
function userStack(thrown: unknown): string {
  const stacks: string[] = []
  for (let error = thrown, i = 0; error instanceof Error && i < CAUSES_MAX; error = error.cause, i++) {
    const lines = (error.stack ?? headline(error)).split('\n')
    const theirs = lines.filter(line => !OWN_FRAMES.some(own => line.includes(own)))
    const kept = theirs.some(isFrame) || !lines.some(isFrame) ? theirs : lines
    stacks.push(kept.join('\n'))
  }
  return stacks.join('\ncaused by: ')
}

function isFrame(line: string): boolean {
  return /^\s+at /.test(line)
}
