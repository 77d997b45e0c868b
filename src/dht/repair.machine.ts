import { invariant, type BlockId, type PeerId } from '../base/index.ts'
import { NAMESPACE_DEFAULTS, REPAIR_DEFAULTS, type RepairOptions } from './config.ts'
import type { NamespaceView, ReportHolders, SlotBlock } from './namespace-types.ts'
import { plan } from './placement.ts'
import { replicaOwners, type RingPeer } from './ring.ts'
import { slotBatch, type SlotCommand, type SlotRow, type SlotView } from './slot-table.machine.ts'

/** A member of the mesh as the log knows it; weight 0 while it is being drained. */
export interface RepairMember extends RingPeer {
  state: 'alive' | 'dead' | 'left'
}

export type RepairEvent =
  /** All members, whenever one changed; first of all events. */
  | { type: 'members-changed'; members: readonly RepairMember[] }
  /** Holders or files changed in these slots by somebody else's command. */
  | { type: 'blocks-changed'; slots: readonly number[] }
  /** The target has written, verified and synced the copy. */
  | { type: 'copy-finished'; blockId: BlockId; to: PeerId }
  | { type: 'copy-failed'; blockId: BlockId; to: PeerId }
  /** The peer has deleted its copy, or could not be told; then its own garbage collection does it later. */
  | { type: 'drop-settled'; blockId: BlockId; peer: PeerId }
  /** The command was applied here (`accepted`: by the sub-machine too), or it was not or nobody knows. */
  | { type: 'proposal-settled'; id: number; accepted: boolean }
  | { type: 'tick' }

export type RepairEffect =
  | { type: 'propose'; id: number; command: SlotCommand | ReportHolders }
  /** Ask `to` to pull the block from one of `from`, best first, and to verify it. */
  | {
      type: 'copy'
      slot: number
      blockId: BlockId
      sizeBytes: number
      sha256: string
      to: PeerId
      from: readonly PeerId[]
    }
  /** Tell the peer, which the log no longer names as holder, that it may delete its copy. */
  | { type: 'drop'; slot: number; blockId: BlockId; peer: PeerId }

export interface RepairStatus {
  /** Slots whose owners are to change, not begun yet. */
  waitingSlots: number
  /** Slots in motion: begun or retiring. */
  movingSlots: number
  copies: number
  /** Slots still to be looked at. */
  unscannedSlots: number
}

export interface RepairViews {
  slots: SlotView
  blocks: Pick<NamespaceView, 'blocksInSlot' | 'slotsWithData'>
}

interface Copy {
  slot: number
  blockId: BlockId
  to: PeerId
  sinceMs: number
  /** False when the copy is made and only its report is to come: it no longer burdens anyone. */
  running: boolean
}

interface Proposal {
  id: number
  sinceMs: number
  slots: readonly number[]
  /** Of a report: what it says, to say it again when it failed. */
  changes: readonly HolderChange[]
}

interface HolderChange {
  slot: number
  blockId: BlockId
  peer: PeerId
  what: 'add' | 'remove'
}

/** Rows of one slot command: 2,048 rows of three owners are about 20 KiB. */
const ROWS_MAX = 2048
/** Doublings of the wait after failures of one copy. */
const BACKOFF_MAX = 5

/**
 * Brings the slot table to what placement plans for the living members, and every block to the peers that should hold it.
 * Runs on the leader only, and keeps nothing that the replicated state does not know: a new leader starts an empty machine,
 * which looks at every slot and goes on with moves under way.
 *
 * It compares and acts, again and again, slot by slot:
 * 1. goals: what `plan` wants → assign (no data: at once) or begin (data), most endangered slots first;
 * 2. a block that a living owner (to be) lacks → copy from living holders;
 * 3. all new owners of a move have all blocks that anyone still has → promote;
 * 4. all owners have them too → retire the dropped owners;
 * 5. holders that should not be, while enough that should are → the log forgets them, then they may delete.
 *
 * Invariants: at most one table command and one report under way; copies within their bounds; no copy to a dead peer;
 * nothing is dropped unless as many living peers as wanted (or as there are) hold the block.
 */
