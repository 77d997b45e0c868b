import { parseBlockId } from '../../../src/dht/index.ts'
import { asFileId } from '../../../src/base/index.ts'
import type { BlockId, PeerId } from '../../../src/base/index.ts'
import { replicaTargets } from '../../../src/dht/file-ports.ts'
import { repairMember } from '../../../src/node/leader-role.ts'
import type { Surroundings } from '../world.ts'
import type { MeshChecker } from './mesh-checker.ts'
import { sha256Of } from './sim-block-store.ts'
import type { SimBlock, SimBlockStore } from './sim-block-store.ts'
import type { Calls, Reply, SimCalls } from './sim-calls.ts'
import type { SimLog } from './sim-log.ts'
import { pause, waitFor } from './task.ts'
import type { Task } from './task.ts'

export interface BlocksMutant {
  /** An order to delete is obeyed whatever this peer has applied, and without a judgement of its own. */
  deletesOnOrder?: boolean
  /** The collector takes blocks of open writes for garbage. */
  collectsOpenWrites?: boolean
  /** Snapshots are nothing to the collector. */
  collectsSnapshots?: boolean
  /** The collector judges by what happens to be applied here, and at once. */
  collectsWithoutBarrier?: boolean
  /** A copy is what the source sent, whatever was committed. */
  copiesUnverified?: boolean
  /** What the log says this peer holds is never compared with its disk. */
  noAntiEntropy?: boolean
  /** Nobody looks at blocks that nobody reads. */
  noScrub?: boolean
  /** A reader hands out what it got. */
  readsUnchecked?: boolean
}

/** All times in milliseconds; short, so that everything happens within a simulated minute. */
const CALL_MS = 2_000
const ORPHAN_GRACE_MS = 6_000
const ORPHAN_SWEEP_MS = 3_000
const SCRUB_MS = 8_000
const ANTI_ENTROPY_MS = 5_000

export interface SimBlocksInit {
  around: Surroundings
  store: SimBlockStore
  checker: MeshChecker
  mutant: BlocksMutant
  /** Longest time of one flush. */
  flushMs: number
  log: SimLog
  calls: Calls
  isAlive: (peer: PeerId) => boolean
}

/**
 * What a peer does with blocks, by the rules of BlockService, BlockReader, OrphanCollector and the background checks,
 * whose own code waits with promises. What decides (who is to hold what, what is needed) is asked of the real state.
 */
export class SimBlocks {
  readonly #init: SimBlocksInit
  /** When each block was first seen to be unneeded, without a sweep in between that saw it needed. */
  #unneededSince = new Map<BlockId, number>()
  #copying = new Set<BlockId>()

  constructor(init: SimBlocksInit) {
    this.#init = init
  }

  /** Its loops run until the process dies. */
  *sweeps(): Task<never> {
    const { around, mutant } = this.#init
    for (;;) {
      yield* pause(around, ORPHAN_SWEEP_MS * (0.5 + around.random.next()))
      yield* this.#collect()
      if (mutant.noAntiEntropy !== true && around.random.next() < ORPHAN_SWEEP_MS / ANTI_ENTROPY_MS)
        yield* this.#compareWithLog()
      if (mutant.noScrub !== true && around.random.next() < ORPHAN_SWEEP_MS / SCRUB_MS) yield* this.#scrub()
    }
  }

  // ---- For other peers

  *write({ blockId, bytes, leaseIndex }: SimCalls['block-write']['request']): Task<Reply<'block-write'>> {
    const { log } = this.#init
    if (log.appliedIndex >= leaseIndex) {
      // A peer that lags behind cannot know the lease yet; what it takes in vain its collector removes.
      const fileId = asFileId(parseBlockId(blockId)?.fileId ?? '')
      if (log.state.namespace.leaseOf(fileId) === undefined) return { ok: false, code: 'LEASE_LOST' }
    }
    const sha256 = sha256Of(bytes)
    const code = yield* this.#store(blockId, { bytes, sha256 })
    return code === undefined ? { ok: true, sha256 } : { ok: false, code }
  }

  read({ blockId }: SimCalls['block-read']['request']): Reply<'block-read'> {
    const block = this.#init.store.read(blockId)
    if (block === 'missing') return { ok: false, code: 'NOT_FOUND' }
    if (block === 'corrupt') return { ok: false, code: 'CORRUPT_REPLICA' }
    return { ok: true, bytes: block.bytes }
  }

