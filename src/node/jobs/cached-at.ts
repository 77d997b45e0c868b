/** Which peers keep which cached partitions: a hint for locality, never needed for a right answer. */
export class CachedAt {
  readonly #peers = new Map<string, Set<string>>()

  add(fingerprint: string, partition: number, peer: string): void {
    const key = `${fingerprint} ${partition}`
    const known = this.#peers.get(key)
    if (known === undefined) this.#peers.set(key, new Set([peer]))
    else known.add(peer)
  }

  peers(fingerprint: string, partition: number): string[] {
    return [...(this.#peers.get(`${fingerprint} ${partition}`) ?? [])]
  }

  dropFingerprint(fingerprint: string): void {
    for (const key of this.#peers.keys()) if (key.startsWith(`${fingerprint} `)) this.#peers.delete(key)
  }

  dropPeer(peer: string): void {
    for (const [key, peers] of this.#peers) {
      peers.delete(peer)
      if (peers.size === 0) this.#peers.delete(key)
    }
  }
}
