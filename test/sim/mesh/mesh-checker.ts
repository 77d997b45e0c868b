import { pack } from '../../../src/base/index.ts'
import type { ApplyContext, BlockId, PeerId } from '../../../src/base/index.ts'
import type { SlotBlock } from '../../../src/dht/index.ts'
import { replicaTargets } from '../../../src/dht/file-ports.ts'
import { repairMember } from '../../../src/node/leader-role.ts'
import { ReplicatedState } from '../../../src/node/replicated-state.machine.ts'
import type { LogCommand } from '../../../src/node/replicated-state.machine.ts'
import { check } from '../check.ts'
import type { SimBlockStore } from './sim-block-store.ts'

/** Slots of simulated meshes: few, so that plans are cheap and every slot gets data. */
export const SIM_SLOTS = 64
/** Where quotas are set. */
export const SMALL_DIRECTORY = '/small'
/** Slots with data that may be in motion at a time. */
const MOVING_MAX = SIM_SLOTS / 4
/** How long a copy that nobody needs may stay once all is well: grace and sweeps of the collector, with room. */
const USELESS_MS = 20_000

/**
 * What the mesh promises about files and their copies, told by looking at all disks and states from outside
 * (invariants 6, 13–16 and 19 of the protocols page). Keeps a state of its own, fed with each entry as the first peer
 * applies it: that is what the mesh has agreed upon.
 */
export class MeshChecker {
  readonly truth = new ReplicatedState({ slotCount: SIM_SLOTS })
  truthIndex = 0
  /** Answers of the state machine by index. */
  readonly #answers = new Map<number, string>()
  readonly #stores = new Map<PeerId, SimBlockStore>()
  /** SHA-256 of what each block was written as. */
  readonly #written = new Map<BlockId, string>()
  /** Copies that a fault took although the log had named them: what the promise leaves open. */
  readonly #harmed = new Set<string>()
  #uselessSince = new Map<string, number>()
  /** Index at which each peer's state was compared last. */
  readonly #comparedAt = new Map<PeerId, number>()
  #packedTruth = { index: -1, bytes: pack(undefined) }
  deletions = 0
  /** Of all copies that were made for repair, or mended. */
  copiedBytes = 0

  addStore(peer: PeerId, store: SimBlockStore): void {
    this.#stores.set(peer, store)
  }

  removeStore(peer: PeerId): void {
    this.#stores.delete(peer)
  }

  applied(peer: PeerId, command: LogCommand, context: ApplyContext, answer: string): void {
    const { index } = context
    if (index > this.truthIndex) {
      this.truthIndex = index
      const own = canonical(this.truth.apply(command, context))
      this.#answers.set(index, own)
      this.#agreed(command)
    }
    const known = this.#answers.get(index)
    check(known === answer, `${peer} answers ${answer} to entry ${index}, others ${known}`)
  }

  writing(blockId: BlockId, sha256: string): void {
    this.#written.set(blockId, sha256)
  }

  /** A peer has deleted its copy, of its own accord. */
  deleted(peer: PeerId, blockId: BlockId): void {
    this.deletions++
    const block = this.#visible(blockId)
    if (block === undefined) {
      const file = this.truth.namespace.isReferenced(blockId)
      check(!file, `${peer} deletes its copy of ${blockId}, which an open write has under its lease`)
      return
    }
    const left = this.#goodCopies(blockId)
    check(left.length > 0, `${peer} deletes the last good copy of ${blockId}`)
  }

  // ---- What a fault may do

