import { createHash, type Hash } from 'node:crypto'
import {
  hasCode,
  raceAbort,
  ShoalError,
  withDeadline,
  type BlockId,
  type FileId,
  type PeerId,
} from '../base/index.ts'
import type { FileOptions } from './config.ts'
import { replicaTargets, type FileServicePorts } from './file-ports.ts'
import { Rendezvous, slotOf } from './ring.ts'
import { Tee, type TeeBranch } from './tee.ts'

/** Copies that a block must have before it counts, when there are as many peers: one disk may die at any time. */
const ACKS_MIN = 2

export interface BlockPlan {
  path: string
  fileId: FileId
  index: number
  blockId: BlockId
  /** Log index at which the lease was granted: the fence of the writes. */
  leaseIndex: number
  /** Copies wanted. */
  replication: number
}

/** What an owner says of the replica that it wrote and synced. */
export interface ReplicaAck {
  bytes: number
  sha256: string
}

/** Brings one replica to a peer's disk; resolves when it is durable there. */
export type ReplicaSink = (
  peer: PeerId,
  plan: BlockPlan,
  body: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
) => Promise<ReplicaAck>

export interface WrittenBlock {
  blockId: BlockId
  sizeBytes: number
  sha256: string
  /** Peers that have it on disk, in the order of the slot's owners. */
  holders: PeerId[]
  /** True when fewer acknowledged than were wanted. */
  degraded: boolean
}

interface Replica {
  branch: TeeBranch
  controller: AbortController
  ack?: ReplicaAck
}

/**
 * Writes one block to the owners of its slot at once, while it comes in. An owner that fails or stands still is left
 * behind as long as enough remain; while the block's beginning is still at hand another peer takes its place.
 * Too few → UNDER_REPLICATED, and the bytes that were written are garbage to be collected.
 */
export class BlockWriter {
  readonly #plan: BlockPlan
  readonly #options: FileOptions
  readonly #ports: FileServicePorts
  readonly #sink: ReplicaSink
  readonly #tee: Tee
  readonly #targets: PeerId[]
  /** Peers that could take the place of an owner, best first. */
  readonly #spares: PeerId[]
  readonly #wanted: number
  readonly #required: number
  /** Running and acknowledged replicas; failed ones are taken out. */
  readonly #replicas = new Map<PeerId, Replica>()
  readonly #failures: string[] = []
  /** True once an owner's disk refused: it will not have its copy later either, so others are to have it. */
  #refused = false
  /** Absent when this peer's own store computes the hash of the very same bytes. */
  readonly #hash: Hash | undefined
  readonly #enough = Promise.withResolvers<void>()
  readonly #settled = Promise.withResolvers<void>()

