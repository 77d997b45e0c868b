import { invariant } from '../base/errors.ts'

/** Which executor holds which map output. A name is `<session>/<fingerprint>`, so equal lineage finds old outputs. */
export class OutputRegistry {
  readonly #shuffles = new Map<string, Map<number, { peer: string; checksum: number }>>()

  add(shuffle: string, map: number, peer: string, checksum: number): void {
    let outputs = this.#shuffles.get(shuffle)
    if (outputs === undefined) this.#shuffles.set(shuffle, (outputs = new Map()))
    outputs.set(map, { peer, checksum })
  }

  has(shuffle: string, map: number): boolean {
    return this.#shuffles.get(shuffle)?.has(map) === true
  }

  complete(shuffle: string, maps: number): boolean {
    return (this.#shuffles.get(shuffle)?.size ?? 0) >= maps
  }

  /** Holder of each map partition; only of a complete shuffle. */
  peersOf(shuffle: string, maps: number): string[] {
    const outputs = this.#shuffles.get(shuffle)
    return Array.from({ length: maps }, (_, map) => {
      const output = outputs?.get(map)
      invariant(output !== undefined, `map output ${map} of ${shuffle} is read before it is there`)
      return output.peer
    })
  }

  /** Only when it is still the output of that peer: a newer one elsewhere stays. */
  drop(shuffle: string, map: number, peer: string): void {
    const outputs = this.#shuffles.get(shuffle)
    if (outputs?.get(map)?.peer === peer) outputs.delete(map)
  }

  dropPeer(peer: string): void {
    for (const [shuffle, outputs] of this.#shuffles) {
      for (const [map, output] of outputs) if (output.peer === peer) outputs.delete(map)
      if (outputs.size === 0) this.#shuffles.delete(shuffle)
    }
  }

  dropSession(session: string): void {
    for (const shuffle of this.#shuffles.keys()) {
      if (shuffle.startsWith(`${session}/`)) this.#shuffles.delete(shuffle)
    }
  }

  assertInvariants(executors: ReadonlySet<string>): void {
    for (const [shuffle, outputs] of this.#shuffles) {
      for (const [map, output] of outputs) {
        invariant(
          executors.has(output.peer),
          `map output ${map} of ${shuffle} is at the absent peer ${output.peer}`,
        )
      }
    }
  }
}
