import { asFileId, type PeerId } from '../base/index.ts'
import {
  FILE_DEFAULTS,
  parseBlockId,
  planSteps,
  REPAIR_DEFAULTS,
  REPLICATION,
  type FileServicePorts,
  type Plan,
  type RingPeer,
} from '../dht/index.ts'
import { nextTurn } from './drain.ts'
import type { DeathPlan } from './placement-messages.ts'

export interface DeathPlanParts {
  files: Pick<FileServicePorts, 'namespace' | 'slots' | 'isAlive' | 'nameOf'>
  /** Members that may own slots. */
  peers(): readonly RingPeer[]
  /** As this mesh was told, or the defaults. */
  graceMs?: number | undefined
  bytesPerSecond?: number | undefined
}

const PATHS_MAX = 100
const SLICE_BLOCKS = 5_000

/** What repair would do if this member died now: the plan that the leader would make, and the copies that follow. Changes nothing. */
export async function deathPlan(
  parts: DeathPlanParts,
  peer: PeerId,
  signal?: AbortSignal,
): Promise<DeathPlan> {
  const { files } = parts
  const survivors = parts.peers().filter(each => each.peerId !== peer && files.isAlive(each.peerId))
  const { moves } = await planned(parts, survivors, signal)
  const newOwners = new Map(moves.map(move => [move.slot, move.owners]))
  const alive = (holder: PeerId): boolean => holder !== peer && files.isAlive(holder)
  const pairs = new Map<string, DeathPlan['copies'][number]>()
  const into = new Map<PeerId, number>()
  const lost = new Map<string, number>()
  const single = new Map<string, number>()
  let [blocks, bytes, copyBlocks, copyBytes, unplaced, looked] = [0, 0, 0, 0, 0, 0]
  for (const slot of files.namespace().slotsWithData()) {
    const owners = newOwners.get(slot) ?? files.slots().row(slot).owners
    for (const block of files.namespace().blocksInSlot(slot)) {
      looked++
      if (!block.holders.includes(peer)) continue
      blocks++
      bytes += block.sizeBytes
      const sources = block.holders.filter(alive)
      if (sources.length < 2) {
        const fileId = asFileId(parseBlockId(block.blockId)?.fileId ?? '')
        const path = files.namespace().pathOf(fileId) ?? '(a file being written)'
        const counts = sources.length === 0 ? lost : single
        counts.set(path, (counts.get(path) ?? 0) + 1)
      }
      const source = sources[slot % Math.max(1, sources.length)]
      const wanted = Math.max(0, block.replication - sources.length)
      const takers = owners.filter(owner => alive(owner) && !sources.includes(owner)).slice(0, wanted)
      unplaced += wanted - takers.length
      if (source === undefined) continue
      for (const taker of takers) {
        const key = `${source}>${taker}`
        const pair = pairs.get(key) ?? {
          from: files.nameOf(source),
          to: files.nameOf(taker),
          blocks: 0,
          bytes: 0,
        }
        pair.blocks++
        pair.bytes += block.sizeBytes
        pairs.set(key, pair)
        into.set(taker, (into.get(taker) ?? 0) + block.sizeBytes)
        copyBlocks++
        copyBytes += block.sizeBytes
      }
    }
    if (looked < SLICE_BLOCKS) continue
    looked = 0
    await nextTurn()
    signal?.throwIfAborted()
  }
  const bytesPerSecond = parts.bytesPerSecond ?? FILE_DEFAULTS.copyBytesPerSecond
  const worst = (counts: ReadonlyMap<string, number>): { path: string; blocks: number }[] =>
    [...counts]
      .map(([path, count]) => ({ path, blocks: count }))
      .sort((a, b) => b.blocks - a.blocks || (a.path < b.path ? -1 : 1))
      .slice(0, PATHS_MAX)
  const sum = (counts: ReadonlyMap<string, number>): number => [...counts.values()].reduce((a, b) => a + b, 0)
  return {
    peerId: peer,
    name: files.nameOf(peer),
    blocks,
    bytes,
    copies: [...pairs.values()].sort((a, b) => b.bytes - a.bytes),
    copyBlocks,
    copyBytes,
    graceMs: parts.graceMs ?? REPAIR_DEFAULTS.graceMs,
    copyMs: (Math.max(0, ...into.values()) * 1_000) / bytesPerSecond,
    bytesPerSecond,
    unplaced,
    lost: worst(lost),
    lostBlocks: sum(lost),
    single: worst(single),
    singleBlocks: sum(single),
  }
}

async function planned(
  { files }: DeathPlanParts,
  survivors: readonly RingPeer[],
  signal: AbortSignal | undefined,
): Promise<Plan> {
  const slots = files.slots()
  const table = Array.from({ length: slots.slotCount }, (_, slot) => {
    const { owners, pending } = slots.row(slot)
    return pending.length > 0 ? pending : owners
  })
  const steps = planSteps(table, survivors, REPLICATION)
  for (;;) {
    const { done, value } = steps.next()
    if (done === true) return value
    await nextTurn()
    signal?.throwIfAborted()
  }
}