  constructor(plan: BlockPlan, options: FileOptions, ports: FileServicePorts, sink: ReplicaSink) {
    this.#plan = plan
    this.#options = options
    this.#ports = ports
    this.#sink = sink
    const { slotCount } = ports.slots()
    const slot = slotOf(plan.fileId, plan.index, slotCount)
    const alive = ports.peers().filter(peer => peer.weight > 0 && ports.isAlive(peer.peerId))
    const targets = replicaTargets(ports, slot, plan.replication)
    this.#targets = targets.filter(peer => ports.isAlive(peer))
    this.#spares = new Rendezvous()
      .order(slot, alive)
      .map(peer => peer.peerId)
      .filter(peer => !targets.includes(peer))
    this.#wanted = Math.min(plan.replication, Math.max(targets.length, 1))
    this.#required = Math.max(
      1,
      Math.min(ACKS_MIN, plan.replication, this.#targets.length + this.#spares.length),
    )
    this.#tee = new Tee({
      queueBytes: options.replicaQueueBytes,
      replayBytes: options.replayBytes,
      stallMs: options.replicaStallMs,
    })
    this.#hash = this.#targets.includes(ports.transport.self) ? undefined : createHash('sha256')
    for (const peer of this.#targets) this.#start(peer)
    this.#topUp()
  }

  get bytes(): number {
    return this.#tee.bytes
  }

  /** Resolves when every owner has room for more. The chunk must not change afterwards. */
  async write(chunk: Uint8Array): Promise<void> {
    this.#throwIfTooFew()
    this.#hash?.update(chunk)
    await this.#tee.push(chunk)
    this.#throwIfTooFew()
  }

  /** No more bytes: waits for all owners, but not much longer than for enough of them. */
  async finish(signal: AbortSignal): Promise<WrittenBlock> {
    this.#tee.end()
    this.#onChange()
    try {
      using deadline = withDeadline(
        `the acknowledgements of ${this.#plan.blockId}`,
        this.#options.ackTimeoutMs,
        signal,
      )
      await raceAbort(this.#enough.promise, deadline).catch(() => signal.throwIfAborted())
      if (this.#acks().length >= this.#required) await this.#waitForLate(signal)
      return this.#result()
    } finally {
      this.abort(new ShoalError('CANCELLED', { what: `the write of ${this.#plan.blockId}` }))
    }
  }

  /** Gives up what is still under way. */
  abort(error: Error): void {
    this.#tee.fail(error)
    for (const replica of this.#replicas.values()) {
      if (replica.ack === undefined) replica.controller.abort(error)
    }
  }

  #start(peer: PeerId): void {
    const branch = this.#tee.branch()
    if (branch === undefined) return
    const replica: Replica = { branch, controller: new AbortController() }
    this.#replicas.set(peer, replica)
    const written = this.#sink(peer, this.#plan, branch, replica.controller.signal)
    written.then(
      ack => {
        replica.ack = ack
        this.#onChange()
      },
      (error: unknown) => this.#onFailed(peer, replica, error),
    )
  }

  #onFailed(peer: PeerId, replica: Replica, error: unknown): void {
    void replica.branch.return()
    this.#replicas.delete(peer)
    this.#refused ||= hasCode(error, 'DISK_FULL') || hasCode(error, 'DISK_FAILED')
    const reason = error instanceof Error ? error.message : String(error)
    this.#failures.push(`${this.#ports.nameOf(peer)}: ${reason}`)
    this.#ports.log.warn(
      { block: this.#plan.blockId, peer, reason },
      'an owner did not take its replica; going on without it',
    )
    this.#topUp()
    this.#onChange()
  }

  #topUp(): void {
    const enough = this.#refused ? this.#wanted : this.#required
    while (this.#replicas.size < enough && this.#tee.replayable) {
      const spare = this.#spares.shift()
      if (spare === undefined) return
      this.#start(spare)
    }
  }

  #onChange(): void {
    const acks = this.#acks().length
    if (acks >= this.#required || this.#tooFew()) this.#enough.resolve()
    if (acks === this.#replicas.size) {
      this.#enough.resolve()
      this.#settled.resolve()
    }
  }

  async #waitForLate(signal: AbortSignal): Promise<void> {
    using deadline = withDeadline('the last owner', this.#options.lateReplicaMs, signal)
    await raceAbort(this.#settled.promise, deadline).catch(() => signal.throwIfAborted())
  }

  #result(): WrittenBlock {
    const sizeBytes = this.#tee.bytes
    const own = this.#replicas.get(this.#ports.transport.self)?.ack?.sha256
    const truth = this.#hash?.digest('hex') ?? own
    const acks = this.#acks()
    const sha256 = truth ?? acks[0]?.[1].sha256
    const good = acks.filter(([, ack]) => ack.sha256 === sha256 && ack.bytes === sizeBytes)
    // Without a hash of our own nobody can say which of two answers is the right one.
    const contradictory = truth === undefined && good.length < acks.length
    if (sha256 === undefined || good.length < this.#required || contradictory) {
      throw this.#underReplicated(contradictory ? 0 : good.length)
    }
    const holders = good.map(([peer]) => peer)
    const order = new Map(this.#targets.map((peer, position) => [peer, position]))
    holders.sort((a, b) => (order.get(a) ?? Infinity) - (order.get(b) ?? Infinity))
    return {
      blockId: this.#plan.blockId,
      sizeBytes,
      sha256,
      holders,
      degraded: holders.length < this.#wanted,
    }
  }

  #acks(): [PeerId, ReplicaAck][] {
    const acks: [PeerId, ReplicaAck][] = []
    for (const [peer, { ack }] of this.#replicas) if (ack !== undefined) acks.push([peer, ack])
    return acks
  }

  #tooFew(): boolean {
    return this.#replicas.size < this.#required
  }

  #throwIfTooFew(): void {
    if (this.#tooFew()) throw this.#underReplicated(this.#acks().length)
  }

  #underReplicated(acks: number): ShoalError {
    const { path, index } = this.#plan
    const why = this.#failures.length === 0 ? 'too few peers are alive' : this.#failures.join('; ')
    return new ShoalError(
      'UNDER_REPLICATED',
      { path, acks, wanted: this.#required },
      `partition ${index} of ${path} reached ${acks} of at least ${this.#required} peers (${why}); nothing is visible, try again`,
    )
  }
}
