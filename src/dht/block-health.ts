import { ShoalError, type PeerId, type Transport } from '../base/index.ts'
import type { FileOptions } from './config.ts'
import type { FileServicePorts } from './file-ports.ts'
import type { ReadCounts } from './hedge-policy.ts'
import {
  blockCheck,
  blockHealth,
  DAMAGED_MAX,
  meshBlockHealth,
  type MeshHealth,
  type StoreHealth,
} from './messages.ts'
import type { BlockStatus } from './namespace-types.ts'
import { ReplicaMender, type PullReplica, type ReplicaVerdict } from './replica-mender.ts'
import { Scrubber } from './scrubber.ts'
import { SlotAudit } from './slot-audit.ts'

/** A peer that does not say how it is within this time counts as unheard. */
const HEALTH_TIMEOUT_MS = 2_000

/** Keeps this peer's replicas good: by the scrub, by the audit, and whenever somebody says that one is bad. Says how they are. */
export class BlockHealth implements AsyncDisposable {
  readonly #ports: FileServicePorts
  readonly #options: FileOptions
  readonly #reads: () => ReadCounts
  readonly mender: ReplicaMender
  readonly scrubber: Scrubber
  readonly audit: SlotAudit
  /** Checks that this peer's readers asked others for, by block and peer. */
  readonly #asked = new Set<string>()

  constructor(ports: FileServicePorts, options: FileOptions, pull: PullReplica, reads: () => ReadCounts) {
    this.#ports = ports
    this.#options = options
    this.#reads = reads
    this.mender = new ReplicaMender(ports, options, pull)
    this.scrubber = new Scrubber(ports, options, this.mender)
    this.audit = new SlotAudit(ports, options, this.mender)
  }

  register(transport: Transport): void {
    transport.handle(blockCheck, async ({ head: { blockId }, signal }) => {
      if (this.mender.busy && !this.mender.isMending(blockId)) {
        throw new ShoalError('BUSY', { what: 'checks of replicas', limit: this.#options.mendsMax })
      }
      return this.mender.check(blockId, { signal })
    })
    transport.handle(blockHealth, () => this.status())
    transport.handle(meshBlockHealth, ({ signal }) => this.ofMesh(signal))
  }

  start(): void {
    this.scrubber.start()
    this.audit.start()
  }

  /**
   * A reader found this replica gone, unreadable or wrong: its peer is told. Not waited for; what is lost here the scrub and
   * the audit find.
   */
  reportBad(peer: PeerId, block: BlockStatus): void {
    const key = `${block.blockId} ${peer}`
    // A peer that is asked for a replica it was never said to hold did nothing wrong.
    if (!block.holders.includes(peer) || this.#asked.has(key) || this.#asked.size >= this.#options.mendsMax)
      return
    this.#asked.add(key)
    const { log } = this.#ports
    const { blockId } = block
    log.warn({ block: blockId, peer }, 'a replica seems bad; asking its peer to check it')
    this.ask(peer, block)
      .then(
        verdict => log.info({ block: blockId, peer, ...verdict }, 'a replica that seemed bad was checked'),
        (error: unknown) =>
          log.warn({ block: blockId, peer, reason: String(error) }, 'a bad replica stays for now'),
      )
      .finally(() => this.#asked.delete(key))
  }

  /** Has a peer, which may be this one, check its replica. */
  async ask(
    peer: PeerId,
    { blockId }: Pick<BlockStatus, 'blockId'>,
    signal?: AbortSignal,
  ): Promise<ReplicaVerdict> {
    const { transport } = this.#ports
    if (peer === transport.self) return this.mender.check(blockId, { signal })
    const timeoutMs = this.#options.copyTimeoutMs
    return (await transport.call(peer, blockCheck, { blockId }, { timeoutMs, signal })).head
  }

  /** Of this peer, from memory but for the free space. */
  async status(): Promise<StoreHealth> {
    const { store } = this.#ports
    const usage = await store
      .usage()
      .catch(() => ({ blocks: store.list().length, usedBytes: 0, freeBytes: 0 }))
    const { oldestMs, ...scrub } = this.scrubber.status()
    const damaged = this.mender.damaged()
    const { failure } = store
    const { last } = this.audit
    return {
      ...usage,
      ...(failure !== undefined && { failure: failure.message.slice(0, 1_000) }),
      ...this.mender.counts,
      damagedCount: damaged.length,
      damaged: damaged.slice(0, DAMAGED_MAX),
      quarantined: store.quarantined().length,
      scrub: { ...scrub, ...(oldestMs !== undefined && { oldestAgeMs: Date.now() - oldestMs }) },
      ...(last !== undefined && { audit: last }),
      reads: this.#reads(),
    }
  }

  /** Of all living peers. */
  async ofMesh(signal?: AbortSignal): Promise<MeshHealth> {
    const { transport } = this.#ports
    const living = this.#ports.peers().filter(({ peerId }) => this.#ports.isAlive(peerId))
    const peers = await Promise.all(
      living.map(async ({ peerId }) => {
        const named = { peer: peerId, name: this.#ports.nameOf(peerId) }
        try {
          if (peerId === transport.self) return { ...named, health: await this.status() }
          const options = { timeoutMs: HEALTH_TIMEOUT_MS, signal }
          return { ...named, health: (await transport.call(peerId, blockHealth, {}, options)).head }
        } catch {
          return named
        }
      }),
    )
    return { peers }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.audit[Symbol.asyncDispose]()
    await this.scrubber[Symbol.asyncDispose]()
  }
}
