import {
  fromWire,
  type AbortOptions,
  type Clock,
  type Logger,
  type PeerId,
  type Random,
  type Transport,
  type WireError,
} from '../base/index.ts'
import type { BlockStore } from './block-store.ts'
import type { DhtCommand, ResultOf } from './dht-commands.ts'
import type { AsOf } from './messages.ts'
import type { NamespaceView } from './namespace-types.ts'
import { replicaOwners, type RingPeer } from './ring.ts'
import type { SlotView } from './slot-table.machine.ts'

/** Until the replicated state must be fresh; without a leader nothing is deleted and nothing reported. */
export const BARRIER_TIMEOUT_MS = 10_000

/** What the moving half of the folder needs of the process around it. */
export interface FileServicePorts {
  transport: Transport
  /** The disk of this peer. */
  store: BlockStore
  /**
   * Proposes a command through the leader, wherever that is. Resolves with the sub-machine's answer, refusals included,
   * once it is applied here too, so that a read that follows sees it. Leader changes are waited out quietly;
   * rejects with a coded error when nobody knows whether the command took effect, or that it did not.
   */
  /** @param options `isStoring`: bytes of a file wait for this; giving up early would throw them away. */
  propose<C extends DhtCommand>(
    command: C,
    options?: AbortOptions & { isStoring?: boolean },
  ): Promise<ResultOf<C>>
  /** Resolves when the local replicated state holds everything that was acknowledged anywhere before this call. */
  readBarrier(options?: AbortOptions): Promise<void>
  namespace(): NamespaceView
  slots(): SlotView
  /** The members as placement sees them, dead or alive. */
  peers(): readonly RingPeer[]
  isAlive(peer: PeerId): boolean
  nameOf(peer: PeerId): string
  /** Index of the last entry applied here. */
  appliedIndex(): number
  /** How old what is known here may be. */
  asOf(): AsOf
  clock: Clock
  random: Random
  log: Logger
}

/** The answer, or its refusal thrown. */
export function accepted<Answer extends { ok: true }>(
  result: Answer | { ok: false; error: WireError },
): Answer {
  if (!result.ok) throw fromWire(result.error)
  return result
}

/**
 * Who is to get a new block: the slot's owners in order, and the owners to be of a move under way, so that nothing is missing
 * when the move is done.
 */
export function replicaTargets(
  ports: Pick<FileServicePorts, 'slots' | 'peers'>,
  slot: number,
  replication: number,
): PeerId[] {
  const { owners, pending } = ports.slots().row(slot)
  const targets = new Set(replicaOwners(slot, owners, replication, ports.peers()))
  if (pending.length > 0) {
    for (const peer of replicaOwners(slot, pending, replication, ports.peers())) targets.add(peer)
  }
  return [...targets]
}

/** A promise that nobody waits for any more: its failure is of no interest. */
export function forget(promise: Promise<unknown> | undefined): void {
  promise?.catch(() => undefined)
}
