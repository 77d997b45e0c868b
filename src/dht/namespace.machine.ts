import { invariant, ShoalError, toWire, type ApplyContext, type SubMachine } from '../base/index.ts'
import { AGED_BETWEEN_TERMS_MS, NAMESPACE_DEFAULTS, type NamespaceLimits } from './config.ts'
import * as changes from './namespace-changes.ts'
import type { NamespaceCommand, NamespaceResult } from './namespace-commands.ts'
import { badCommand, type CommandContext } from './namespace-context.ts'
import { mv } from './namespace-moves.ts'
import { NamespaceQueries } from './namespace-queries.ts'
import * as removals from './namespace-removals.ts'
import * as snapshots from './namespace-snapshot-changes.ts'
import { NamespaceState } from './namespace-state.ts'
import type { NamespacePart } from './namespace-snapshot-parts.ts'
import { NamespaceSnapshotReader } from './namespace-snapshot-reader.ts'
import { namespaceParts } from './namespace-snapshot-writer.ts'
import * as writes from './namespace-writes.ts'
import { SessionTable, type SessionRow } from './session-table.ts'

const SNAPSHOT_VERSION = 4

interface FirstPart {
  version: number
  /** Log time and term of the newest entry. */
  timeMs: number
  term: number
}

interface SessionsPart {
  kind: 'sessions'
  rows: SessionRow[]
}

/**
 * Which file is which blocks, and who holds them: the replicated half of the name node. Deterministic; log time is its
 * only clock. A command is carried out whole or refused and changes nothing.
 *
 * Invariants (with those of NamespaceState): a file is visible whole or not at all; a block that was visible goes only
 * with its file and the snapshots that show it; the last holder of a block is never removed; one output directory has one
 * winner; a snapshot never changes.
 */
export class Namespace extends NamespaceQueries implements SubMachine<NamespaceCommand, NamespaceResult> {
  readonly #state: NamespaceState
  readonly #limits: NamespaceLimits
  readonly #sessions: SessionTable
  /** Log time of the newest entry: an older one would bring dead leases back. */
  #timeMs = 0
  /** Of that entry. */
  #term = 0

  constructor(limits: Partial<NamespaceLimits> = {}) {
    const all = { ...NAMESPACE_DEFAULTS, ...limits }
    const state = new NamespaceState(all.slotCount)
    super(state, all.slotCount)
    this.#state = state
    this.#limits = all
    this.#sessions = new SessionTable(all)
  }

  apply(command: NamespaceCommand, { timeMs, index, term }: ApplyContext): NamespaceResult {
    invariant(timeMs >= this.#timeMs, 'log time does not go back')
    this.#passTime(timeMs, term)
    // What a planner of another term reports was true then; its leader no longer orders what happens to the copies.
    if (command.type === 'report-holders' && command.term !== undefined && command.term !== term) {
      const details = { term: command.term, seen: term }
      return { ok: false, error: toWire(new ShoalError('STALE_LEADER', details)) }
    }
    const { session } = command
    const first = session === undefined ? undefined : this.#sessions.recall(session)
    if (first !== undefined) return first
    const result = attempt({ state: this.#state, limits: this.#limits, timeMs, index }, command)
    // BUSY is no answer: the same request may succeed later.
    const final = result.ok || result.error.code !== 'BUSY'
    if (session !== undefined && final) this.#sessions.remember(session, result, timeMs)
    return result
  }

  #passTime(timeMs: number, term: number): void {
    const leapMs = timeMs - this.#timeMs - AGED_BETWEEN_TERMS_MS
    if (term !== this.#term && leapMs > 0) {
      this.#state.leapt(timeMs, leapMs)
      this.#sessions.leapt(leapMs)
    }
    this.#timeMs = timeMs
    this.#term = term
  }

  /** In parts, each small enough to be read in one go. */
  snapshot(): unknown[] {
    const first: FirstPart = { version: SNAPSHOT_VERSION, timeMs: this.#timeMs, term: this.#term }
    const sessions = this.#sessions.snapshot().map((rows): SessionsPart => ({ kind: 'sessions', rows }))
    return [first, ...sessions, ...namespaceParts(this.#state)]
  }

  restore(parts: unknown): void {
    for (const _ of this.restoring(parts as unknown[]));
  }

  /** Part by part: other things may be done whenever it yields, but nothing may look at this namespace before the end. */
  *restoring(parts: Iterable<unknown>): Generator<undefined> {
    const reader = new NamespaceSnapshotReader(this.#state)
    this.#sessions.clear()
    let begun = false
    for (const part of parts) {
      if (!begun) this.#begin(part as FirstPart)
      else if ((part as SessionsPart).kind === 'sessions') this.#sessions.restore((part as SessionsPart).rows)
      else reader.take(part as NamespacePart)
      begun = true
      yield
    }
    invariant(begun, 'a namespace snapshot has a beginning')
    yield* reader.finish()
  }

  #begin({ version, timeMs, term }: FirstPart): void {
    invariant(version === SNAPSHOT_VERSION, `a namespace snapshot of version ${version} is known`)
    this.#timeMs = timeMs
    this.#term = term
  }

  assertInvariants(): void {
    this.#state.assertInvariants()
    invariant(this.#state.writes.size <= this.#limits.leasesMax, 'open writes are bounded')
    invariant(this.#state.snapshots.size <= this.#limits.snapshotsMax, 'snapshots are bounded')
    invariant(this.#sessions.size <= this.#limits.sessionsMax, 'sessions are bounded')
  }
}

function attempt(context: CommandContext, command: NamespaceCommand): NamespaceResult {
  try {
    return perform(context, command)
  } catch (error) {
    if (error instanceof ShoalError) return { ok: false, error: toWire(error) }
    throw error
  }
}

function perform(context: CommandContext, command: NamespaceCommand): NamespaceResult {
  switch (command.type) {
    case 'mkdir':
      return changes.mkdir(context, command)
    case 'begin-file':
      return writes.beginFile(context, command)
    case 'begin-append':
      return writes.beginAppend(context, command)
    case 'add-blocks':
      return writes.addBlocks(context, command)
    case 'commit-file':
      return writes.commitFile(context, command)
    case 'abandon-file':
      return writes.abandonFile(context, command)
    case 'extend-lease':
      return writes.extendLease(context, command)
    case 'extend-leases':
      return writes.extendLeases(context, command)
    case 'expire-leases':
      return writes.expireLeases(context)
    case 'commit-output':
      return writes.commitOutput(context, command)
    case 'mv':
      return mv(context, command)
    case 'rm':
      return removals.rm(context, command)
    case 'undelete':
      return removals.undelete(context, command)
    case 'expunge':
      return removals.expunge(context, command)
    case 'set-quota':
      return changes.setQuota(context, command)
    case 'set-replication':
      return changes.setReplication(context, command)
    case 'set-attributes':
      return changes.setAttributes(context, command)
    case 'touch':
      return changes.touch(context, command)
    case 'create-snapshot':
      return snapshots.createSnapshot(context, command)
    case 'rename-snapshot':
      return snapshots.renameSnapshot(context, command)
    case 'delete-snapshot':
      return snapshots.deleteSnapshot(context, command)
    case 'report-holders':
      return changes.reportHolders(context, command)
  }
  // A newer leader's command: every peer of this version refuses it alike.
  throw badCommand(command, 'this version does not know it')
}
