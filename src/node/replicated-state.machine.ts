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
const SNAPSHOT_VERSION = 3

/**
 * The one replicated state machine: the folders' sub-machines side by side. Every peer applies the same entries in the
 * same order and so has the same state at the same index.
 */
export class ReplicatedState {
  readonly members = new Members()
  readonly slots: SlotTable
  readonly jobs = new Jobs()
  #namespace: Namespace

  constructor(options: { slotCount?: number } = {}) {
    this.slots = new SlotTable(options.slotCount)
    this.#namespace = this.#newNamespace()
  }

  /** Not to be kept: after a snapshot from elsewhere it is another one. */
  get namespace(): Namespace {
    return this.#namespace
  }

  #newNamespace(): Namespace {
    return new Namespace({ slotCount: this.slots.slotCount })
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

  /** In parts, each small enough to be read in one go. */
  snapshot(): unknown[] {
    const first = {
      version: SNAPSHOT_VERSION,
      members: this.members.snapshot(),
      slots: this.slots.snapshot(),
      jobs: this.jobs.snapshot(),
    }
    return [first, ...this.namespace.snapshot()]
  }

  restore(parts: Iterable<unknown>): void {
    for (const _ of this.restoring(parts));
  }

  /** Until the last step the state is the old one; with it, it is the new one as a whole. */
  *restoring(parts: Iterable<unknown>): Generator<undefined> {
    const iterator = parts[Symbol.iterator]()
    const { version, members, slots, jobs } = (iterator.next().value ?? {}) as Record<string, unknown>
    if (version !== SNAPSHOT_VERSION)
      throw new Error(`a snapshot of version ${String(version)} cannot be read`)
    const namespace = this.#newNamespace()
    yield* namespace.restoring({ [Symbol.iterator]: () => iterator })
    this.members.restore(members)
    this.slots.restore(slots)
    this.jobs.restore(jobs)
    this.#namespace = namespace
  }

  assertInvariants(): void {
    this.members.assertInvariants()
    this.slots.assertInvariants()
    this.namespace.assertInvariants()
    this.jobs.assertInvariants()
  }
}
