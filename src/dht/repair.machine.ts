import { invariant, type BlockId, type PeerId } from '../base/index.ts'
import { REPAIR_DEFAULTS, type RepairOptions } from './config.ts'
import type { SlotBlock } from './namespace-types.ts'
import { RepairChecks } from './repair-checks.ts'
import { RepairCopies } from './repair-copies.ts'
import { RepairGoals } from './repair-goals.ts'
import { RepairMembers } from './repair-members.ts'
import { RepairReports } from './repair-reports.ts'
import type {
  HolderChange,
  RepairEffect,
  RepairEvent,
  RepairMember,
  RepairStatus,
  RepairViews,
} from './repair-types.ts'
import { replicaOwners, type RingPeer } from './ring.ts'
import { slotBatch, type SlotCommand, type SlotRow } from './slot-table.machine.ts'

export type { RepairEffect, RepairEvent, RepairMember, RepairStatus, RepairViews } from './repair-types.ts'

interface TableProposal {
  id: number
  sinceMs: number
  slots: readonly number[]
}

/** Rows of one slot command: 2,048 rows of three owners are about 20 KiB. */
const ROWS_MAX = 2048

/**
 * Brings the slot table to what placement plans for the living members, and every block to the peers that should hold it.
 * Runs on the leader only, and keeps nothing that the replicated state does not know: a new leader starts an empty machine,
 * which looks at every slot and goes on with moves under way.
 *
 * It compares and acts, again and again, slot by slot:
 * 1. goals: what `plan` wants → assign (no data: at once) or begin (data), most endangered slots first;
 * 2. a block that a living owner (to be) lacks → copy from living holders; with one living copy left it is copied at once,
 *    to whoever can take it, before all else;
 * 3. all new owners of a move have all blocks that anyone still has → promote;
 * 4. all owners have them too → retire the dropped owners;
 * 5. holders that should not be, while enough that should are → those that stay read their copies from end to end, for the log
 *    knows nothing of rot; then the log forgets the others, then they may delete.
 *
 * Invariants: at most one table command and one report under way; copies within their bounds; no copy to a dead peer;
 * nothing is dropped unless as many living peers as wanted (or as there are) hold the block and found it good lately; no more slots in motion than
 * allowed; a plan adds no more than 1.3 times the owners that it must.
 */
export class Repair {
  readonly #options: RepairOptions
  readonly #views: RepairViews
  readonly #term: number | undefined
  readonly #members = new RepairMembers()
  readonly #goals: RepairGoals
  readonly #copies: RepairCopies
  readonly #checks: RepairChecks
  readonly #reports = new RepairReports()
  /** Members that may own slots, as of the last plan: alive, or dead for less than the grace. */
  #eligible: readonly RingPeer[] = []
  #planStale = true
  /** Slots to look at, in order; those with hardly a living owner first. */
  readonly #endangered = new Set<number>()
  readonly #unscanned = new Set<number>()
  readonly #promotable = new Set<number>()
  readonly #retirable = new Set<number>()
  #table: TableProposal | undefined
  #report: { id: number; sinceMs: number } | undefined
  #lastId = 0
  /** After a failed command nothing is proposed before this time. */
  #quietUntilMs = 0
  #rescannedMs: number | undefined
  #scanCut = false
  #effects: RepairEffect[] = []