  /**
   * Whether the log promises that this block survives the loss of this peer's copy: another holder by name, whose copy
   * no fault has touched. Deliberately the log's word and not the disks': the promise is what is under test.
   */
  mayHarm(peer: PeerId, blockId: BlockId): boolean {
    const block = this.#visible(blockId)
    // What a writer has been told is safe counts, although the log does not know its holders yet.
    if (block === undefined) return !this.truth.namespace.isReferenced(blockId)
    const { slots, members } = this.truth
    const ports = { slots: () => slots, peers: () => members.members().map(member => repairMember(member)) }
    // A copy that is too many may be on its way out, and those that stay have been looked at by now.
    const promised = [
      ...replicaTargets(ports, block.slot, block.replication),
      ...slots.row(block.slot).retiring,
    ]
    return block.holders.some(
      holder =>
        holder !== peer &&
        promised.includes(holder) &&
        this.#stores.has(holder) &&
        !this.#harmed.has(keyOf(blockId, holder)),
    )
  }

  /** The copy is gone or wrong from now on, until it is written anew. */
  harmed(peer: PeerId, blockId: BlockId): void {
    this.#harmed.add(keyOf(blockId, peer))
  }

  /** Whether every block survives the loss of all copies of this peer. */
  mayLose(peer: PeerId): boolean {
    const named = this.#visibleBlocks().filter(({ holders }) => holders.includes(peer))
    const blocks = [...named.map(({ blockId }) => blockId), ...(this.#stores.get(peer)?.list() ?? [])]
    return blocks.every(blockId => this.mayHarm(peer, blockId))
  }

  /**
   * A peer leaves, because everything of it is elsewhere: then the log names it nowhere. That others have what it had is
   * what all other promises are about, from now on without its disk.
   */
  departs(peer: PeerId): void {
    const { slots } = this.truth
    for (let slot = 0; slot < SIM_SLOTS; slot++) {
      const { owners, pending, retiring } = slots.row(slot)
      const named = [...owners, ...pending, ...retiring].includes(peer)
      check(!named, `${peer} leaves while it owns slot ${slot}`)
    }
    const holding = this.#visibleBlocks().find(({ holders }) => holders.includes(peer))
    check(holding === undefined, `${peer} leaves while it is a holder of ${holding?.blockId}`)
  }

  loses(peer: PeerId): void {
    for (const { blockId, holders } of this.#visibleBlocks())
      if (holders.includes(peer)) this.harmed(peer, blockId)
  }

  // ---- Looked at again and again

  /** All promises that hold at any time. */
  assertPromises(nowMs: number): void {
    this.#watchUseless(nowMs)
    this.truth.assertInvariants()
    const moving = this.truth.slots.moving().length
    check(moving <= MOVING_MAX, `${moving} of ${SIM_SLOTS} slots are in motion`)
    this.#assertQuota()
    for (const { blockId, holders } of this.#visibleBlocks()) {
      const good = this.#goodCopies(blockId)
      for (const peer of good) this.#harmed.delete(keyOf(blockId, peer))
      check(good.length > 0, `no disk has a good copy of ${blockId}; the log names ${holders.join(', ')}`)
    }
  }

  /** A peer that has applied just what was agreed upon so far has the same state. */
  assertSameState(peer: PeerId, state: ReplicatedState, stateIndex: number | undefined): void {
    if (stateIndex !== this.truthIndex || this.#comparedAt.get(peer) === stateIndex) return
    this.#comparedAt.set(peer, stateIndex)
    if (this.#packedTruth.index !== stateIndex)
      this.#packedTruth = { index: stateIndex, bytes: pack(this.truth.snapshot()) }
    const { bytes } = this.#packedTruth
    const own = state.snapshot()
    // The slow way only when the fast one finds a difference, which may be just the order of fields.
    const same = Buffer.compare(bytes, pack(own)) === 0 || canonical(own) === canonical(this.truth.snapshot())
    check(same, `the state of ${peer} at ${stateIndex} is not what the log makes of it`)
  }

  // ---- After healing

  /** Undefined when all is as it should be; else what is not yet. */
  unhealed(
    live: ReadonlySet<PeerId>,
    replication: number,
    hosts: ReadonlyMap<PeerId, string>,
    nowMs: number,
  ): string | undefined {
    const { slots, members } = this.truth
    const wanted = Math.min(replication, live.size)
    for (const member of members.members()) {
      const up = member.state === 'up'
      if (up !== live.has(member.peerId)) return `${member.peerId} is ${member.state}`
      if (up && member.draining) return `${member.peerId} is still being drained`
    }
    if (slots.moving().length > 0) return `${slots.moving().length} slots are in motion`
    const hostsWanted = Math.min(wanted, new Set([...live].map(peer => hosts.get(peer))).size)
    for (let slot = 0; slot < SIM_SLOTS; slot++) {
      const { owners } = slots.row(slot)
      const alive = owners.filter(peer => live.has(peer))
      if (alive.length < wanted) return `slot ${slot} has ${alive.length} of ${wanted} living owners`
      const distinct = new Set(alive.map(peer => hosts.get(peer))).size
      if (distinct < hostsWanted) return `slot ${slot} is on ${distinct} of ${hostsWanted} hosts`
    }
    for (const { blockId, holders, replication: asked } of this.#visibleBlocks()) {
      const good = this.#goodCopies(blockId)
      const claimed = holders.filter(peer => live.has(peer))
      const copies = Math.min(asked, live.size)
      if (claimed.length < copies) return `${blockId} has ${claimed.length} of ${copies} living holders`
      const lacking = claimed.find(peer => !good.includes(peer))
      if (lacking !== undefined) return `${lacking} is named as holder of ${blockId} but has no good copy`
    }
    for (const [peer, store] of this.#stores) {
      for (const blockId of store.list()) {
        const sinceMs = this.#uselessSince.get(keyOf(blockId, peer)) ?? nowMs
        if (nowMs - sinceMs > USELESS_MS) return `${peer} still has ${blockId}, which nobody needs there`
      }
    }
    return undefined
  }

  #assertQuota(): void {
    const { namespace } = this.truth
    if (!namespace.exists(SMALL_DIRECTORY)) return
    const { names, bytes } = namespace.quota(SMALL_DIRECTORY)
    check(names.used <= (names.limit ?? Infinity), `${names.used} names where ${names.limit} may be`)
    check(bytes.used <= (bytes.limit ?? Infinity), `${bytes.used} bytes where ${bytes.limit} may be`)
  }

  /** Copies that no file, write or move needs, since when. */
  #watchUseless(nowMs: number): void {
    const { namespace } = this.truth
    const before = this.#uselessSince
    this.#uselessSince = new Map()
    for (const [peer, store] of this.#stores) {
      for (const blockId of store.list()) {
        const block = namespace.blockOf(blockId)
        const needed = block === undefined ? namespace.isReferenced(blockId) : block.holders.includes(peer)
        const key = keyOf(blockId, peer)
        if (!needed) this.#uselessSince.set(key, before.get(key) ?? nowMs)
      }
    }
  }

  #visible(blockId: BlockId): ReturnType<ReplicatedState['namespace']['blockOf']> {
    return this.truth.namespace.blockOf(blockId)
  }

  #visibleBlocks(): SlotBlock[] {
    const { namespace } = this.truth
    return namespace
      .slotsWithData()
      .flatMap(slot => namespace.blocksInSlot(slot))
      .filter(({ blockId }) => namespace.blockOf(blockId) !== undefined)
  }

  #goodCopies(blockId: BlockId): PeerId[] {
    const peers: PeerId[] = []
    for (const [peer, store] of this.#stores)
      if (store.isGood(blockId, this.#written.get(blockId))) peers.push(peer)
    return peers
  }

  /** What becomes visible was written in full, and is what its writer wrote. */
  #agreed(command: LogCommand): void {
    if (command.part !== 'dht' || command.command.type !== 'add-blocks') return
    for (const { blockId, sha256 } of command.command.blocks)
      check(
        this.#written.get(blockId) === sha256,
        `${blockId} is reported with another checksum than it was written with`,
      )
  }
}

/** Equal for values that mean the same, whatever the order of their fields. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  )
}

function keyOf(blockId: BlockId, peer: PeerId): string {
  return `${blockId}>${peer}`
}
