import { asFileId, below } from '../../../src/base/index.ts'
import type { FileId, PeerId } from '../../../src/base/index.ts'
import type { Outcome } from '../../../src/chaos/index.ts'
import { blockIdOf, REPLICATION, slotOf } from '../../../src/dht/index.ts'
import type { BlockReport, DhtCommand } from '../../../src/dht/index.ts'
import { replicaTargets } from '../../../src/dht/file-ports.ts'
import { Rendezvous } from '../../../src/dht/ring.ts'
import { repairMember } from '../../../src/node/leader-role.ts'
import { SIM_SLOTS } from './mesh-checker.ts'
import type { MeshChecker } from './mesh-checker.ts'
import type { MeshPeer } from './mesh-peer.ts'
import { sha256Of } from './sim-block-store.ts'
import { hexOf } from './sim-log.ts'
import type { Outcome as LogOutcome } from './sim-log.ts'
import { run, waitFor } from './task.ts'
import type { Task } from './task.ts'

export interface WriterMutant {
  /** Whoever was asked to hold a block is reported as holder. */
  claimsUnacknowledged?: boolean
  /** Commits with blocks that nobody has acknowledged. */
  needsNoAck?: boolean
}

/** Copies that a block must have before it counts, when there are as many peers. */
const ACKS_MIN = 2
const WRITE_MS = 3_000
const LATE_MS = 2_000
const LEASE_MS = 20_000

/** Writes whole files from one peer, as FileWriter and BlockWriter do. */
export class SimWriter {
  readonly #peer: MeshPeer
  readonly #checker: MeshChecker

  constructor(peer: MeshPeer, checker: MeshChecker) {
    this.#peer = peer
    this.#checker = checker
  }