export class Repair {
  readonly #options: RepairOptions
  readonly #views: RepairViews
  readonly #members = new Map<PeerId, RepairMember>()
  /** When each dead peer was first seen dead by this machine. */
  readonly #deadSinceMs = new Map<PeerId, number>()
  /** Members that may own slots: alive, or dead for less than the grace. */
  #eligible: readonly RingPeer[] = []
  /** Living peers that may own slots: more copies than these cannot be asked for. */
  #owningCount = 0
  #goals = new Map<number, PeerId[]>()
  #planStale = true
  /** Slots to look at, in order. */
  readonly #unscanned = new Set<number>()
  readonly #promotable = new Set<number>()
  readonly #retirable = new Set<number>()
  readonly #copies = new Map<string, Copy>()
  readonly #backoff = new Map<string, { failures: number; untilMs: number }>()
  /** Holder changes to be reported, and those under way in `#report`. */
  #changes: HolderChange[] = []
  /** Copies that should not be, from the decision until the peer has deleted its own: since when. */
  readonly #removals = new Map<string, number>()
  #table: Proposal | undefined
  #report: Proposal | undefined
  #lastId = 0
  /** After a failed command nothing is proposed before this time. */
  #quietUntilMs = 0
  #rescannedMs: number | undefined
  #effects: RepairEffect[] = []

  constructor(options: Partial<RepairOptions>, views: RepairViews) {
    this.#options = { ...REPAIR_DEFAULTS, ...options }
    this.#views = views
    this.#lookAt(views.blocks.slotsWithData())
    this.#lookAt(views.slots.moving())
  }

  step(event: RepairEvent, nowMs: number): RepairEffect[] {
    switch (event.type) {
      case 'members-changed':
        this.#onMembers(event.members, nowMs)
        break
      case 'blocks-changed':
        this.#lookAt(event.slots)
        break
      case 'copy-finished':
        this.#onCopyFinished(event.blockId, event.to)
        break
      case 'copy-failed':
        this.#onCopyFailed(event.blockId, event.to, nowMs)
        break
      case 'proposal-settled':
        this.#onSettled(event.id, event.accepted, nowMs)
        break
      case 'drop-settled':
        this.#removals.delete(keyOf(event.blockId, event.peer))
        break
      case 'tick':
        break
    }
    this.#expire(nowMs)
    this.#rescan(nowMs)
    this.#replan(nowMs)
    this.#scan(nowMs)
    this.#proposeTable(nowMs)
    this.#proposeReport(nowMs)
    const effects = this.#effects
    this.#effects = []
    return effects
  }

  status(): RepairStatus {
    return {
      waitingSlots: this.#goals.size,
      movingSlots: this.#views.slots.moving().length,
      copies: this.#running().length,
      unscannedSlots: this.#unscanned.size,
    }
  }

  #onMembers(members: readonly RepairMember[], nowMs: number): void {
    this.#members.clear()
    for (const member of members) {
      this.#members.set(member.peerId, member)
      if (member.state !== 'dead') this.#deadSinceMs.delete(member.peerId)
      else if (!this.#deadSinceMs.has(member.peerId)) this.#deadSinceMs.set(member.peerId, nowMs)
    }
    this.#owningCount = members.filter(member => member.state === 'alive' && member.weight > 0).length
    for (const copy of this.#running())
      if (!this.#isAlive(copy.to)) this.#onCopyFailed(copy.blockId, copy.to, nowMs)
    this.#planStale = true
  }

  #onCopyFinished(blockId: BlockId, to: PeerId): void {
    const copy = this.#copies.get(keyOf(blockId, to))
    if (copy === undefined || !copy.running) return
    copy.running = false
    this.#backoff.delete(keyOf(blockId, to))
    this.#changes.push({ slot: copy.slot, blockId, peer: to, what: 'add' })
  }

  #onCopyFailed(blockId: BlockId, to: PeerId, nowMs: number): void {
    const key = keyOf(blockId, to)
    const copy = this.#copies.get(key)
    if (copy === undefined || !copy.running) return
    this.#copies.delete(key)
    const failures = (this.#backoff.get(key)?.failures ?? 0) + 1
    const waitMs = this.#options.retryMs * 2 ** Math.min(failures - 1, BACKOFF_MAX)
    this.#backoff.set(key, { failures, untilMs: nowMs + waitMs })
    this.#lookAt([copy.slot])
  }

  #onSettled(id: number, accepted: boolean, nowMs: number): void {
    if (!accepted) this.#quietUntilMs = nowMs + this.#options.retryMs
    if (this.#table?.id === id) {
      this.#lookAt(this.#table.slots)
      // Somebody else changed the table, or nobody knows: plan from what it is now.
      if (!accepted) this.#planStale = true
      this.#table = undefined
    } else if (this.#report?.id === id) {
      const { changes } = this.#report
      this.#report = undefined
      if (!accepted) this.#changes.unshift(...changes)
      else for (const change of changes) this.#onReported(change, nowMs)
    }
  }

