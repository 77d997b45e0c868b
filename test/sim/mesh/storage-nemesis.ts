import { below, pick, shuffled } from '../../../src/base/index.ts'
import { PROFILES } from '../nemesis.ts'
import type { Nemesis } from '../nemesis.ts'
import type { World } from '../world.ts'
import type { SimMesh } from './sim-mesh.ts'

type StorageAct =
  | 'flip'
  | 'wipe'
  | 'disk-full'
  | 'disk-failed'
  | 'log-failed'
  | 'log-full'
  | 'log-lost'
  | 'disk-mended'
  | 'clock-jump'
  | 'lose-peer'
  | 'join'
  | 'drain'
  | 'blackout'

/** What is done to links and processes, and to disks, clocks and members besides. */
export interface MeshNemesis {
  name: string
  links: Nemesis
  everyMs: number
  acts: Partial<Record<StorageAct, number>>
  /** At least so many peers at first. @default 1 */
  peersMin?: number
  /** Clients want fewer copies now and then. @default only where no copies are harmed */
  lowersReplication?: boolean
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
  'log-full': 1,
  'log-lost': 1,
  'disk-mended': 4,
  'clock-jump': 2,
  'lose-peer': 1,
  join: 1,
  drain: 1,
}

/** Peers die and come back often enough to be quarantined. */
const FLAPPING: Nemesis = {
  name: 'flapping',
  everyMs: 2_500,
  links: linksOf('calm').links,
  acts: { isolate: 3, mend: 4, crash: 1, start: 3 },
}

export const MESH_PROFILES: readonly MeshNemesis[] = [
  { name: 'calm', links: linksOf('calm'), everyMs: 1_000, acts: {} },
  { name: 'rot', links: linksOf('calm'), everyMs: 700, acts: { flip: 6, wipe: 1 } },
  {
    name: 'rot and fewer copies',
    links: linksOf('calm'),
    everyMs: 400,
    acts: { flip: 1 },
    peersMin: 4,
    lowersReplication: true,
  },
  {
    name: 'disks',
    links: linksOf('crashes'),
    everyMs: 1_500,
    acts: {
      flip: 2,
      wipe: 1,
      'disk-full': 2,
      'disk-failed': 2,
      'log-failed': 2,
      'log-full': 2,
      'disk-mended': 5,
    },
  },
  { name: 'clocks', links: linksOf('leaders'), everyMs: 1_000, acts: { 'clock-jump': 1 } },
  { name: 'crashes', links: linksOf('crashes'), everyMs: 2_000, acts: { flip: 1 } },
  { name: 'partitions', links: linksOf('partitions'), everyMs: 3_000, acts: { 'clock-jump': 1, flip: 1 } },
  { name: 'churn', links: linksOf('lossy'), everyMs: 6_000, acts: { join: 3, 'lose-peer': 1, drain: 1 } },
  {
    name: 'comings and goings',
    links: linksOf('calm'),
    everyMs: 3_000,
    acts: { join: 3, drain: 3, 'lose-peer': 1 },
    peersMin: 4,
  },
  { name: 'amnesia', links: linksOf('leaders'), everyMs: 1_500, acts: { 'log-lost': 1 }, peersMin: 3 },
  {
    name: 'blackouts',
    links: linksOf('lossy'),
    everyMs: 5_000,
    acts: { blackout: 1, 'clock-jump': 1 },
  },
  {
    name: 'flapping',
    links: FLAPPING,
    everyMs: 4_000,
    acts: { flip: 1, join: 1 },
    peersMin: 4,
  },
  { name: 'pauses', links: linksOf('pauses'), everyMs: 3_000, acts: { flip: 1, join: 1 } },
  { name: 'everything', links: linksOf('everything'), everyMs: 1_500, acts: ALL },
]

export function meshProfile(name: string): MeshNemesis {
  const profile = MESH_PROFILES.find(each => each.name === name)
  if (profile === undefined) throw new Error(`there is no profile ${name}`)
  return profile
}

const HOUR_MS = 3_600_000
const JUMPS_MS = [HOUR_MS, -HOUR_MS, 24 * HOUR_MS, -24 * HOUR_MS]

/** Not where copies vanish with their disks: what nobody can look at nobody can save. */
export function mayLowerReplication(nemesis: MeshNemesis): boolean {
  return nemesis.lowersReplication ?? !harmsCopies(nemesis)
}

/** Whether copies rot or vanish while the log takes them for good. */
function harmsCopies({ acts }: MeshNemesis): boolean {
  return acts.flip !== undefined || acts.wipe !== undefined || acts['lose-peer'] !== undefined
}

/** Begins to trouble disks, clocks and members, until `untilMs`. It stays within what the mesh promises to survive. */
export function unleashOnStorage(mesh: SimMesh, nemesis: MeshNemesis, untilMs: number): void {
  const { world } = mesh
  const acts = Object.entries(nemesis.acts).flatMap(([act, weight]) =>
    new Array<StorageAct>(weight).fill(act as StorageAct),
  )
  if (acts.length === 0) return
  const act = (): void => {
    if (world.time.nowMs >= untilMs) return
    perform(mesh, pick(world.random, acts)!)
    world.time.after(nemesis.everyMs * (0.3 + 1.4 * world.random.next()), act)
  }
  world.time.after(nemesis.everyMs * world.random.next(), act)
}

/** Disks work again and clocks are right: what heals with the mesh. */
export function mendStorage({ stores, disks }: Pick<SimMesh, 'stores' | 'disks'>): void {
  for (const store of stores.values()) store.fault = undefined
  for (const disk of disks.values()) disk.failing = disk.full = false
}

function perform(mesh: SimMesh, act: StorageAct): void {
  const { world, checker, stores, disks } = mesh
  const { random } = world
  const peer = pick(
    random,
    world.peers().filter(each => stores.has(each)),
  )
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
    case 'log-full':
      disks.get(peer)!.full = true
      break
    case 'log-lost':
      if (mesh.mayLoseLog(peer)) mesh.loseLog(peer)
      break
    case 'disk-mended':
      for (const each of stores.values()) if (random.next() < 0.7) each.fault = undefined
      for (const each of disks.values()) if (random.next() < 0.7) each.failing = each.full = false
      break
    case 'clock-jump':
      world.jumpClock(peer, pick(random, JUMPS_MS)!)
      break
    case 'lose-peer':
      if (mesh.mayLosePeer(peer) && checker.mayLose(peer)) mesh.losePeer(peer)
      break
    case 'join':
      mesh.add()
      break
    case 'drain':
      if (world.stateOf(peer) === 'running') mesh.drain(peer)
      break
    case 'blackout':
      blackOut(world)
      break
  }
}

/** The power fails everywhere, and somebody sets one of the clocks before it is back. */
function blackOut(world: World): void {
  const { random } = world
  const peers = world.peers()
  for (const peer of peers) world.crash(peer)
  if (random.next() < 0.5) for (const peer of peers) world.jumpClock(peer, pick(random, JUMPS_MS)!)
  for (const peer of shuffled(random, peers)) world.time.after(2_000 * random.next(), () => world.start(peer))
}
