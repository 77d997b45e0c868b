import { invariant, type PeerId } from '../base/index.ts'
import { planSteps, type Plan } from './placement.ts'
import type { RingPeer } from './ring.ts'
import type { SlotView } from './slot-table.machine.ts'

/** Slices of a plan in one step of the machine: a millisecond or two each. */
const SLICES_MAX = 4

export interface PlanInput {
  eligible: readonly RingPeer[]
  replication: number
  /** Back from the dead since the last plan: moves that were to replace them are better called off. */
  returned: ReadonlySet<PeerId>
}

/** What the owners of each slot should be where they are not: computed in slices, then carried out by table commands. */
export class RepairGoals {
  readonly #slots: SlotView
  #goals = new Map<number, PeerId[]>()
  #planning:
    | { steps: Generator<void, Plan>; cancelled: ReadonlySet<number>; eligible: readonly RingPeer[] }
    | undefined
  lastPlan: { added: number; ideal: number } | undefined

  constructor(slots: SlotView) {
    this.#slots = slots
  }

  get planning(): boolean {
    return this.#planning !== undefined
  }

  get size(): number {
    return this.#goals.size
  }

  has(slot: number): boolean {
    return this.#goals.has(slot)
  }

  get(slot: number): PeerId[] {
    const goal = this.#goals.get(slot)
    invariant(goal !== undefined, `slot ${slot} has a goal`)
    return goal
  }

  slots(): number[] {
    return [...this.#goals.keys()]
  }

  delete(slot: number): void {
    this.#goals.delete(slot)
  }

  /** Begins a plan from the table as it is now; one under way is void. */
  begin({ eligible, replication, returned }: PlanInput): void {
    const cancelled = new Set<number>()
    const mayOwn = new Set(eligible.map(peer => peer.peerId))
    const unsteady = new Set(eligible.flatMap(peer => (peer.quarantined === true ? [peer.peerId] : [])))
    const table = Array.from({ length: this.#slots.slotCount }, (_, slot) => {
      const { owners, pending } = this.#slots.row(slot)
      if (pending.length === 0) return owners
      const dropped = owners.filter(peer => !pending.includes(peer))
      const needless = dropped.some(peer => returned.has(peer)) && dropped.every(peer => mayOwn.has(peer))
      const stuck = pending.some(peer => unsteady.has(peer) && !owners.includes(peer))
      if (!needless && !stuck) return pending
      cancelled.add(slot)
      return owners
    })
    this.#planning = { steps: planSteps(table, eligible, replication), cancelled, eligible }
  }

  /** Computes a slice or two; answers the peers that the plan was made for, once it is done. */
  proceed(): readonly RingPeer[] | undefined {
    const planning = this.#planning
    if (planning === undefined) return undefined
    for (let slice = 0; slice < SLICES_MAX; slice++) {
      const { done, value } = planning.steps.next()
      if (done !== true) continue
      this.#planning = undefined
      this.#adopt(value, planning.cancelled)
      return planning.eligible
    }
    return undefined
  }

  #adopt({ moves, added, ideal }: Plan, cancelled: ReadonlySet<number>): void {
    this.#goals = new Map(moves.map(move => [move.slot, move.owners]))
    for (const slot of cancelled) {
      const { owners, pending } = this.#slots.row(slot)
      const goal = this.#goals.get(slot) ?? [...owners]
      if (isSame(goal, pending)) this.#goals.delete(slot)
      else this.#goals.set(slot, goal)
    }
    // A plan that changes nothing says nothing about the last change.
    if (moves.length > 0) this.lastPlan = { added, ideal }
  }

  /** A cancelled move can leave a slot with just the owners it should have. */
  forgetReached(): void {
    for (const [slot, goal] of this.#goals) {
      const { owners, pending } = this.#slots.row(slot)
      if (pending.length === 0 && isSame(goal, owners)) this.#goals.delete(slot)
    }
  }
}

function isSame(some: readonly PeerId[], others: readonly PeerId[]): boolean {
  return some.length === others.length && some.every(peer => others.includes(peer))
}
