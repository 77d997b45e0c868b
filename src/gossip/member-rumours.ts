import type { PeerId } from '../base/index.ts'
import type { MemberUpdate } from './messages.ts'

interface Rumour {
  update: MemberUpdate
  sent: number
}

/**
 * News that still has to ride on pings and acks: at most one update per member, the newest; each is dropped after
 * enough transmissions to have reached everybody with high probability (SWIM section 4.1). Bounded by the member table.
 */
export class MemberRumours {
  readonly #rumours = new Map<PeerId, Rumour>()

  get size(): number {
    return this.#rumours.size
  }

  /** Replaces what was queued about the same member. */
  add(update: MemberUpdate): void {
    this.#rumours.set(update.peerId, { update, sent: 0 })
  }

  drop(peer: PeerId): void {
    this.#rumours.delete(peer)
  }

  /**
   * The least told ones that fit into `limitBytes`, counted as sent once more.
   * @param reservedBytes already used of the batch by the caller
   */
  take(limitBytes: number, reservedBytes: number, transmissionsMax: number): MemberUpdate[] {
    const taken: MemberUpdate[] = []
    let bytes = reservedBytes
    const byNovelty = [...this.#rumours.values()].sort((a, b) => a.sent - b.sent)
    for (const rumour of byNovelty) {
      const size = estimatedBytes(rumour.update)
      if (bytes > 0 && bytes + size > limitBytes) continue
      bytes += size
      taken.push(rumour.update)
      rumour.sent++
      if (rumour.sent >= transmissionsMax) this.#rumours.delete(rumour.update.peerId)
    }
    return taken
  }
}

/** About what an update takes on the wire; packing it only to learn its size would cost more than it is worth. */
export function estimatedBytes(update: MemberUpdate): number {
  let bytes = 64 + update.peerId.length
  for (const accuser of update.accusers) bytes += accuser.length + 2
  if (update.info === undefined) return bytes
  const { name, addresses, labels } = update.info
  bytes += 64 + name.length + labels.host.length + labels.zone.length
  for (const address of addresses) bytes += address.length + 3
  return bytes
}
