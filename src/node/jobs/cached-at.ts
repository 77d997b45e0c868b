import type { KeptChange, KeptReport } from '../../rdd/index.ts'

interface Copy {
  session: string
  memoryBytes: number
  diskBytes: number
}

/** What is kept of an RDD, and of whose. */
export interface KeptListing extends KeptReport {
  session: string
  label: string
}

/** Which peers keep which cached partitions, as they said: a hint for locality, never needed for a right answer. */
export class CachedAt {
  /** Fingerprint → partition → peer. */
  readonly #copies = new Map<string, Map<number, Map<string, Copy>>>()
  /** Fingerprint → the RDD as its user knows it. */
  readonly #labels = new Map<string, string>()

  /** How people know an RDD of which partitions may come to be kept. */
  describe(fingerprint: string, label: string): void {
    if (this.#labels.size >= LABELS_MAX && !this.#labels.has(fingerprint)) this.#dropIdleLabels()
    this.#labels.set(fingerprint, label)
  }

  change(peer: string, { fingerprint, partition, isGone, ...copy }: KeptChange): void {
    if (isGone) {
      this.#remove(fingerprint, partition, peer)
      return
    }
    let partitions = this.#copies.get(fingerprint)
    if (partitions === undefined) this.#copies.set(fingerprint, (partitions = new Map()))
    let peers = partitions.get(partition)
    if (peers === undefined) partitions.set(partition, (peers = new Map()))
    peers.set(peer, copy)
  }

  peers(fingerprint: string, partition: number): string[] {
    return [...(this.#copies.get(fingerprint)?.get(partition)?.keys() ?? [])]
  }

  /** @param fingerprints Those wanted. @default all of which something is kept */
  list(fingerprints: readonly string[] = [...this.#copies.keys()]): KeptListing[] {
    return fingerprints.flatMap(fingerprint => {
      const partitions = this.#copies.get(fingerprint)
      if (partitions === undefined) return []
      const label = this.#labels.get(fingerprint) ?? ''
      const listing = {
        fingerprint,
        session: '',
        label,
        partitions: partitions.size,
        copies: 0,
        memoryBytes: 0,
        diskBytes: 0,
      }
      for (const peers of partitions.values()) {
        for (const { session, memoryBytes, diskBytes } of peers.values()) {
          listing.session = session
          listing.copies += 1
          listing.memoryBytes += memoryBytes
          listing.diskBytes += diskBytes
        }
      }
      return [listing]
    })
  }

  dropFingerprint(fingerprint: string): void {
    this.#copies.delete(fingerprint)
    this.#labels.delete(fingerprint)
  }

  dropSession(session: string): void {
    this.#dropWhere(copy => copy.session === session)
  }

  dropPeer(peer: string): void {
    this.#dropWhere((_copy, at) => at === peer)
  }

  #dropWhere(matches: (copy: Copy, peer: string) => boolean): void {
    for (const [fingerprint, partitions] of this.#copies) {
      for (const [partition, peers] of partitions) {
        for (const [peer, copy] of peers) if (matches(copy, peer)) this.#remove(fingerprint, partition, peer)
      }
    }
  }

  #remove(fingerprint: string, partition: number, peer: string): void {
    const partitions = this.#copies.get(fingerprint)
    const peers = partitions?.get(partition)
    if (partitions === undefined || peers?.delete(peer) !== true) return
    if (peers.size === 0) partitions.delete(partition)
    if (partitions.size > 0) return
    this.#copies.delete(fingerprint)
    this.#labels.delete(fingerprint)
  }

  /** Of RDDs of which nothing came to be kept. */
  #dropIdleLabels(): void {
    for (const fingerprint of this.#labels.keys())
      if (!this.#copies.has(fingerprint)) this.#labels.delete(fingerprint)
  }
}

/** Labels remembered before those of which nothing is kept are forgotten. */
const LABELS_MAX = 1_000