  /** Makes sure that a good copy is on disk here. */
  *copy({ blockId, sha256, from }: SimCalls['block-copy']['request']): Task<Reply<'block-copy'>> {
    const { around, checker, store, calls, mutant } = this.#init
    const present = store.read(blockId)
    if (typeof present === 'object' && present.sha256 === sha256) return { ok: true }
    if (this.#copying.has(blockId)) return { ok: false, code: 'BUSY' }
    this.#copying.add(blockId)
    try {
      for (const source of from) {
        if (source === around.self) continue
        const reply = yield* calls.call(source, 'block-read', { blockId }, CALL_MS)
        if (!reply.ok) continue
        const found = sha256Of(reply.bytes)
        if (found !== sha256 && mutant.copiesUnverified !== true) continue
        const code = yield* this.#store(blockId, { bytes: reply.bytes, sha256: found })
        if (code !== undefined) continue
        checker.copiedBytes += reply.bytes.length
        return { ok: true }
      }
      return { ok: false, code: 'BLOCK_UNAVAILABLE' }
    } finally {
      this.#copying.delete(blockId)
    }
  }

  delete({ blockId, appliedIndex }: SimCalls['block-delete']['request']): Reply<'block-delete'> {
    const { log, mutant } = this.#init
    if (mutant.deletesOnOrder !== true) {
      if (log.appliedIndex < appliedIndex) return { ok: true, deleted: false }
      const dispensable = log.state.namespace.isReferenced(blockId) && this.#isSurplus(blockId)
      if (!dispensable) return { ok: true, deleted: false }
    }
    return { ok: true, deleted: this.#delete(blockId) }
  }

  /** The bytes of a committed block from whoever has it, verified; undefined when nobody gave it in time. */
  *fetch(blockId: BlockId): Task<Uint8Array | undefined> {
    const { around, calls, isAlive, log, mutant, store } = this.#init
    for (let round = 0; round < 3; round++) {
      const block = log.state.namespace.blockOf(blockId)
      if (block === undefined) return undefined
      const others = log.state.slots.writersOf(block.slot).filter(peer => !block.holders.includes(peer))
      const rank = (peer: PeerId): number => (peer === around.self ? 0 : isAlive(peer) ? 1 : 2)
      const candidates = [...block.holders, ...others].sort((a, b) => rank(a) - rank(b))
      for (const peer of candidates) {
        const reply: Reply<'block-read'> =
          peer === around.self
            ? this.read({ blockId })
            : yield* calls.call(peer, 'block-read', { blockId }, CALL_MS)
        const good = reply.ok && (mutant.readsUnchecked === true || sha256Of(reply.bytes) === block.sha256)
        if (good) return reply.bytes
        const bad = reply.ok || reply.code === 'CORRUPT_REPLICA' || reply.code === 'NOT_FOUND'
        if (bad && peer === around.self && store.has(blockId)) {
          const from = block.holders.filter(holder => holder !== peer)
          yield* this.copy({ blockId, sha256: block.sha256, from })
        }
      }
      yield* pause(around, 200)
    }
    return undefined
  }

  // ---- On its own account

  *#store(blockId: BlockId, block: SimBlock): Task<string | undefined> {
    const { around, store, flushMs } = this.#init
    const written = store.write(blockId, block)
    if (written === 'DISK_FULL' || written === 'DISK_FAILED') return written
    const flushed = waitFor<string | undefined>(done => {
      around.after(0.2 + around.random.next() * flushMs, () =>
        done(store.sync(blockId) ? undefined : 'DISK_FAILED'),
      )
    })
    if (written === 'written') return yield* flushed
    // Only a planted bug is done before the flush is.
    around.after(flushMs, () => store.sync(blockId))
    return undefined
  }

  #delete(blockId: BlockId): boolean {
    const { around, store, checker } = this.#init
    if (!store.delete(blockId)) return false
    around.trace(['deleted', blockId])
    checker.deleted(around.self, blockId)
    return true
  }

  /** By the state applied here nobody needs this peer's copy. */
  #isSurplus(blockId: BlockId): boolean {
    const { around, log, mutant } = this.#init
    const { namespace, slots } = log.state
    const block = namespace.blockOf(blockId)
    if (!namespace.isReferenced(blockId)) return true
    const fileId = asFileId(parseBlockId(blockId)?.fileId ?? '')
    const isListed = namespace.pathOf(fileId) !== undefined || namespace.leaseOf(fileId) !== undefined
    if (mutant.collectsSnapshots === true && !isListed) return true
    if (block === undefined) return mutant.collectsOpenWrites === true
    if (block.holders.includes(around.self)) return false
    const ports = {
      slots: () => slots,
      peers: () => log.state.members.members().map(member => repairMember(member)),
    }
    return (
      !slots.row(block.slot).retiring.includes(around.self) &&
      !replicaTargets(ports, block.slot, block.replication).includes(around.self)
    )
  }

  *#collect(): Task<void> {
    const { around, log, mutant, store } = this.#init
    const blocks = store.list()
    if (mutant.collectsWithoutBarrier !== true && !(yield* log.barrier())) return
    const nowMs = around.nowMs()
    const unneeded = blocks.filter(blockId => this.#isSurplus(blockId))
    const before = this.#unneededSince
    this.#unneededSince = new Map(unneeded.map(blockId => [blockId, before.get(blockId) ?? nowMs]))
    const hasty = mutant.collectsWithoutBarrier === true || mutant.collectsOpenWrites === true
    for (const [blockId, sinceMs] of this.#unneededSince) {
      if (nowMs - sinceMs < ORPHAN_GRACE_MS && !hasty) continue
      this.#unneededSince.delete(blockId)
      if (this.#isSurplus(blockId)) this.#delete(blockId)
    }
  }

  /** What the log takes this peer for a holder of, but is not here, it had better not count on. */
  *#compareWithLog(): Task<void> {
    const { around, log, store } = this.#init
    if (!(yield* log.barrier())) return
    const { namespace } = log.state
    const missing = namespace
      .slotsWithData()
      .flatMap(slot => namespace.blocksInSlot(slot))
      .filter(({ blockId, holders }) => holders.includes(around.self) && !store.has(blockId))
      // The last holder is not forgotten, so that there is somebody to ask.
      .filter(({ holders }) => holders.length > 1)
    if (missing.length === 0) return
    const blocks = missing.slice(0, 64).map(({ blockId }) => ({ blockId, remove: [around.self] }))
    yield* log.propose({ part: 'dht', command: { type: 'report-holders', blocks } })
  }

  *#scrub(): Task<void> {
    const { around, log, store } = this.#init
    for (const blockId of store.list()) {
      if (store.read(blockId) !== 'corrupt') continue
      const block = log.state.namespace.blockOf(blockId)
      if (block === undefined) continue
      const from = block.holders.filter(holder => holder !== around.self)
      yield* this.copy({ blockId, sha256: block.sha256, from })
    }
  }
}
