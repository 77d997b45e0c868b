import type { NamespaceAnswers, NamespaceCommand, NamespaceResult, Refusal } from './namespace-commands.ts'
import type { SlotCommand, SlotResult } from './slot-table.machine.ts'

/** Everything the log may carry for this folder; `src/node` hands each to the sub-machine that knows it. */
export type DhtCommand = NamespaceCommand | SlotCommand
export type DhtResult = NamespaceResult | SlotResult

/** What applying a command of this type answers. */
export type ResultOf<Command extends DhtCommand> = Command extends SlotCommand
  ? SlotResult
  : Command['type'] extends keyof NamespaceAnswers
    ? NamespaceAnswers[Command['type']] | Refusal
    : never

const SLOT_COMMANDS: ReadonlySet<string> = new Set<SlotCommand['type']>([
  'slots-assign',
  'slot-move-begin',
  'slot-move-promote',
  'slot-move-retire',
  'slot-move-cancel',
])

export function isSlotCommand(command: DhtCommand): command is SlotCommand {
  return SLOT_COMMANDS.has(command.type)
}
