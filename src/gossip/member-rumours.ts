import type { PeerId } from '../base/index.ts'
import type { MemberUpdate } from './messages.ts'

interface Rumour {
  update: MemberUpdate
  sent: number
  once: boolean
}

/** No update is estimated at less, so a batch with less room is full. */
const UPDATE_BYTES_MIN = 64
/** Updates passed over because they do not fit, before a batch is called full. */
const MISFITS_MAX = 8

/**
 * News that still has to ride on pings and acks: at most one update per member, the newest; each is dropped after
 * enough transmissions to have reached everybody with high probability (SWIM section 4.1). Bounded by the member table.
 */
export class MemberRumours {
  readonly #rumours = new Map<PeerId, Rumour>()
  /** The same by how often they were sent, the longest waiting first: the least told go first. */
  readonly #bySent: Map<PeerId, Rumour>[] = []

  get size(): number {
    return this.#rumours.size
  }

  /**
   * Replaces what was queued about the same member.
   * @param once told a single time, for it is hardly news
   */
  add(update: MemberUpdate, once = false): void {
    this.drop(update.peerId)
    this.#keep({ update, sent: 0, once })
  }

  drop(peer: PeerId): void {
    const rumour = this.#rumours.get(peer)
    if (rumour === undefined) return
    this.#rumours.delete(peer)
    this.#bySent[rumour.sent]?.delete(peer)
  }

  /**
   * The least told ones that fit into `limitBytes`, counted as sent once more.
   * @param reservedBytes already used of the batch by the caller
   */
  take(limitBytes: number, reservedBytes: number, transmissionsMax: number): MemberUpdate[] {
    const taken = this.#choose(limitBytes, reservedBytes)
    for (const rumour of taken) {
      this.drop(rumour.update.peerId)
      rumour.sent++
      if (!rumour.once && rumour.sent < transmissionsMax) this.#keep(rumour)
    }
    return taken.map(rumour => rumour.update)
  }

  #choose(limitBytes: number, reservedBytes: number): Rumour[] {
    const chosen: Rumour[] = []
    let bytes = reservedBytes
    let misfits = 0
    for (const rumours of this.#bySent) {
      for (const rumour of rumours.values()) {
        const size = estimatedBytes(rumour.update)
        const fits = bytes === 0 || bytes + size <= limitBytes
        if (fits) {
          bytes += size
          chosen.push(rumour)
        }
        if (!fits && ++misfits >= MISFITS_MAX) return chosen
        if (bytes > limitBytes - UPDATE_BYTES_MIN) return chosen
      }
    }
    return chosen
  }

  #keep(rumour: Rumour): void {
    this.#rumours.set(rumour.update.peerId, rumour)
    const { sent } = rumour
    while (this.#bySent.length <= sent) this.#bySent.push(new Map())
    this.#bySent[sent]!.set(rumour.update.peerId, rumour)
  }
}

/** About what an update takes on the wire; packing it only to learn its size would cost more than it is worth. */
export function estimatedBytes(update: MemberUpdate): number {
  let bytes = UPDATE_BYTES_MIN + update.peerId.length
  for (const accuser of update.accusers) bytes += accuser.length + 2
  if (update.info === undefined) return bytes
  const { name, addresses, labels } = update.info
  bytes += 64 + name.length + labels.host.length + labels.zone.length
  for (const address of addresses) bytes += address.length + 3
  return bytes
}
