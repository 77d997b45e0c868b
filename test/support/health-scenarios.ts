import { createHash } from 'node:crypto'
import { BlockService } from '../../src/dht/block-service.ts'
import { FILE_DEFAULTS, type FileOptions } from '../../src/dht/config.ts'
import { HedgePolicy } from '../../src/dht/hedge-policy.ts'
import type { BlockStatus } from '../../src/dht/index.ts'
import { OrphanCollector } from '../../src/dht/orphan-collector.ts'
import { ReplicaMender } from '../../src/dht/replica-mender.ts'
import { Scrubber } from '../../src/dht/scrubber.ts'
import { SlotAudit } from '../../src/dht/slot-audit.ts'
import type { BlockId } from '../../src/base/index.ts'
import { bytesOf, chunked, DhtMesh, type MeshPeer } from './dht-mesh.ts'

/**
 * One promise of the block store's keepers each: resolves with how it was broken, or with nothing. Tests run them with the real
 * parts, and with parts that have a bug planted, which they must find.
 */
export interface HealthParts {
  Mender: typeof ReplicaMender
  Audit: typeof SlotAudit
  Scrub: typeof Scrubber
  Hedges: typeof HedgePolicy
  /** What the collector is told of a block. */
  isSurplus(peer: MeshPeer, blockId: BlockId): boolean
  /** How a peer reads its own disk. */
  readLocal(peer: MeshPeer, block: BlockStatus, start: number): Promise<Uint8Array>
}

export const REAL_PARTS: HealthParts = {
  Mender: ReplicaMender,
  Audit: SlotAudit,
  Scrub: Scrubber,
  Hedges: HedgePolicy,
  isSurplus: (peer, blockId) => new BlockService(peer.ports, FILE_DEFAULTS).isSurplus(blockId),
  readLocal: (peer, block, start) => bytesOf(peer.store.read(block.blockId, { start })),
}

export const SIZE_BYTES = 300_000
const GRACE_MS = 600_000

export type Scenario = (parts: HealthParts) => Promise<string[]>

export const HEALTH_SCENARIOS = {
  'wrong bytes are never returned': parts =>
    withFile(async (mesh, block, bytes) => {
      const broken: string[] = []
      const bob = mesh.peer('bob')
      for (const offset of [0, 65_536, 131_071, SIZE_BYTES - 1]) {
        await mesh.flip('bob', block.blockId, offset)
        for (const start of [0, 65_536, SIZE_BYTES - 100]) {
          const read = await parts.readLocal(bob, block, start).catch(() => undefined)
          if (read !== undefined && !bytes.subarray(start).equals(read)) {
            broken.push(`a read from ${start} gave the flipped byte at ${offset}`)
          }
        }
        await mesh.flip('bob', block.blockId, offset)
      }
      return broken
    }),

  'the scrub finds a flipped byte and mends it': parts =>
    withFile(async (mesh, block, bytes) => {
      const { ports, store } = mesh.peer('bob')
      const options = { ...FILE_DEFAULTS, scrubPeriodMs: 1_000, scrubBytesPerSecond: 1e9 }
      const mender = menderOf(parts, mesh.peer('bob'), options)
      const later = (): number => Date.now() + 2_000
      await using scrub = new parts.Scrub(ports, options, mender, later)
      await mesh.flip('bob', block.blockId, SIZE_BYTES - 1)
      await scrub.pass()
      const read = await bytesOf(store.read(block.blockId)).catch(() => undefined)
      return read !== undefined && bytes.equals(read) ? [] : ['the flipped byte is still there']
    }),

  'what is missing on a disk is noticed and made elsewhere': parts =>
    withFile(async (mesh, block) => {
      const bob = mesh.peer('bob')
      const mender = menderOf(parts, bob, FILE_DEFAULTS)
      await using audit = new parts.Audit(bob.ports, FILE_DEFAULTS, mender)
      await bob.store.delete(block.blockId)
      await audit.run()
      const { holders } = mesh.namespace.blockOf(block.blockId)!
      return holders.includes(bob.id) ? ['the log still says that bob has it'] : []
    }),

  'the garbage collector leaves open writes and files alone, whatever the clocks do': parts =>
    withFile(async (mesh, block) => {
      const bob = mesh.peer('bob')
      const open = await bob.service.writeOpen('/open', chunked(Buffer.alloc(1_000)), {
        leaseMs: 10 * GRACE_MS,
      })
      const options = { ...FILE_DEFAULTS, orphanGraceMs: GRACE_MS }
      await using collector = new OrphanCollector(bob.ports, options, blockId =>
        parts.isSurplus(bob, blockId),
      )
      const isKept = (): boolean[] => [
        bob.store.has(block.blockId),
        bob.store.list().some(blockId => blockId.startsWith(open.fileId)),
      ]
      const before = isKept()
      for (const jumpMs of [0, GRACE_MS + 1, -3 * GRACE_MS, 5 * GRACE_MS]) {
        mesh.aheadMs += jumpMs
        await collector.sweep()
      }
      const after = isKept()
      return before.every((was, at) => was === after[at]) ? [] : ['a block that is needed was deleted']
    }),

  'the only copy of a block is not put out of reach': parts =>
    withFile(async (mesh, block, bytes) => {
      const { bob, ada, cyd } = { bob: mesh.peer('bob'), ada: mesh.peer('ada'), cyd: mesh.peer('cyd') }
      mesh.kill(ada.name)
      mesh.kill(cyd.name)
      await mesh.flip('bob', block.blockId, SIZE_BYTES - 1)
      await menderOf(parts, bob, FILE_DEFAULTS).check(block.blockId)
      const good = await bytesOf(bob.store.read(block.blockId, { end: 65_536 })).catch(() => undefined)
      if (good === undefined || !bytes.subarray(0, 65_536).equals(good))
        return ['its good bytes cannot be read']
      return mesh.namespace.blockOf(block.blockId)!.holders.includes(bob.id)
        ? []
        : ['the log has forgotten it']
    }),

  'no more than one read in twenty asks a second holder': async parts => {
    const policy = new parts.Hedges(FILE_DEFAULTS)
    for (let read = 0; read < 10_000; read++) {
      policy.onRead()
      policy.take()
    }
    const { reads, hedged } = policy.counts
    return hedged <= reads * 0.05 + 1 ? [] : [`${hedged} of ${reads} reads asked twice`]
  },
} satisfies Record<string, Scenario>

export function menderOf(parts: HealthParts, peer: MeshPeer, options: FileOptions): ReplicaMender {
  return new parts.Mender(peer.ports, options, (request, signal) =>
    peer.service.askToCopy(peer.id, request, { signal }),
  )
}

/** Three peers, each with a copy of one block. */
async function withFile(
  scenario: (mesh: DhtMesh, block: BlockStatus, bytes: Buffer) => Promise<string[]>,
): Promise<string[]> {
  await using mesh = await DhtMesh.start(['ada', 'bob', 'cyd'])
  const bytes = patterned(SIZE_BYTES)
  await mesh.client('ada').put('/f', chunked(bytes), { format: 'binary' })
  const block = mesh.namespace.blocksOf('/f')[0]!
  if (block.sha256 !== createHash('sha256').update(bytes).digest('hex')) throw new Error('put other bytes')
  return await scenario(mesh, block, bytes)
}

/** Bytes that repeat with no period of the chunk size. */
export function patterned(length: number, seed = 0): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + (at >>> 8) + seed) & 0xff
  return bytes
}
