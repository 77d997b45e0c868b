import {
  invariant,
  ShoalError,
  toWire,
  type ApplyContext,
  type PeerId,
  type SubMachine,
  type WireError,
} from '../base/index.ts'
import { SLOT_COUNT } from './config.ts'

/** One arc of the hash ring and who is to keep its blocks. */
export interface SlotRow {
  /** Raised by each change; 0: never assigned. The fence of the next change. */
  epoch: number
  /** In order of preference; the first is where readers and tasks look first. */
  owners: readonly PeerId[]
  /** The whole owner list to be, while blocks are copied to its new names; empty when the slot does not move. */
  pending: readonly PeerId[]
  /** Owners no more, whose copies are kept until the new owners' were verified. */
  retiring: readonly PeerId[]
}

/** One slot's change, fenced by the epoch its sender has seen. */
export interface SlotChange {
  slot: number
  epoch: number
  /** Full owner list, in order; empty for promote, cancel and retire, which only move what the table knows. */
  owners: readonly PeerId[]
}

/** Many changes in one log entry; peer ids are named once (a row costs about 10 bytes, all 4,096 fit in 64 KiB). */
export interface SlotBatch {
  peers: PeerId[]
  /** `[slot, epoch, ...positions in peers]` */
  rows: number[][]
}

/**
 * `slots-assign`: owners of slots that hold no data: at once. Otherwise begin (writers write to old and new) →
 * promote (the new list is the list; dropped owners keep their copies) → retire (they may delete them).
 * `slot-move-cancel` forgets a begun move, e.g. because a new owner died.
 */
export interface SlotCommand {
  type: 'slots-assign' | 'slot-move-begin' | 'slot-move-promote' | 'slot-move-retire' | 'slot-move-cancel'
  batch: SlotBatch
}

export type SlotResult = { ok: true; changed: number } | { ok: false; error: WireError }

/** The questions one may ask of the local slot table. */
export interface SlotView {
  readonly slotCount: number
  row(slot: number): SlotRow
  /** Peers that must get new blocks of the slot: owners first, then the new names of a move under way. */
  writersOf(slot: number): PeerId[]
  /** Slots with a move or a retirement under way. */
  moving(): number[]
  /** Slots that may be in motion at a time. */
  readonly movingMax: number
}

const UNASSIGNED: SlotRow = { epoch: 0, owners: [], pending: [], retiring: [] }
/** Owners of one slot: more than anyone asks for; bounds what a bad command could store. */
const OWNERS_MAX = 16
/** Slots in motion at a time, as a share of all (at least one): what is copied competes with what people do. */
export const MOVING_SHARE_MAX = 0.25

export function slotBatch(changes: readonly SlotChange[]): SlotBatch {
  const positions = new Map<PeerId, number>()
  const rows = changes.map(change => {
    const row = [change.slot, change.epoch]
    for (const owner of change.owners) {
      let position = positions.get(owner)
      if (position === undefined) positions.set(owner, (position = positions.size))
      row.push(position)
    }
    return row
  })
  return { peers: [...positions.keys()], rows }
}

/**
 * Who owns which slot: the committed half of placement. A batch is carried out whole or refused whole.
 *
 * Invariants: owners, pending and retiring hold no peer twice; no owner is retiring; an epoch only grows; a slot never has fewer
 * owners than before; an owner leaves the list only by a promote that follows a begin (or by an assign, which is for slots
 * without data), and its copies are not free to delete before the retire.
 */
export class SlotTable implements SubMachine<SlotCommand, SlotResult>, SlotView {
  readonly slotCount: number
  #rows: SlotRow[]
  /** Slots with a move or a retirement under way. */
  readonly #moving = new Set<number>()

  constructor(slotCount = SLOT_COUNT) {
    this.slotCount = slotCount
    this.#rows = Array.from({ length: slotCount }, () => UNASSIGNED)
  }

  row(slot: number): SlotRow {
    const row = this.#rows[slot]
    invariant(row !== undefined, `slot ${slot} is one of ${this.slotCount}`)
    return row
  }

  writersOf(slot: number): PeerId[] {
    const { owners, pending } = this.row(slot)
    return [...owners, ...pending.filter(peer => !owners.includes(peer))]
  }

  moving(): number[] {
    return [...this.#moving].sort((a, b) => a - b)
  }

  /** Slots that may be in motion at a time; a begin beyond it is refused. */
  get movingMax(): number {
    return Math.max(1, Math.floor(MOVING_SHARE_MAX * this.slotCount))
  }

  apply(command: SlotCommand, _context: ApplyContext): SlotResult {
    const next = new Map<number, SlotRow>()
    try {
      for (const raw of command.batch.rows) {
        const change = this.#decode(raw, command.batch.peers)
        if (next.has(change.slot)) throw badMove(change.slot, 'a batch names a slot only once')
        next.set(change.slot, rowAfter(command.type, change, this.row(change.slot)))
      }
      if (command.type === 'slot-move-begin') this.#needRoomFor(next)
    } catch (error) {
      if (error instanceof ShoalError) return { ok: false, error: toWire(error) }
      throw error
    }
    for (const [slot, row] of next) {
      this.#rows[slot] = row
      if (isMoving(row)) this.#moving.add(slot)
      else this.#moving.delete(slot)
    }
    return { ok: true, changed: next.size }
  }

  #needRoomFor(next: ReadonlyMap<number, SlotRow>): void {
    let added = 0
    for (const slot of next.keys()) if (!this.#moving.has(slot)) added++
    const limit = this.movingMax
    if (added > 0 && this.#moving.size + added > limit) {
      throw new ShoalError(
        'BUSY',
        { what: 'slots in motion', limit },
        `${this.#moving.size} slots move already and ${limit} may; ${added} more have to wait`,
      )
    }
  }

  #decode(raw: readonly number[], peers: readonly PeerId[]): SlotChange {
    const [slot, epoch, ...positions] = raw
    if (
      slot === undefined ||
      epoch === undefined ||
      !(Number.isInteger(slot) && slot >= 0 && slot < this.slotCount)
    ) {
      throw badMove(slot ?? -1, `there are ${this.slotCount} slots`)
    }
    if (epoch !== this.row(slot).epoch) {
      const seen = this.row(slot).epoch
      throw new ShoalError(
        'STALE_EPOCH',
        { slot, epoch, seen },
        `slot ${slot} is at epoch ${seen}, not ${epoch}`,
      )
    }
    const owners = positions.map(position => {
      const peer = peers[position]
      if (peer === undefined) throw badMove(slot, `the batch names no peer at position ${position}`)
      return peer
    })
    if (new Set(owners).size !== owners.length) throw badMove(slot, 'an owner is named twice')
    if (owners.length > OWNERS_MAX) throw badMove(slot, `a slot has at most ${OWNERS_MAX} owners`)
    return { slot, epoch, owners }
  }