  /** @param term of this leader; its reports are void in another one. Without it they are taken in any. */
  constructor(options: Partial<RepairOptions>, views: RepairViews, term?: number) {
    this.#options = { ...REPAIR_DEFAULTS, ...options }
    this.#views = views
    this.#term = term
    this.#goals = new RepairGoals(views.slots)
    this.#copies = new RepairCopies(this.#options)
    this.#checks = new RepairChecks(this.#options)
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
      case 'copy-finished': {
        const copy = this.#copies.finish(event.blockId, event.to)
        if (copy === undefined) break
        this.#reports.added(copy.slot, copy.blockId, copy.to)
        this.#checks.written(copy.blockId, copy.to, nowMs)
        break
      }
      case 'copy-failed':
        this.#onCopyFailed(event.blockId, event.to, nowMs)
        break
      case 'check-settled':
        this.#onChecked(event.blockId, event.peer, event.good, nowMs)
        break
      case 'proposal-settled':
        this.#onSettled(event.id, event.accepted, nowMs)
        break
      case 'drop-settled':
        this.#reports.settled(event.blockId, event.peer)
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

  /** There is more to compute: give it another tick soon. */
  get isBusy(): boolean {
    return this.#goals.planning || this.#scanCut
  }

  status(): RepairStatus {
    return {
      waitingSlots: this.#goals.size,
      movingSlots: this.#views.slots.moving().length,
      copies: this.#copies.runningCount,
      urgentCopies: this.#copies.urgentCount,
      checks: this.#checks.runningCount,
      unscannedSlots: this.#unscanned.size + this.#endangered.size,
      planning: this.#goals.planning,
      lastPlan: this.#goals.lastPlan,
    }
  }

  // ---- The rules, which tests replace by wrong ones.

  /** May the new owners become the owners? `verified`: all of them live and hold all that anyone living does. */
  protected mayPromote(verified: boolean): boolean {
    return verified
  }

  /** May the old owners be let go? `safe`: each block is on as many living owners as wanted. */
  protected mayRetire(safe: boolean): boolean {
    return safe
  }

  /** May copies on others than the owners go? `held`: living owners that have the block. */
  protected mayForget(held: number, wanted: number): boolean {
    return held >= wanted
  }

  /** Must those that keep their copies of a block look at them before another goes? A dead peer's copy goes by name only. */
  protected mustCheck(goes: PeerId): boolean {
    return this.#members.isAlive(goes)
  }

  /** Must it be copied now, whatever the grace and the load? `live`: its copies on living peers. */
  protected isUrgent(live: number): boolean {
    return live === 1
  }

  /** How many more slots may be set in motion. */
  protected roomToMove(moving: number): number {
    const { slots } = this.#views
    const share = Math.floor(this.#options.movingShareMax * slots.slotCount)
    return Math.max(0, Math.max(1, Math.min(share, slots.movingMax)) - moving)
  }

  /** May it go on owning slots? `deadForMs`: undefined while it lives. */
  protected keepsSlots(member: RepairMember, deadForMs: number | undefined): boolean {
    if (member.state === 'left') return false
    return deadForMs === undefined || deadForMs < this.#options.graceMs
  }

  /** The members as placement is to see them. */
  protected placed(members: readonly RingPeer[]): readonly RingPeer[] {
    return members
  }

  // ---- Events

  #onMembers(members: readonly RepairMember[], nowMs: number): void {
    this.#members.update(members, nowMs)
    for (const { blockId, to } of this.#copies.running())
      if (!this.#members.isAlive(to)) this.#onCopyFailed(blockId, to, nowMs)
    for (const { blockId, peer } of this.#checks.running())
      if (!this.#members.isAlive(peer)) this.#onChecked(blockId, peer, false, nowMs)
    this.#planStale = true
    this.#endangered.clear()
    const { slots, blocks } = this.#views
    if (this.#members.owningCount < 2) return
    for (const slot of blocks.slotsWithData()) {
      const live = slots.row(slot).owners.filter(peer => this.#members.isAlive(peer)).length
      if (live >= 2) continue
      this.#endangered.add(slot)
      this.#unscanned.delete(slot)
    }
  }

  #onCopyFailed(blockId: BlockId, to: PeerId, nowMs: number): void {
    const copy = this.#copies.fail(blockId, to, nowMs)
    if (copy !== undefined) this.#lookAt([copy.slot])
  }

  #onChecked(blockId: BlockId, peer: PeerId, good: boolean, nowMs: number): void {
    const check = this.#checks.settle(blockId, peer, good, nowMs)
    if (check !== undefined) this.#lookAt([check.slot])
  }

  #onSettled(id: number, accepted: boolean, nowMs: number): void {
    if (this.#table?.id === id) {
      this.#lookAt(this.#table.slots)
      // Somebody else changed the table, or nobody knows: plan from what it is now.
      if (!accepted) this.#planStale = true
      this.#table = undefined
    } else if (this.#report?.id === id) {
      this.#report = undefined
      if (!accepted) this.#reports.refused()
      else for (const change of this.#reports.accepted()) this.#onReported(change, nowMs)
    } else return
    if (!accepted) this.#quietUntilMs = nowMs + this.#options.retryMs
  }

  #onReported({ slot, blockId, peer, what }: HolderChange, nowMs: number): void {
    const block = this.#views.blocks.blocksInSlot(slot).find(each => each.blockId === blockId)
    // The namespace does not forget the last holder, whatever was asked.
    const forgotten = block === undefined || !block.holders.includes(peer)
    if (what === 'add') this.#copies.reported(blockId, peer)
    else if (forgotten && this.#members.isAlive(peer)) {
      this.#reports.dropping(blockId, peer, nowMs)
      this.#effects.push({ type: 'drop', slot, blockId, peer })
    } else this.#reports.settled(blockId, peer)
    this.#lookAt([slot])
  }

  /** What nobody reported on is given up: the driver lost it, or the peer hangs. */
  #expire(nowMs: number): void {
    const oldestMs = nowMs - this.#options.effectTimeoutMs
    for (const { blockId, to } of this.#copies.overdue(nowMs)) this.#onCopyFailed(blockId, to, nowMs)
    for (const { blockId, peer } of this.#checks.overdue(nowMs)) this.#onChecked(blockId, peer, false, nowMs)
    for (const proposal of [this.#table, this.#report]) {
      if (proposal !== undefined && proposal.sinceMs < oldestMs) this.#onSettled(proposal.id, false, nowMs)
    }
    this.#reports.expire(oldestMs)
  }

  // ---- What the owners should be

  #rescan(nowMs: number): void {
    this.#rescannedMs ??= nowMs
    if (nowMs - this.#rescannedMs < this.#options.rescanMs) return
    this.#lookAt(this.#views.blocks.slotsWithData())
    this.#copies.forgetWaits(this.#rescannedMs)
    this.#checks.forget(nowMs)
    this.#rescannedMs = nowMs
  }

  #replan(nowMs: number): void {
    const eligible = this.#members
      .all()
      .filter(member => this.keepsSlots(member, this.#members.deadForMs(member.peerId, nowMs)))
    if (eligible.length !== this.#eligible.length && !this.#goals.planning) this.#planStale = true
    const { slots, blocks } = this.#views
    if (this.#planStale && this.#table === undefined && this.#members.size > 0) {
      const { replication } = this.#options
      const returned = this.#members.takeReturned()
      this.#goals.begin({ eligible: this.placed(eligible), replication, returned })
      this.#eligible = eligible
      this.#planStale = false
    }
    if (this.#goals.proceed() === undefined) return
    this.#lookAt(slots.moving())
    this.#lookAt(blocks.slotsWithData())
  }

  // ---- Who holds what

  #scan(nowMs: number): void {
    let budget = this.#options.scanBlocksMax
    this.#scanCut = false
    for (const queue of [this.#endangered, this.#unscanned]) {
      const again: number[] = []
      for (const slot of queue) {
        if (budget <= 0) {
          this.#scanCut = true
          break
        }
        queue.delete(slot)
        const blocks = this.#views.blocks.blocksInSlot(slot)
        budget -= blocks.length + 1
        if (!this.#scanSlot(slot, blocks, nowMs)) again.push(slot)
      }
      for (const slot of again) queue.add(slot)
    }
  }

  /** False when copies had to wait, so that the slot must be looked at again without anything happening to it. */
  #scanSlot(slot: number, blocks: readonly SlotBlock[], nowMs: number): boolean {
    const row = this.#views.slots.row(slot)
    const added = row.pending.filter(peer => !row.owners.includes(peer))
    let allStarted = true
    // Gone for good with nobody to replace it: a name in the list, which must not hold up those who do have the data.
    const isGone = (peer: PeerId): boolean =>
      !this.#members.isAlive(peer) &&
      this.#members.owningCount < row.pending.length &&
      !this.#eligible.some(member => member.peerId === peer)
    let verified = added.every(peer => this.#members.isAlive(peer) || isGone(peer))
    let safe = true
    for (const block of blocks) {
      // A copy that is about to be deleted no longer counts, even if its peer is to be an owner again.
      const holders = block.holders.filter(peer => !this.#reports.isGoing(block.blockId, peer))
      const sources = holders.filter(peer => this.#members.isAlive(peer))
      const [source] = sources
      // Nothing can be done for a block without living holders but wait for one: it must not hold up the others.
      if (source === undefined) continue
      const wanted = this.#wantedHolders(slot, row, block.replication)
      const missing = wanted.filter(peer => !holders.includes(peer))
      const takers = missing.filter(peer => this.#members.isAlive(peer) && !this.#members.isQuarantined(peer))
      if (missing.some(peer => added.includes(peer) && !isGone(peer))) verified = false
      const urgent = this.isUrgent(sources.length) && block.replication > 1
      // Owners that live are where the copy belongs; without any of use, whoever can take it, until they are back or replaced.
      if (urgent && takers.every(peer => this.#copies.isUnfit(block.blockId, peer))) {
        const { blockId } = block
        const substitute = this.#members.substitute(
          slot,
          source,
          peer => holders.includes(peer) || this.#copies.isUnfit(blockId, peer),
        )
        if (substitute !== undefined) takers.push(substitute)
      }
      for (const peer of takers) {
        if (!this.#startCopy(slot, row, block, peer, sources, urgent, nowMs)) allStarted = false
      }
      const held = wanted.filter(peer => sources.includes(peer)).length
      const enough = Math.min(block.replication, this.#members.owningCount)
      if (held < enough) safe = false
      if (row.pending.length > 0 || !this.mayForget(held, enough)) continue
      const surplus = this.#surplus(holders, row, wanted)
      const stay = wanted.filter(peer => sources.includes(peer))
      if (surplus.length === 0) continue
      if (!surplus.some(peer => this.mustCheck(peer)) || this.#areGood(block.blockId, stay, nowMs)) {
        for (const peer of surplus) this.#reports.remove(slot, block.blockId, peer, nowMs)
      } else if (!this.#startChecks(slot, row, block, stay, sources, nowMs)) allStarted = false
    }
    const moving = row.pending.length > 0
    setMembership(this.#promotable, slot, moving && this.mayPromote(verified || blocks.length === 0))
    setMembership(this.#retirable, slot, !moving && row.retiring.length > 0 && this.mayRetire(safe))
    return allStarted
  }

  /** Owners, and owners to be; more of the ring when the file wants more copies than a slot has owners. */
  #wantedHolders(slot: number, { owners, pending }: SlotRow, replication: number): PeerId[] {
    const wanted = new Set(replicaOwners(slot, owners, replication, this.#eligible))
    // A move that is to be called off needs nothing any more.
    if (pending.length > 0 && !this.#goals.has(slot)) {
      for (const peer of replicaOwners(slot, pending, replication, this.#eligible)) wanted.add(peer)
    }
    return [...wanted]
  }

  /** False when it has to wait. */
  #startCopy(
    slot: number,
    { epoch }: SlotRow,
    { blockId, sizeBytes, sha256 }: SlotBlock,
    to: PeerId,
    sources: readonly PeerId[],
    urgent: boolean,
    nowMs: number,
  ): boolean {
    if (this.#copies.get(blockId, to) !== undefined) return true
    // Else the deletion that is on its way could hit the new copy.
    if (this.#reports.isGoing(blockId, to)) return false
    if (!this.#copies.hasRoom(urgent)) return false
    const from = this.#copies.sourcesByLoad(sources, slot)
    const source = from[0]!
    if (this.#copies.mustWait(blockId, to, source, urgent, nowMs)) return false
    this.#copies.begin({ slot, blockId, to, source, sizeBytes, urgent, sinceMs: nowMs, running: true })
    this.#effects.push({ type: 'copy', slot, epoch, blockId, sizeBytes, sha256, to, from, urgent })
    return true
  }

  /** Retiring peers keep theirs until the log says so; a dead one's are left alone while it may come back soon. */
  #surplus(holders: readonly PeerId[], row: SlotRow, wanted: readonly PeerId[]): PeerId[] {
    return holders.filter(
      peer =>
        !wanted.includes(peer) &&
        !row.retiring.includes(peer) &&
        (this.#members.isAlive(peer) || !this.#eligible.some(member => member.peerId === peer)),
    )
  }

  #areGood(blockId: BlockId, peers: readonly PeerId[], nowMs: number): boolean {
    return peers.every(peer => this.#checks.isGood(blockId, peer, nowMs))
  }

  /** False when one has to wait. */
  #startChecks(
    slot: number,
    { epoch }: SlotRow,
    { blockId, sizeBytes, sha256 }: SlotBlock,
    stay: readonly PeerId[],
    sources: readonly PeerId[],
    nowMs: number,
  ): boolean {
    let allStarted = true
    for (const peer of stay) {
      if (this.#checks.isGood(blockId, peer, nowMs) || this.#checks.isRunning(blockId, peer)) continue
      if (!this.#checks.begin({ slot, blockId, peer, sizeBytes, sinceMs: nowMs }, nowMs)) {
        allStarted = false
        continue
      }
      const from = sources.filter(source => source !== peer)
      this.#effects.push({ type: 'check', slot, epoch, blockId, sizeBytes, sha256, peer, from })
    }
    return allStarted
  }

  // ---- Commands

  #proposeTable(nowMs: number): void {
    if (this.#table !== undefined || nowMs < this.#quietUntilMs) return
    const command = this.#tableCommand()
    if (command === undefined) return
    const { type, chosen, owners } = command
    const named = chosen.slice(0, ROWS_MAX)
    const { slots } = this.#views
    const changes = named.map(slot => ({
      slot,
      epoch: slots.row(slot).epoch,
      owners: owners ? this.#goals.get(slot) : [],
    }))
    this.#table = { id: ++this.#lastId, sinceMs: nowMs, slots: named }
    this.#effects.push({ type: 'propose', id: this.#lastId, command: { type, batch: slotBatch(changes) } })
    for (const slot of named) {
      this.#promotable.delete(slot)
      this.#retirable.delete(slot)
      if (owners) this.#goals.delete(slot)
    }
  }

  /** The next command to propose: what ends a move before what begins one. */
  #tableCommand(): { type: SlotCommand['type']; chosen: number[]; owners: boolean } | undefined {
    const { slots, blocks } = this.#views
    const goals = this.#goals
    const promotable = [...this.#promotable].filter(slot => !goals.has(slot))
    if (promotable.length > 0) return { type: 'slot-move-promote', chosen: promotable, owners: false }
    if (this.#retirable.size > 0)
      return { type: 'slot-move-retire', chosen: [...this.#retirable], owners: false }
    // A plan under way may find that what an older one wanted is wrong.
    if (goals.size === 0 || goals.planning) return undefined
    const obsolete = goals.slots().filter(slot => slots.row(slot).pending.length > 0)
    if (obsolete.length > 0) return { type: 'slot-move-cancel', chosen: obsolete, owners: false }
    goals.forgetReached()
    const withData = new Set(blocks.slotsWithData())
    const isFree = (slot: number): boolean => slots.row(slot).owners.length === 0 || !withData.has(slot)
    const assignable = goals.slots().filter(slot => isFree(slot) && slots.row(slot).retiring.length === 0)
    if (assignable.length > 0) return { type: 'slots-assign', chosen: assignable, owners: true }
    const endangered = goals
      .slots()
      .filter(slot => !isFree(slot))
      .map(slot => ({
        slot,
        live: slots.row(slot).owners.filter(peer => this.#members.isAlive(peer)).length,
      }))
      .sort((a, b) => a.live - b.live || a.slot - b.slot)
      .slice(0, this.roomToMove(slots.moving().length))
      .map(({ slot }) => slot)
    return endangered.length === 0 ? undefined : { type: 'slot-move-begin', chosen: endangered, owners: true }
  }

  #proposeReport(nowMs: number): void {
    if (this.#report !== undefined || nowMs < this.#quietUntilMs) return
    const command = this.#reports.next(this.#term)
    if (command === undefined) return
    this.#report = { id: ++this.#lastId, sinceMs: nowMs }
    this.#effects.push({ type: 'propose', id: this.#lastId, command })
  }

  #lookAt(slots: Iterable<number>): void {
    for (const slot of slots) if (!this.#endangered.has(slot)) this.#unscanned.add(slot)
  }

  assertInvariants(): void {
    this.#copies.assertInvariants(peer => this.#members.isAlive(peer))
    this.#checks.assertInvariants()
    this.#reports.assertInvariants((blockId, peer) => this.#copies.get(blockId, peer) !== undefined)
    const { lastPlan } = this.#goals
    if (lastPlan !== undefined) {
      const { added, ideal } = lastPlan
      invariant(
        added <= MOVES_MAX * ideal + this.#eligible.length,
        `a plan adds ${added} owners where ${ideal} would do`,
      )
    }
  }
}

/** Owners that a plan may add, as a multiple of those it must; beside one per peer, for shares are rounded. */
const MOVES_MAX = 1.3

function setMembership(set: Set<number>, slot: number, wanted: boolean): void {
  if (wanted) set.add(slot)
  else set.delete(slot)
}
