import { toWire, type ApplyContext, type WireError } from '../base/index.ts'
import { isSlotCommand, Namespace, SlotTable, type DhtCommand, type DhtResult } from '../dht/index.ts'
import { Members, type MemberCommand, type MemberResult } from '../gossip/index.ts'
import { Jobs, type JobsCommand, type JobsResult } from '../rdd/index.ts'

/** What the log may carry: each folder's commands, under its name. */
export type LogCommand =
  | { part: 'gossip'; command: MemberCommand }
  | { part: 'dht'; command: DhtCommand }
  | { part: 'rdd'; command: JobsCommand }

export type LogResult = MemberResult | DhtResult | JobsResult | { ok: false; error: WireError }

/** Version of the snapshot; an older peer refuses a newer one instead of misreading it. */
const SNAPSHOT_VERSION = 1

/**
 * The one replicated state machine: the folders' sub-machines side by side. Every peer applies the same entries in the
 * same order and so has the same state at the same index.
 */
export class ReplicatedState {
  readonly members = new Members()
  readonly slots: SlotTable
  readonly namespace: Namespace
  readonly jobs = new Jobs()

  constructor(options: { slotCount?: number } = {}) {
    this.slots = new SlotTable(options.slotCount)
    this.namespace = new Namespace({ slotCount: this.slots.slotCount })
  }

  /** Never throws: what no sub-machine can carry out changes nothing and is refused, the same way everywhere. */
  apply(command: LogCommand, context: ApplyContext): LogResult {
    try {
      switch (command.part) {
        case 'gossip':
          return this.members.apply(command.command, context)
        case 'dht':
          return isSlotCommand(command.command)
            ? this.slots.apply(command.command, context)
            : this.namespace.apply(command.command, context)
        case 'rdd':
          return this.jobs.apply(command.command, context)
      }
    } catch (error) {
      const { code, message } = toWire(error)
      // The stack differs between versions of the program; the state's answer must not.
      return { ok: false, error: { code, message, details: {} } }
    }
    return {
      ok: false,
      error: { code: 'UNKNOWN_MESSAGE', message: 'no such command', details: { type: 'log' } },
    }
  }

  snapshot(): unknown {
    return {
      version: SNAPSHOT_VERSION,
      members: this.members.snapshot(),
      slots: this.slots.snapshot(),
      namespace: this.namespace.snapshot(),
      jobs: this.jobs.snapshot(),
    }
  }

  restore(snapshot: unknown): void {
    const { version, members, slots, namespace, jobs } = snapshot as Record<string, unknown>
    if (version !== SNAPSHOT_VERSION)
      throw new Error(`a snapshot of version ${String(version)} cannot be read`)
    this.members.restore(members)
    this.slots.restore(slots)
    this.namespace.restore(namespace)
    this.jobs.restore(jobs)
  }

  assertInvariants(): void {
    this.members.assertInvariants()
    this.slots.assertInvariants()
    this.namespace.assertInvariants()
    this.jobs.assertInvariants()
  }
}
