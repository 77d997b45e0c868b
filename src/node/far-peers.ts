/** What is known of a member that tells how far it is. */
export interface Place {
  labels: { host: string }
  addresses: readonly string[]
}

/** Multiaddrs of the machine itself. */
const LOOPBACK = /^\/(?:ip4\/127\.|ip6\/::1(?:\/|$)|dns[46]?\/localhost(?:\/|$))/

/**
 * True of a member on another machine: what goes there is worth compressing. Peers that were started with `shoal up` call
 * themselves hosts of their own to have copies spread over them; where a member can be reached at this machine only, it
 * is here, whatever it is called.
 */
export function isFar(self: Place | undefined, other: Place | undefined): boolean {
  if (self === undefined || other === undefined || self.labels.host === other.labels.host) return false
  return other.addresses.some(address => !LOOPBACK.test(address))
}
