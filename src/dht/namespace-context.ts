import { ShoalError } from '../base/index.ts'
import type { NamespaceLimits } from './config.ts'
import type { NamespaceCommand } from './namespace-commands.ts'
import type { NamespaceState } from './namespace-state.ts'
import { invalidPath, joinNames, pathNames } from './paths.ts'
import { readOnly, SNAPSHOT_NAME, TRASH_NAME } from './snapshots.ts'

/** What carrying out a command needs: the state, the limits, and when and where in the log it stands. */
export interface CommandContext {
  readonly state: NamespaceState
  readonly limits: NamespaceLimits
  /** Log time. */
  readonly timeMs: number
  /** Log index. */
  readonly index: number
}

/** Copies of one block: more than anyone asks for; bounds what a bad command could store. */
export const HOLDERS_MAX = 16

export function badCommand(command: NamespaceCommand, reason: string): ShoalError<'BAD_MESSAGE'> {
  return new ShoalError('BAD_MESSAGE', { type: command.type, reason }, `${command.type} refused: ${reason}`)
}

/** Names along a path that is to be changed. Throws READ_ONLY in a snapshot. */
export function changeable(path: string): string[] {
  const names = pathNames(path)
  if (names.includes(SNAPSHOT_NAME)) throw readOnly(joinNames(names))
  return names
}

/** Names along a path at which something is to be made. Throws READ_ONLY in a snapshot, INVALID_PATH in the trash. */
export function makeable(path: string): string[] {
  const names = changeable(path)
  if (names[0] === TRASH_NAME) {
    throw invalidPath(joinNames(names), `/${TRASH_NAME} is the trash, which only rm fills`)
  }
  return names
}

/** Throws BUSY when the mesh has no room for so many more files and directories. */
export function needRoom({ state, limits }: CommandContext, count: number): void {
  const limit = limits.entriesMax
  if (state.files.size + state.tree.root.sums.directories + count <= limit) return
  throw new ShoalError(
    'BUSY',
    { what: 'files and directories', limit },
    `the mesh holds at most ${limit} files`,
  )
}

/** Throws BAD_MESSAGE unless so many copies may be asked for. */
export function needReplication(command: NamespaceCommand, replication: number): void {
  if (Number.isInteger(replication) && replication >= 1 && replication <= HOLDERS_MAX) return
  throw badCommand(command, `replication is a whole number from 1 to ${HOLDERS_MAX}`)
}
