import { invariant, type AbortOptions, type MessageType } from '../base/index.ts'
import type { SessionSeq } from './namespace-commands.ts'
import {
  namespaceExpunge,
  namespaceOpenWrites,
  namespaceQuota,
  namespaceSetAttributes,
  namespaceSetQuota,
  namespaceSetReplication,
  namespaceSnapshot,
  namespaceSnapshots,
  namespaceTouch,
  namespaceTrash,
  namespaceUndelete,
  type OpenWriteEntry,
} from './namespace-messages.ts'
import type { QuotaStatus, SnapshotStatus, TrashEntry } from './namespace-types.ts'

interface AskOptions extends AbortOptions {
  /** `stale` answers from what one peer has, even without a leader. @default 'linearizable' */
  consistency?: 'linearizable' | 'stale'
}

/** The part of a FileClient that runs a mesh rather than moves bytes: trash, quotas, snapshots, copies, metadata. */
export abstract class OperatorClient {
  protected abstract ask<Request, ReplyHead>(
    type: MessageType<Request, ReplyHead>,
    head: Request,
    signal: AbortSignal | undefined,
  ): Promise<ReplyHead>

  protected abstract nextSession(): SessionSeq

  /** What was removed and can come back, the oldest first. */
  async trash(options: AskOptions = {}): Promise<TrashEntry[]> {
    const { signal, ...head } = options
    const all: TrashEntry[] = []
    for (;;) {
      const last = all.at(-1)
      const after = last === undefined ? {} : { startAfterMs: last.deletedMs }
      const { entries, more } = await this.ask(namespaceTrash, { ...head, ...after }, signal)
      all.push(...entries)
      if (!more || entries.length === 0) return all
    }
  }

  /**
   * Brings something back from the trash: to where it was, or to `to`; missing directories are made.
   * @param path where it was; also of something in a directory that was removed
   * @param options.deletedMs which removal. @default the last that has it
   */
  async undelete(
    path: string,
    options: AbortOptions & { deletedMs?: number; to?: string } = {},
  ): Promise<{ path: string }> {
    const { signal, ...head } = options
    return this.ask(namespaceUndelete, { path, ...head, session: this.nextSession() }, signal)
  }

  /** Ends what has lain in the trash for this long. @param options.ageMs @default 0: all of it */
  async expunge(
    options: AbortOptions & { ageMs?: number } = {},
  ): Promise<{ entries: number; files: number }> {
    const { signal, ageMs = 0 } = options
    const total = { entries: 0, files: 0 }
    for (;;) {
      const request = { ageMs, session: this.nextSession() }
      const { entries, files, more } = await this.ask(namespaceExpunge, request, signal)
      total.entries += entries
      total.files += files
      if (!more) return total
    }
  }

  async quota(path: string, options: AskOptions = {}): Promise<QuotaStatus> {
    const { signal, ...head } = options
    return this.ask(namespaceQuota, { path, ...head }, signal)
  }

  /**
   * Limits a directory and all below it; null lifts a limit, what is not named stays.
   * @param limits.names files and directories, itself included
   * @param limits.bytes with all copies wanted
   */
  async setQuota(
    path: string,
    limits: { names?: number | null; bytes?: number | null },
    options: AbortOptions = {},
  ): Promise<void> {
    await this.ask(namespaceSetQuota, { path, ...limits, session: this.nextSession() }, options.signal)
  }

  /** Keeps a directory readable as it is now, under `<directory>/.snapshot/<name>`. @param name @default the time in UTC */
  async createSnapshot(
    directory: string,
    name: string = snapshotName(),
    options: AbortOptions = {},
  ): Promise<{ path: string; name: string }> {
    const request = { path: directory, name, action: 'create' as const, session: this.nextSession() }
    const { path } = await this.ask(namespaceSnapshot, request, options.signal)
    invariant(path !== undefined, 'a new snapshot has a path')
    return { path, name }
  }

  async renameSnapshot(
    directory: string,
    name: string,
    to: string,
    options: AbortOptions = {},
  ): Promise<void> {
    const request = { path: directory, name, to, action: 'rename' as const, session: this.nextSession() }
    await this.ask(namespaceSnapshot, request, options.signal)
  }

  async deleteSnapshot(directory: string, name: string, options: AbortOptions = {}): Promise<void> {
    const request = { path: directory, name, action: 'delete' as const, session: this.nextSession() }
    await this.ask(namespaceSnapshot, request, options.signal)
  }

  /** Oldest first. */
  async snapshots(directory: string, options: AskOptions = {}): Promise<SnapshotStatus[]> {
    const { signal, ...head } = options
    return (await this.ask(namespaceSnapshots, { path: directory, ...head }, signal)).snapshots
  }

  /** Copies wanted, 1–16; repair makes or drops them afterwards. A directory needs `recursive`. */
  async setReplication(
    path: string,
    replication: number,
    options: AbortOptions & { recursive?: boolean } = {},
  ): Promise<{ files: number }> {
    const { signal, ...head } = options
    const request = { path, replication, ...head, session: this.nextSession() }
    return this.ask(namespaceSetReplication, request, signal)
  }

  /** Metadata for people and other systems; nothing enforces it. An empty owner or group takes it away. */
  async setAttributes(
    path: string,
    attributes: { mode?: number; owner?: string; group?: string; modifiedMs?: number; recursive?: boolean },
    options: AbortOptions = {},
  ): Promise<{ entries: number }> {
    const request = { path, ...attributes, session: this.nextSession() }
    return this.ask(namespaceSetAttributes, request, options.signal)
  }

  /** Sets the time of a file or directory (@default now, as the log sees it), or makes an empty file. */
  async touch(
    path: string,
    options: AbortOptions & { modifiedMs?: number; create?: boolean } = {},
  ): Promise<{ created: boolean }> {
    const { signal, ...head } = options
    return this.ask(namespaceTouch, { path, ...head, session: this.nextSession() }, signal)
  }

  /** Writes that were begun at a path or below it; with a token that one, with its blocks. */
  async openWrites(path: string, options: AskOptions & { token?: string } = {}): Promise<OpenWriteEntry[]> {
    const { signal, ...head } = options
    const all: OpenWriteEntry[] = []
    for (let startAt = 0; ;) {
      const { writes, more } = await this.ask(namespaceOpenWrites, { path, ...head, startAt }, signal)
      const first = all[0]
      if (head.token !== undefined && first !== undefined) first.blocks.push(...(writes[0]?.blocks ?? []))
      else all.push(...writes)
      startAt += head.token === undefined ? writes.length : (writes[0]?.blocks.length ?? 0)
      if (!more || writes.length === 0) return all
    }
  }
}

/** Sorts like the time: `20261122T190000.123Z`. */
function snapshotName(): string {
  return new Date().toISOString().replaceAll(/[-:]/g, '')
}