  snapshot(): unknown {
    const positions = new Map<PeerId, number>()
    const encode = (list: readonly PeerId[]): number[] =>
      list.map(peer => {
        let position = positions.get(peer)
        if (position === undefined) positions.set(peer, (position = positions.size))
        return position
      })
    const rows = this.#rows.map(row => [
      row.epoch,
      encode(row.owners),
      encode(row.pending),
      encode(row.retiring),
    ])
    return { version: 1, peers: [...positions.keys()], rows }
  }

  restore(snapshot: unknown): void {
    const { version, peers, rows } = snapshot as {
      version: number
      peers: PeerId[]
      rows: [number, number[], number[], number[]][]
    }
    invariant(version === 1, `a slot table snapshot of version ${version} is known`)
    invariant(rows.length === this.slotCount, `a snapshot of ${rows.length} slots fits ${this.slotCount}`)
    const decode = (list: number[]): PeerId[] => list.map(position => peers[position]!)
    this.#rows = rows.map(([epoch, owners, pending, retiring]) =>
      epoch === 0
        ? UNASSIGNED
        : { epoch, owners: decode(owners), pending: decode(pending), retiring: decode(retiring) },
    )
    this.#moving.clear()
    for (const [slot, row] of this.#rows.entries()) if (isMoving(row)) this.#moving.add(slot)
  }

  assertInvariants(): void {
    invariant(this.#moving.size <= this.movingMax, `at most ${this.movingMax} slots are in motion`)
    for (const [slot, row] of this.#rows.entries()) {
      invariant(this.#moving.has(slot) === isMoving(row), `slot ${slot} is counted as moving when it moves`)
      for (const list of [row.owners, row.pending, row.retiring]) {
        invariant(new Set(list).size === list.length, `slot ${slot} names each peer once`)
        invariant(!list.includes(undefined as unknown as PeerId), `slot ${slot} names only peers`)
      }
      invariant(row.epoch === 0 || row.owners.length > 0, `assigned slot ${slot} has an owner`)
      invariant(
        row.pending.length === 0 || row.pending.length >= row.owners.length,
        `slot ${slot} does not shrink`,
      )
      invariant(
        row.retiring.every(peer => !row.owners.includes(peer)),
        `slot ${slot}: no owner is retiring`,
      )
    }
  }
}

function isMoving(row: SlotRow): boolean {
  return row.pending.length > 0 || row.retiring.length > 0
}

function rowAfter(type: SlotCommand['type'], change: SlotChange, row: SlotRow): SlotRow {
  const { slot, owners } = change
  const epoch = row.epoch + 1
  const named = type === 'slots-assign' || type === 'slot-move-begin'
  if (named && owners.length === 0) throw badMove(slot, `${type} needs owners`)
  if (!named && owners.length > 0) throw badMove(slot, `${type} takes no owners`)
  if (named && owners.length < row.owners.length) throw badMove(slot, 'a slot never gets fewer owners')
  switch (type) {
    case 'slots-assign':
      if (row.pending.length > 0 || row.retiring.length > 0) throw badMove(slot, 'it is moving already')
      return { epoch, owners, pending: [], retiring: [] }
    case 'slot-move-begin':
      if (row.owners.length === 0) throw badMove(slot, 'it was never assigned')
      if (row.pending.length > 0) throw badMove(slot, 'it is moving already')
      return { ...row, epoch, pending: owners }
    case 'slot-move-promote': {
      if (row.pending.length === 0) throw badMove(slot, 'no move was begun')
      const dropped = row.owners.filter(peer => !row.pending.includes(peer))
      // An owner that comes back before its copies were retired keeps them.
      const kept = row.retiring.filter(peer => !row.pending.includes(peer) && !dropped.includes(peer))
      return { epoch, owners: row.pending, pending: [], retiring: [...kept, ...dropped] }
    }
    case 'slot-move-retire':
      if (row.retiring.length === 0) throw badMove(slot, 'nothing retires')
      return { ...row, epoch, retiring: [] }
    case 'slot-move-cancel':
      break
  }
  if (row.pending.length === 0) throw badMove(slot, 'no move was begun')
  return { ...row, epoch, pending: [] }
}

function badMove(slot: number, reason: string): ShoalError {
  return new ShoalError('BAD_MESSAGE', { type: 'slot', reason: `slot ${slot}: ${reason}` })
}
