import { invariant } from '../base/errors.ts'

interface Shuffle {
  outputs: Map<number, { peer: string; checksum: number }>
  /** Checksum of each map output that was ever there: what is made again must be the same. */
  first: Map<number, number>
  /** `peersOf`, until an output comes or goes: a stage's readers are begun in many batches. */
  peers: string[] | undefined
}

/** Which executor holds which map output. A name is `<session>/<fingerprint>`, so equal lineage finds old outputs. */
export class OutputRegistry {
  readonly #shuffles = new Map<string, Shuffle>()
  #losses = 0

  /** Counts what has ever gone: who has looked for missing outputs need not look again until it rises. */
  get losses(): number {
    return this.#losses
  }

  /**
   * The first complete attempt counts: another one's output stays unread as long as that is there. True when it differs
   * from what was there before, so that what was computed from that is not consistent with it.
   */
  add(shuffle: string, map: number, peer: string, checksum: number): boolean {
    let known = this.#shuffles.get(shuffle)
    if (known === undefined) {
      this.#shuffles.set(shuffle, (known = { outputs: new Map(), first: new Map(), peers: undefined }))
    }
    const there = known.outputs.get(map)
    if (there !== undefined && there.peer !== peer) return false
    known.outputs.set(map, { peer, checksum })
    known.peers = undefined
    const first = known.first.get(map)
    known.first.set(map, checksum)
    return first !== undefined && first !== checksum
  }

  has(shuffle: string, map: number): boolean {
    return this.#shuffles.get(shuffle)?.outputs.has(map) === true
  }

  isAt(shuffle: string, map: number, peer: string): boolean {
    return this.#shuffles.get(shuffle)?.outputs.get(map)?.peer === peer
  }

  complete(shuffle: string, maps: number): boolean {
    return (this.#shuffles.get(shuffle)?.outputs.size ?? 0) >= maps
  }

  /** Holder of each map partition; only of a complete shuffle. */
  peersOf(shuffle: string, maps: number): string[] {
    const known = this.#shuffles.get(shuffle)
    if (known?.peers !== undefined) return known.peers
    const peers = Array.from({ length: maps }, (_, map) => {
      const output = known?.outputs.get(map)
      invariant(output !== undefined, `map output ${map} of ${shuffle} is read before it is there`)
      return output.peer
    })
    if (known !== undefined) known.peers = peers
    return peers
  }

  /** Only when it is still the output of that peer: a newer one elsewhere stays. */
  drop(shuffle: string, map: number, peer: string): void {
    const known = this.#shuffles.get(shuffle)
    if (known?.outputs.get(map)?.peer === peer) this.#lose(known, map)
  }

  dropPeer(peer: string): void {
    for (const known of this.#shuffles.values()) {
      for (const [map, output] of known.outputs) if (output.peer === peer) this.#lose(known, map)
    }
  }

  /** All of it: it was computed from what has changed since. */
  dropShuffle(shuffle: string): void {
    if (this.#shuffles.delete(shuffle)) this.#losses += 1
  }

  #lose(known: Shuffle, map: number): void {
    known.outputs.delete(map)
    known.peers = undefined
    this.#losses += 1
  }

  dropSession(session: string): void {
    for (const shuffle of this.#shuffles.keys()) {
      if (shuffle.startsWith(`${session}/`)) this.dropShuffle(shuffle)
    }
  }

  assertInvariants(executors: ReadonlySet<string>): void {
    for (const [shuffle, { outputs }] of this.#shuffles) {
      for (const [map, output] of outputs) {
        invariant(
          executors.has(output.peer),
          `map output ${map} of ${shuffle} is at the absent peer ${output.peer}`,
        )
      }
    }
  }
}
