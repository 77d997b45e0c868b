import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { hasCode, unpack } from '../base/index.ts'
import type { PeerId } from '../base/index.ts'
import { DiskLogStore } from './disk-log-store.ts'
import { readLife, readSummed, setAside } from './log-damage.ts'
import { readableEntries, segmentFirstIndex } from './log-segment.ts'
import { peerId } from './messages.ts'
import type { HardState, RaftEntry, Snapshot } from './raft-types.ts'
import { readSnapshotFile, snapshotIndex } from './snapshot-file.ts'

/** What can be read of a log, whatever is wrong with the rest. */
export interface SalvagedLog {
  /** Undefined when it is unreadable, or was never written. */
  hardState: HardState | undefined
  snapshot: Snapshot | undefined
  /** After the snapshot, without a gap, up to the first damage. */
  entries: RaftEntry[]
  lastIndex: number
  lastTerm: number
  voters: readonly PeerId[]
  /** Something that was there is not readable. */
  isDamaged: boolean
  /** The peer lost its log before, and has not made up for it. */
  forgot: boolean
}

const hardStateSchema = z.object({ term: z.number(), votedFor: peerId.optional() })

/** Reads and changes nothing; the peer need not stand still for it, but what it says is then soon out of date. */
export async function salvageLog(directory: string): Promise<SalvagedLog> {
  const names = (await readdir(directory)).sort()
  let isDamaged = false
  const hardState = await readHardState(directory).catch(() => {
    isDamaged = true
    return undefined
  })
  const snapshots = names.filter(name => snapshotIndex(name) !== undefined).toReversed()
  let snapshot: Snapshot | undefined
  for (const name of snapshots) {
    snapshot = await readSnapshotFile(path.join(directory, name)).catch(() => undefined)
    if (snapshot !== undefined) break
    isDamaged = true
  }
  const entries: RaftEntry[] = []
  for (const name of names) {
    const firstIndex = segmentFirstIndex(name)
    if (firstIndex === undefined) continue
    const found = readableEntries(await readFile(path.join(directory, name)), firstIndex)
    for (const entry of found.entries) {
      const expected = (entries.at(-1)?.index ?? snapshot?.index ?? 0) + 1
      if (entry.index === expected) entries.push(entry)
      else if (entry.index > expected) isDamaged = true
    }
    if (!found.isWhole) isDamaged = true
  }
  const life = await readLife(directory).catch(() => undefined)
  return {
    hardState,
    snapshot,
    entries,
    lastIndex: entries.at(-1)?.index ?? snapshot?.index ?? 0,
    lastTerm: entries.at(-1)?.term ?? snapshot?.term ?? 0,
    voters: entries.findLast(entry => entry.kind === 'config')?.voters ?? snapshot?.voters ?? [],
    isDamaged,
    forgot: life?.forgot === true,
  }
}

async function readHardState(directory: string): Promise<HardState | undefined> {
  const bytes = await readSummed(path.join(directory, 'hard'))
  return bytes === undefined ? undefined : hardStateSchema.parse(unpack(bytes))
}

/**
 * Makes `self` the only voter of its own log, with everything that is readable of it: what an operator does who has lost
 * the majority for good. Entries that no majority had may come true by it, and what only the others had is lost.
 * The peer must not run.
 * @returns the new log's end
 */
export async function seizeLog(
  directory: string,
  self: PeerId,
  wallMs: number,
): Promise<{ term: number; lastIndex: number }> {
  const salvaged = await bestOf(directory)
  let store = new DiskLogStore(directory)
  let stored = await store.load().catch((error: unknown) => {
    if (hasCode(error, 'LOG_CORRUPT')) return undefined
    throw error
  })
  const lastIndex = stored?.state.entries.at(-1)?.index ?? stored?.state.snapshot?.index ?? 0
  if (stored === undefined || lastIndex < salvaged.lastIndex) {
    // Also a copy of what is about to be replaced, should this turn out to be the wrong directory.
    if (stored !== undefined) await store.close()
    await setAside(directory, 'recovered by the operator', wallMs)
    store = new DiskLogStore(directory)
    stored = await store.load()
    const { snapshot, entries } = salvaged
    const hardState = { term: Math.max(salvaged.hardState?.term ?? 0, salvaged.lastTerm) }
    if (snapshot !== undefined)
      await store.write([{ type: 'persist', seq: 0, hardState, snapshot, log: 'reset' }])
    await store.write([{ type: 'persist', seq: 0, hardState, entries }])
  }
  const known = stored.state.hardState.term
  const term = Math.max(known, salvaged.hardState?.term ?? 0, salvaged.lastTerm) + 1
  const index = Math.max(lastIndex, salvaged.lastIndex) + 1
  const timeMs = salvaged.entries.at(-1)?.timeMs ?? salvaged.snapshot?.timeMs ?? wallMs
  const config: RaftEntry = { kind: 'config', term, index, timeMs, voters: [self] }
  const settled = stored.state.life?.forgot === true
  await store.write([
    {
      type: 'persist',
      seq: 0,
      hardState: { term, votedFor: self },
      entries: [config],
      ...(settled && { settled }),
    },
  ])
  await store.close()
  return { term, lastIndex: index }
}

/** Of the log and the one that was set aside last: a recovery that was interrupted left everything in the latter. */
async function bestOf(directory: string): Promise<SalvagedLog> {
  const here = await salvageLog(directory)
  const aside = (await readLife(directory).catch(() => undefined))?.damages.at(-1)?.folder
  if (aside === undefined) return here
  const before = await salvageLog(path.join(directory, aside)).catch(() => here)
  const isBetter =
    before.lastTerm > here.lastTerm ||
    (before.lastTerm === here.lastTerm && before.lastIndex > here.lastIndex)
  return isBetter ? before : here
}
