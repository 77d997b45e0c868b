import { below, pick, shuffled } from '../../../src/base/index.ts'
import type { PeerId } from '../../../src/base/index.ts'
import type { FakeDisk } from '../fake-disk.ts'
import { PROFILES } from '../nemesis.ts'
import type { Nemesis } from '../nemesis.ts'
import type { World } from '../world.ts'
import type { MeshChecker } from './mesh-checker.ts'
import type { SimBlockStore } from './sim-block-store.ts'

type StorageAct =
  | 'flip'
  | 'wipe'
  | 'disk-full'
  | 'disk-failed'
  | 'log-failed'
  | 'disk-mended'
  | 'clock-jump'
  | 'lose-peer'
  | 'join'

/** What is done to links and processes, and to disks, clocks and members besides. */
export interface MeshNemesis {
  name: string
  links: Nemesis
  everyMs: number
  acts: Partial<Record<StorageAct, number>>
}

const linksOf = (name: string): Nemesis => {
  const profile = PROFILES.find(each => each.name === name)
  if (profile === undefined) throw new Error(`there is no profile ${name}`)
  return profile
}

const ALL: MeshNemesis['acts'] = {
  flip: 4,
  wipe: 1,
  'disk-full': 1,
  'disk-failed': 1,
  'log-failed': 1,
  'disk-mended': 3,
  'clock-jump': 2,
  'lose-peer': 1,
  join: 1,
}

export const MESH_PROFILES: readonly MeshNemesis[] = [
  { name: 'calm', links: linksOf('calm'), everyMs: 1_000, acts: {} },
  { name: 'rot', links: linksOf('calm'), everyMs: 700, acts: { flip: 6, wipe: 1 } },
  {
    name: 'disks',
    links: linksOf('crashes'),
    everyMs: 1_500,
    acts: { flip: 2, wipe: 1, 'disk-full': 2, 'disk-failed': 2, 'log-failed': 2, 'disk-mended': 4 },
  },
  { name: 'clocks', links: linksOf('leaders'), everyMs: 1_000, acts: { 'clock-jump': 1 } },
  { name: 'crashes', links: linksOf('crashes'), everyMs: 2_000, acts: { flip: 1 } },
  { name: 'partitions', links: linksOf('partitions'), everyMs: 3_000, acts: { 'clock-jump': 1, flip: 1 } },
  { name: 'churn', links: linksOf('lossy'), everyMs: 6_000, acts: { join: 3, 'lose-peer': 1 } },
  { name: 'pauses', links: linksOf('pauses'), everyMs: 3_000, acts: { flip: 1, join: 1 } },
  { name: 'everything', links: linksOf('everything'), everyMs: 1_500, acts: ALL },
]

export function meshProfile(name: string): MeshNemesis {
  const profile = MESH_PROFILES.find(each => each.name === name)
  if (profile === undefined) throw new Error(`there is no profile ${name}`)
  return profile
}

export interface StorageVictims {
  world: World
  checker: MeshChecker
  stores: ReadonlyMap<PeerId, SimBlockStore>
  disks: ReadonlyMap<PeerId, FakeDisk>
  /** Whether the log survives the loss of this peer for good. */
  mayLosePeer(peer: PeerId): boolean
  losePeer(peer: PeerId): void
  join(): void
}

const HOUR_MS = 3_600_000
const JUMPS_MS = [HOUR_MS, -HOUR_MS, 24 * HOUR_MS, -24 * HOUR_MS]

/** Begins to trouble disks, clocks and members, until `untilMs`. It stays within what the mesh promises to survive. */
export function unleashOnStorage(victims: StorageVictims, nemesis: MeshNemesis, untilMs: number): void {
  const { world } = victims
  const acts = Object.entries(nemesis.acts).flatMap(([act, weight]) =>
    new Array<StorageAct>(weight).fill(act as StorageAct),
  )
  if (acts.length === 0) return
  const act = (): void => {
    if (world.time.nowMs >= untilMs) return
    perform(victims, pick(world.random, acts)!)
    world.time.after(nemesis.everyMs * (0.3 + 1.4 * world.random.next()), act)
  }
  world.time.after(nemesis.everyMs * world.random.next(), act)
}

/** Disks work again and clocks are right: what heals with the mesh. */
export function mendStorage({ stores, disks }: Pick<StorageVictims, 'stores' | 'disks'>): void {
  for (const store of stores.values()) store.fault = undefined
  for (const disk of disks.values()) disk.failing = false
}

function perform(victims: StorageVictims, act: StorageAct): void {
  const { world, checker, stores, disks } = victims
  const { random } = world
  const peer = pick(random, world.peers())
  if (peer === undefined) return
  const store = stores.get(peer)!
  world.trace.add(world.time.nowMs, 'nemesis', [act, peer])
  switch (act) {
    case 'flip': {
      const blocks = shuffled(random, store.list()).slice(0, 1 + below(random, 3))
      for (const blockId of blocks) {
        if (!checker.mayHarm(peer, blockId)) continue
        store.flip(blockId, random)
        checker.harmed(peer, blockId)
      }
      break
    }
    case 'wipe':
      if (!checker.mayLose(peer)) break
      checker.loses(peer)
      store.wipe()
      break
    case 'disk-full':
      store.fault = 'DISK_FULL'
      break
    case 'disk-failed':
      store.fault = 'DISK_FAILED'
      break
    case 'log-failed':
      disks.get(peer)!.failing = true
      break
    case 'disk-mended':
      for (const each of stores.values()) if (random.next() < 0.7) each.fault = undefined
      for (const each of disks.values()) if (random.next() < 0.7) each.failing = false
      break
    case 'clock-jump':
      world.jumpClock(peer, pick(random, JUMPS_MS)!)
      break
    case 'lose-peer':
      if (victims.mayLosePeer(peer) && checker.mayLose(peer)) victims.losePeer(peer)
      break
    case 'join':
      victims.join()
      break
  }
}