  *put(path: string, parts: readonly Uint8Array[], overwrite: boolean): Task<Outcome> {
    const { around, log } = this.#peer
    const fileId = asFileId(hexOf(around.random, 4))
    const begun = yield* this.#propose({
      type: 'begin-file',
      path,
      fileId,
      leaseMs: LEASE_MS,
      overwrite,
      parents: true,
    })
    // Whatever became of a lease alone, nobody can see it.
    if (!begun.ok) return { error: begun.code === 'UNKNOWN_OUTCOME' ? 'NO_QUORUM' : begun.code }
    const leaseIndex = log.appliedIndex
    const blocks: BlockReport[] = []
    for (const [index, bytes] of parts.entries()) {
      const report = yield* this.#writeBlock(fileId, index, bytes, leaseIndex)
      if (report === undefined) {
        this.#abandon(fileId)
        return { error: 'UNDER_REPLICATED' }
      }
      blocks.push(report)
    }
    const added = yield* this.#propose({ type: 'add-blocks', fileId, blocks })
    if (!added.ok) {
      this.#abandon(fileId)
      // Nothing is visible without the commit.
      return { error: added.code === 'UNKNOWN_OUTCOME' ? 'NO_QUORUM' : added.code }
    }
    const committed = yield* this.#propose({ type: 'commit-file', fileId, blockCount: blocks.length })
    if (committed.ok) return { ok: null }
    if (committed.code === 'UNKNOWN_OUTCOME') return null
    this.#abandon(fileId)
    return { error: committed.code }
  }

  /** A partition behind the last one. */
  *append(path: string, bytes: Uint8Array): Task<Outcome> {
    const { log } = this.#peer
    const begun = yield* log.propose({
      part: 'dht',
      command: { type: 'begin-append', path, leaseMs: LEASE_MS },
    })
    if (!begun.ok) return { error: begun.code === 'UNKNOWN_OUTCOME' ? 'NO_QUORUM' : begun.code }
    const { result } = begun
    if (!result.ok) return { error: result.error.code }
    if (!('partitions' in result) || !('lease' in result)) throw new Error('an append was begun otherwise')
    const { fileId, lease, partitions } = result
    const report = yield* this.#writeBlock(fileId, partitions, bytes, log.appliedIndex)
    if (report === undefined) {
      this.#abandon(fileId, lease)
      return { error: 'UNDER_REPLICATED' }
    }
    const added = yield* this.#propose({ type: 'add-blocks', fileId, lease, blocks: [report] })
    const commit = {
      type: 'commit-file',
      fileId,
      lease,
      blockCount: partitions + 1,
      from: partitions,
    } as const
    const committed = added.ok ? yield* this.#propose(commit) : added
    if (committed.ok) return { ok: null }
    if (added.ok && committed.code === 'UNKNOWN_OUTCOME') return null
    this.#abandon(fileId, lease)
    // Its file is not where it was: that says nothing about what is there now.
    return { error: committed.code === 'NOT_FOUND' ? 'LEASE_LOST' : committed.code }
  }

  *#writeBlock(
    fileId: FileId,
    index: number,
    bytes: Uint8Array,
    leaseIndex: number,
  ): Task<BlockReport | undefined> {
    const { around, log, mutant } = this.#peer
    const { slots, members } = log.state
    const blockId = blockIdOf(fileId, index, hexOf(around.random, 1))
    const sha256 = sha256Of(bytes)
    const slot = slotOf(fileId, index, SIM_SLOTS)
    const peers = members.members().map(member => repairMember(member))
    const wanted = replicaTargets({ slots: () => slots, peers: () => peers }, slot, REPLICATION)
    const targets = wanted.filter(peer => this.#peer.isAlive(peer))
    const alive = peers.filter(peer => peer.weight > 0 && this.#peer.isAlive(peer.peerId))
    const spares = new Rendezvous()
      .order(slot, alive)
      .map(({ peerId }) => peerId)
      .filter(peer => !wanted.includes(peer))
    const required = Math.max(1, Math.min(ACKS_MIN, targets.length + spares.length))
    this.#checker.writing(blockId, sha256)
    const asked: PeerId[] = []
    const acked = yield* waitFor<PeerId[]>(done => {
      const acks: PeerId[] = []
      let open = 0
      const settle = (): void => {
        if (open === 0) done(acks)
        else if (acks.length >= required) around.after(LATE_MS, () => done([...acks]))
      }
      const ask = (peer: PeerId): void => {
        open++
        asked.push(peer)
        run(this.#bring(peer, blockId, bytes, leaseIndex), good => {
          open--
          if (good) acks.push(peer)
          while (acks.length + open < required && spares.length > 0) ask(spares.shift()!)
          settle()
        })
      }
      for (const peer of targets) ask(peer)
      while (asked.length < required && spares.length > 0) ask(spares.shift()!)
      if (asked.length === 0 || mutant.writer?.needsNoAck === true) done(acks)
    })
    const { claimsUnacknowledged, needsNoAck } = mutant.writer ?? {}
    const holders = claimsUnacknowledged === true || needsNoAck === true ? asked : acked
    if (acked.length < (claimsUnacknowledged === true ? 1 : required) && needsNoAck !== true) return undefined
    if (holders.length === 0) return undefined
    return { index, blockId, sizeBytes: bytes.length, sha256, holders: [...holders] }
  }

  *#bring(
    peer: PeerId,
    blockId: BlockReport['blockId'],
    bytes: Uint8Array,
    leaseIndex: number,
  ): Task<boolean> {
    const { around, blocks, calls } = this.#peer
    const request = { blockId, bytes, leaseIndex }
    const reply =
      peer === around.self
        ? yield* blocks.write(request)
        : yield* calls.call(peer, 'block-write', request, WRITE_MS)
    return reply.ok && reply.sha256 === sha256Of(bytes)
  }

  #abandon(fileId: FileId, lease?: number): void {
    run(this.#propose({ type: 'abandon-file', fileId, ...(lease !== undefined && { lease }) }))
  }

  *#propose(command: DhtCommand): Task<{ ok: true } | { ok: false; code: string }> {
    const outcome: LogOutcome = yield* this.#peer.log.propose({ part: 'dht', command })
    if (!outcome.ok) return outcome
    return outcome.result.ok ? { ok: true } : { ok: false, code: outcome.result.error.code }
  }
}

/** What is put: text that names the put, in one to three parts, so that a reader's bytes say which put it saw. */
export function contentsOf(random: { next(): number }, id: number): Uint8Array[] {
  const parts = 1 + below(random, 3)
  const encoder = new TextEncoder()
  return Array.from({ length: parts }, (_, index) => encoder.encode(`put ${id} part ${index} of ${parts};`))
}