  #onReported({ slot, blockId, peer, what }: HolderChange, nowMs: number): void {
    const key = keyOf(blockId, peer)
    const block = this.#views.blocks.blocksInSlot(slot).find(each => each.blockId === blockId)
    // The namespace does not forget the last holder, whatever was asked.
    const forgotten = block === undefined || !block.holders.includes(peer)
    if (what === 'add') this.#copies.delete(key)
    else if (forgotten && this.#isAlive(peer)) {
      this.#removals.set(key, nowMs)
      this.#effects.push({ type: 'drop', slot, blockId, peer })
    } else this.#removals.delete(key)
    this.#lookAt([slot])
  }

  /** What nobody reported on is given up: the driver lost it, or the peer hangs. */
  #expire(nowMs: number): void {
    const oldestMs = nowMs - this.#options.effectTimeoutMs
    for (const copy of this.#running()) {
      if (copy.sinceMs < oldestMs) this.#onCopyFailed(copy.blockId, copy.to, nowMs)
    }
    for (const proposal of [this.#table, this.#report]) {
      if (proposal !== undefined && proposal.sinceMs < oldestMs) this.#onSettled(proposal.id, false, nowMs)
    }
    const unsettled = new Set(this.#unsettledChanges().map(({ blockId, peer }) => keyOf(blockId, peer)))
    for (const [key, sinceMs] of this.#removals) {
      if (sinceMs < oldestMs && !unsettled.has(key)) this.#removals.delete(key)
    }
  }

  #rescan(nowMs: number): void {
    this.#rescannedMs ??= nowMs
    if (nowMs - this.#rescannedMs < this.#options.rescanMs) return
    this.#lookAt(this.#views.blocks.slotsWithData())
    // Most are of blocks that are gone.
    for (const [key, { untilMs }] of this.#backoff) if (untilMs < this.#rescannedMs) this.#backoff.delete(key)
    this.#rescannedMs = nowMs
  }

  #replan(nowMs: number): void {
    const eligible = [...this.#members.values()].filter(member => this.#mayOwn(member, nowMs))
    if (eligible.length !== this.#eligible.length) this.#planStale = true
    if (!this.#planStale || this.#table !== undefined || this.#members.size === 0) return
    const { slots } = this.#views
    const table = Array.from({ length: slots.slotCount }, (_, slot) => {
      const { owners, pending } = slots.row(slot)
      return pending.length > 0 ? pending : owners
    })
    this.#eligible = eligible
    this.#goals = new Map(
      plan(table, eligible, this.#options.replication).map(move => [move.slot, move.owners]),
    )
    this.#planStale = false
    this.#lookAt(slots.moving())
    this.#lookAt(this.#views.blocks.slotsWithData())
  }

  #mayOwn(member: RepairMember, nowMs: number): boolean {
    if (member.state === 'alive') return true
    if (member.state === 'left') return false
    return nowMs - this.#deadSinceMs.get(member.peerId)! < this.#options.graceMs
  }

  #scan(nowMs: number): void {
    let budget = this.#options.scanBlocksMax
    const again: number[] = []
    for (const slot of this.#unscanned) {
      if (budget <= 0) break
      this.#unscanned.delete(slot)
      const blocks = this.#views.blocks.blocksInSlot(slot)
      budget -= blocks.length + 1
      if (!this.#scanSlot(slot, blocks, nowMs)) again.push(slot)
    }
    this.#lookAt(again)
  }

  /** False when copies had to wait, so that the slot must be looked at again without anything happening to it. */
  #scanSlot(slot: number, blocks: readonly SlotBlock[], nowMs: number): boolean {
    const row = this.#views.slots.row(slot)
    const added = row.pending.filter(peer => !row.owners.includes(peer))
    let allStarted = true
    let addedHold = added.every(peer => this.#isAlive(peer))
    let allSafe = true
    for (const block of blocks) {
      // A copy that is about to be deleted no longer counts, even if its peer is to be an owner again.
      const holders = block.holders.filter(peer => !this.#removals.has(keyOf(block.blockId, peer)))
      const sources = holders.filter(peer => this.#isAlive(peer))
      // Nothing can be done for a block without living holders but wait for one: it must not hold up the others.
      if (sources.length === 0) continue
      const wanted = this.#wantedHolders(slot, row, block.replication)
      for (const peer of wanted) {
        if (holders.includes(peer) || !this.#isAlive(peer)) continue
        if (added.includes(peer)) addedHold = false
        if (!this.#startCopy(slot, block, peer, sources, nowMs)) allStarted = false
      }
      const safe =
        wanted.filter(peer => sources.includes(peer)).length >= Math.min(block.replication, this.#owningCount)
      if (!safe) allSafe = false
      else if (row.pending.length === 0) this.#removeSurplus(slot, { ...block, holders }, row, wanted, nowMs)
    }
    setMembership(this.#promotable, slot, row.pending.length > 0 && (addedHold || blocks.length === 0))
    setMembership(this.#retirable, slot, row.pending.length === 0 && row.retiring.length > 0 && allSafe)
    return allStarted
  }

  /** Owners, and owners to be; more of the ring when the file wants more copies than a slot has owners. */
  #wantedHolders(slot: number, { owners, pending }: SlotRow, replication: number): PeerId[] {
    const wanted = new Set(replicaOwners(slot, owners, replication, this.#eligible))
    if (pending.length > 0) {
      for (const peer of replicaOwners(slot, pending, replication, this.#eligible)) wanted.add(peer)
    }
    return [...wanted]
  }

  /** False when it has to wait. */
  #startCopy(slot: number, block: SlotBlock, to: PeerId, sources: readonly PeerId[], nowMs: number): boolean {
    const { blockId, sizeBytes, sha256 } = block
    const key = keyOf(blockId, to)
    if (this.#copies.has(key)) return true
    // Else the deletion that is on its way could hit the new copy.
    if (this.#removals.has(key)) return false
    const running = this.#running()
    const busy = running.length >= this.#options.copiesMax
    const targetBusy = running.filter(copy => copy.to === to).length >= this.#options.copiesPerPeerMax
    if (busy || targetBusy || (this.#backoff.get(key)?.untilMs ?? 0) > nowMs) return false
    this.#copies.set(key, { slot, blockId, to, sinceMs: nowMs, running: true })
    // Another holder first for every other target and slot, so that not all pull from the same.
    const first = (slot + running.length) % sources.length
    const from = [...sources.slice(first), ...sources.slice(0, first)]
    this.#effects.push({ type: 'copy', slot, blockId, sizeBytes, sha256, to, from })
    return true
  }

  #removeSurplus(
    slot: number,
    { blockId, holders }: SlotBlock,
    row: SlotRow,
    wanted: readonly PeerId[],
    nowMs: number,
  ): void {
    for (const peer of holders) {
      // Retiring peers keep theirs until the log says so; a dead one's are left alone while it may come back soon.
      if (wanted.includes(peer) || row.retiring.includes(peer)) continue
      if (!this.#isAlive(peer) && this.#eligible.some(member => member.peerId === peer)) continue
      this.#removals.set(keyOf(blockId, peer), nowMs)
      this.#changes.push({ slot, blockId, peer, what: 'remove' })
    }
  }

  #proposeTable(nowMs: number): void {
    if (this.#table !== undefined || nowMs < this.#quietUntilMs) return
    const { slots, blocks } = this.#views
    const send = (
      type: SlotCommand['type'],
      chosen: readonly number[],
      owners: (slot: number) => PeerId[],
    ): boolean => {
      if (chosen.length === 0) return false
      const named = chosen.slice(0, ROWS_MAX)
      const changes = named.map(slot => ({ slot, epoch: slots.row(slot).epoch, owners: owners(slot) }))
      this.#table = { id: ++this.#lastId, sinceMs: nowMs, slots: named, changes: [] }
      const command: SlotCommand = { type, batch: slotBatch(changes) }
      this.#effects.push({ type: 'propose', id: this.#lastId, command })
      for (const slot of named) {
        this.#promotable.delete(slot)
        this.#retirable.delete(slot)
        if (type === 'slots-assign' || type === 'slot-move-begin') this.#goals.delete(slot)
      }
      return true
    }
    const none = (): PeerId[] => []
    const goalOf = (slot: number): PeerId[] => this.#goals.get(slot)!
    if (
      send(
        'slot-move-promote',
        [...this.#promotable].filter(slot => !this.#goals.has(slot)),
        none,
      )
    )
      return
    if (send('slot-move-retire', [...this.#retirable], none)) return
    const withGoal = [...this.#goals.keys()]
    if (withGoal.length === 0) return
    if (
      send(
        'slot-move-cancel',
        withGoal.filter(slot => slots.row(slot).pending.length > 0),
        none,
      )
    )
      return
    this.#forgetReachedGoals()
    const withData = new Set(blocks.slotsWithData())
    const free = (slot: number): boolean => slots.row(slot).owners.length === 0 || !withData.has(slot)
    const still = (slot: number): boolean => slots.row(slot).retiring.length === 0
    if (
      send(
        'slots-assign',
        [...this.#goals.keys()].filter(slot => free(slot) && still(slot)),
        goalOf,
      )
    )
      return
    const room =
      Math.max(1, Math.floor(this.#options.movingShareMax * slots.slotCount)) - slots.moving().length
    const endangered = [...this.#goals.keys()]
      .filter(slot => !free(slot))
      .map(slot => ({ slot, live: slots.row(slot).owners.filter(peer => this.#isAlive(peer)).length }))
      .sort((a, b) => a.live - b.live || a.slot - b.slot)
    send(
      'slot-move-begin',
      endangered.slice(0, Math.max(0, room)).map(({ slot }) => slot),
      goalOf,
    )
  }

  /** A cancelled move can leave a slot with just the owners it should have. */
  #forgetReachedGoals(): void {
    for (const [slot, goal] of this.#goals) {
      const { owners } = this.#views.slots.row(slot)
      if (goal.length === owners.length && goal.every(peer => owners.includes(peer))) this.#goals.delete(slot)
    }
  }

  #proposeReport(nowMs: number): void {
    if (this.#report !== undefined || this.#changes.length === 0 || nowMs < this.#quietUntilMs) return
    const byBlock = new Map<BlockId, ReportHolders['blocks'][number]>()
    let taken = 0
    for (const { blockId, peer, what } of this.#changes) {
      let block = byBlock.get(blockId)
      if (block === undefined) {
        if (byBlock.size >= NAMESPACE_DEFAULTS.blocksPerCommandMax) break
        byBlock.set(blockId, (block = { blockId }))
      }
      const peers = (block[what] ??= [])
      peers.push(peer)
      taken++
    }
    const changes = this.#changes.splice(0, taken)
    this.#report = { id: ++this.#lastId, sinceMs: nowMs, slots: [], changes }
    const command: ReportHolders = { type: 'report-holders', blocks: [...byBlock.values()] }
    this.#effects.push({ type: 'propose', id: this.#lastId, command })
  }

  #lookAt(slots: Iterable<number>): void {
    for (const slot of slots) this.#unscanned.add(slot)
  }

  #running(): Copy[] {
    return [...this.#copies.values()].filter(copy => copy.running)
  }

  #unsettledChanges(): HolderChange[] {
    return [...this.#changes, ...(this.#report?.changes ?? [])]
  }

  #isAlive(peer: PeerId): boolean {
    return this.#members.get(peer)?.state === 'alive'
  }

  assertInvariants(): void {
    const running = this.#running()
    invariant(running.length <= this.#options.copiesMax, 'copies are bounded')
    for (const { to } of running) {
      invariant(this.#isAlive(to), 'copies go to living peers')
      const count = running.filter(copy => copy.to === to).length
      invariant(count <= this.#options.copiesPerPeerMax, 'copies to one peer are bounded')
    }
    for (const { blockId, peer, what } of this.#unsettledChanges()) {
      const known =
        what === 'add' ? this.#copies.has(keyOf(blockId, peer)) : this.#removals.has(keyOf(blockId, peer))
      invariant(known, 'a change to be reported is remembered until it was')
    }
  }
}

function keyOf(blockId: BlockId, peer: PeerId): string {
  return `${blockId}>${peer}`
}

function setMembership(set: Set<number>, slot: number, wanted: boolean): void {
  if (wanted) set.add(slot)
  else set.delete(slot)
}
