import { multiaddr } from '@multiformats/multiaddr'
import type { Multiaddr } from '@multiformats/multiaddr'
import { ShoalError } from '../../base/index.ts'
import type { PeerId } from '../../base/index.ts'
import { textOf } from './secret-file.ts'

/** Where peers may be dialled: the union of what is told, of each peer the newest few. */
export class AddressBook {
  /** By peer, oldest first. */
  readonly #addresses = new Map<PeerId, Set<string>>()
  readonly #perPeerMax: number

  constructor(perPeerMax: number) {
    this.#perPeerMax = perPeerMax
  }

  add(peer: PeerId, addresses: Iterable<string>): void {
    const known = this.#addresses.get(peer) ?? new Set<string>()
    for (const address of addresses) {
      // Told again is newest again.
      known.delete(address)
      known.add(address)
      if (known.size > this.#perPeerMax) known.delete(known.values().next().value!)
    }
    if (known.size > 0) this.#addresses.set(peer, known)
  }

  /** Empty when the peer is unknown. */
  of(peer: PeerId): string[] {
    return [...(this.#addresses.get(peer) ?? [])]
  }

  has(peer: PeerId): boolean {
    return this.#addresses.has(peer)
  }

  peers(): Iterable<PeerId> {
    return this.#addresses.keys()
  }

  forget(peer: PeerId): void {
    this.#addresses.delete(peer)
  }
}

/** @throws CONFIG_INVALID */
export function parseAddress(address: string): Multiaddr {
  try {
    return multiaddr(address)
  } catch (cause) {
    const reason = `it is no multiaddr such as /ip4/127.0.0.1/tcp/4040: ${textOf(cause)}`
    throw new ShoalError('CONFIG_INVALID', { option: 'address', reason }, `${address}: ${reason}`, { cause })
  }
}

/** Names the peer in the address, so that dialling fails when somebody else answers there. */
export function withPeer(address: Multiaddr, peer: PeerId): Multiaddr {
  const present = address.getComponents().some(({ name }) => name === 'p2p')
  return present ? address : address.encapsulate(`/p2p/${peer}`)
}

export function isLoopback(address: string): boolean {
  return address.startsWith('/ip4/127.') || address.startsWith('/ip6/::1/')
}
