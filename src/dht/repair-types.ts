import type { BlockId, PeerId } from '../base/index.ts'
import type { ReportHolders } from './namespace-commands.ts'
import type { NamespaceView } from './namespace-types.ts'
import type { RingPeer } from './ring.ts'
import type { SlotCommand, SlotView } from './slot-table.machine.ts'

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
  /** The peer has read its copy from end to end (`good`: now, if need be after fetching it anew), or could not. */
  | { type: 'check-settled'; blockId: BlockId; peer: PeerId; good: boolean }
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
      /** Of the slot, as this planner sees it: a target whose table has moved on refuses. */
      epoch: number
      blockId: BlockId
      sizeBytes: number
      sha256: string
      to: PeerId
      from: readonly PeerId[]
      /** Only one living copy is left: it waits for no budget of bytes. */
      urgent: boolean
    }
  /** Ask the peer to read its copy from end to end, and to fetch it anew from one of `from` if it is bad: another is to go. */
  | {
      type: 'check'
      slot: number
      epoch: number
      blockId: BlockId
      sizeBytes: number
      sha256: string
      peer: PeerId
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
  /** Of those, copies of blocks that had one living copy left. */
  urgentCopies: number
  /** Copies being read from end to end because another one is to go. */
  checks: number
  /** Slots still to be looked at. */
  unscannedSlots: number
  /** True while the next placement is being computed, slice by slice. */
  planning: boolean
  /** What the last change of members cost: owners added, and the fewest that could be. */
  lastPlan: { added: number; ideal: number } | undefined
}

export interface RepairViews {
  slots: SlotView
  blocks: Pick<NamespaceView, 'blocksInSlot' | 'slotsWithData'>
}

/** A holder that the log is to learn of, or to forget. */
export interface HolderChange {
  slot: number
  blockId: BlockId
  peer: PeerId
  what: 'add' | 'remove'
}
