import { ShoalError, type PeerId } from '../base/index.ts'
import { REPLICATION, type FileServicePorts } from '../dht/index.ts'
import type { MemberRecord } from '../gossip/index.ts'
import type { DrainProgress } from './placement-messages.ts'

export interface DrainParts {
  records(): MemberRecord[]
  voters(): readonly string[]
  files: Pick<FileServicePorts, 'namespace' | 'slots' | 'isAlive'>
}

/** Blocks looked at before others get a turn: about a millisecond. */
const SLICE_BLOCKS = 5_000

/** A member by name or id. @throws CONFIG_INVALID when there is none, or two of that name. */
export function memberCalled(records: readonly MemberRecord[], nameOrId: string): MemberRecord {
  const byId = records.find(({ peerId }) => peerId === nameOrId)
  if (byId !== undefined) return byId
  const named = records.filter(({ name }) => name === nameOrId)
  const present = named.filter(({ state }) => state !== 'left')
  const [found, second] = present.length > 0 ? present : named
  if (found !== undefined && second === undefined) return found
  const names = records
    .flatMap(({ name, state }) => (state === 'left' ? [] : [name]))
    .toSorted()
    .join(', ')
  const reason =
    found === undefined
      ? `no member is called ${nameOrId}; there are ${names}`
      : `several members are called ${nameOrId}: say which by its peer id (shoal status --json)`
  throw new ShoalError('CONFIG_INVALID', { option: 'peer', reason }, reason)
}

/** @throws DRAIN_REFUSED when too few peers would be left to hold everything as it should be. */
export function checkDrain(records: readonly MemberRecord[], member: MemberRecord, degraded: boolean): void {
  const left = records.filter(
    each => each.peerId !== member.peerId && each.state === 'up' && !each.draining && each.weight > 0,
  ).length
  if (left >= REPLICATION || (degraded && left > 0)) return
  const reason =
    left === 0
      ? 'no other peer is left to take its data'
      : `only ${left} other ${left === 1 ? 'peer takes' : 'peers take'} data, for ${REPLICATION} copies of each block: ` +
        `files would stay degraded. Start more peers first, or go on with fewer copies (--degraded)`
  throw new ShoalError(
    'DRAIN_REFUSED',
    { peer: member.name, reason },
    `${member.name} cannot be drained: ${reason}`,
  )
}

/**
 * How far a drain is, by the state applied here: looks at every block, in slices. A holder counts from when its copy was
 * verified and reported, so what is done here is done on disks.
 */
export async function drainProgress(
  parts: DrainParts,
  peer: PeerId,
  signal?: AbortSignal,
): Promise<DrainProgress> {
  const looking = lookAtDrain(parts, peer)
  for (;;) {
    const { done, value } = looking.next()
    if (done === true) return value
    await nextTurn()
    signal?.throwIfAborted()
  }
}

/** The same, a slice at each step; the state may change between two. */
export function* lookAtDrain(parts: DrainParts, peer: PeerId): Generator<void, DrainProgress, void> {
  const { files } = parts
  const records = parts.records()
  const member = memberCalled(records, peer)
  const takers = records.filter(
    each => each.peerId !== peer && each.state === 'up' && !each.draining && each.weight > 0,
  )
  const table = files.slots()
  let slots = 0
  for (let slot = 0; slot < table.slotCount; slot++) {
    const { owners, pending, retiring } = table.row(slot)
    if (owners.includes(peer) || pending.includes(peer) || retiring.includes(peer)) slots++
  }
  let [blocks, bytes, unsafe, looked] = [0, 0, 0, 0]
  for (const slot of files.namespace().slotsWithData()) {
    for (const block of files.namespace().blocksInSlot(slot)) {
      looked++
      if (!block.holders.includes(peer)) continue
      blocks++
      bytes += block.sizeBytes
      const elsewhere = block.holders.filter(
        holder => takers.some(taker => taker.peerId === holder) && files.isAlive(holder),
      ).length
      if (elsewhere < Math.min(block.replication, takers.length)) unsafe++
    }
    if (looked < SLICE_BLOCKS) continue
    looked = 0
    yield
  }
  const voters = parts.voters()
  const votes =
    voters.includes(peer) &&
    takers.some(taker => !voters.includes(taker.peerId) && files.isAlive(taker.peerId))
  const moved = member.mayDegrade === true ? unsafe === 0 && takers.length > 0 : slots === 0 && blocks === 0
  const { name, state, draining } = member
  return {
    peerId: peer,
    name,
    state,
    draining,
    slots,
    blocks,
    bytes,
    unsafe,
    votes,
    done: draining && moved && !votes,
  }
}

export async function nextTurn(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  setImmediate(resolve)
  await promise
}
