import { below, pick, shuffled } from '../../src/base/index.ts'
import type { PeerId } from '../../src/base/index.ts'
import type { LinkFaults } from './fake-network.ts'
import { CLEAN_LINK } from './fake-network.ts'
import type { World } from './world.ts'

/** What is done to a mesh, how often. Rates are weights of the acts; `everyMs` is the mean time between two acts. */
export interface Nemesis {
  name: string
  everyMs: number
  links: LinkFaults
  acts: Partial<Record<Act, number>>
}

type Act =
  | 'partition'
  | 'isolate'
  | 'one-way'
  | 'mend'
  | 'crash'
  | 'crash-many'
  | 'start'
  | 'pause'
  | 'resume'
  | 'slow-link'
  | 'isolate-leader'
  | 'crash-leader'
  | 'pause-leader'

const LOSSY: LinkFaults = { loss: 0.05, duplication: 0.05, slow: 0.1, minMs: 0.5, maxMs: 20, slowMs: 400 }
const HOSTILE: LinkFaults = { loss: 0.15, duplication: 0.1, slow: 0.2, minMs: 0.5, maxMs: 60, slowMs: 1_500 }

export const PROFILES: readonly Nemesis[] = [
  { name: 'calm', everyMs: 1_000, links: CLEAN_LINK, acts: {} },
  { name: 'lossy', everyMs: 2_000, links: LOSSY, acts: { 'slow-link': 1, mend: 1 } },
  {
    name: 'partitions',
    everyMs: 2_000,
    links: { ...CLEAN_LINK, maxMs: 10 },
    acts: { partition: 3, isolate: 2, 'one-way': 2, mend: 4 },
  },
  { name: 'crashes', everyMs: 1_200, links: CLEAN_LINK, acts: { crash: 3, 'crash-many': 1, start: 5 } },
  { name: 'pauses', everyMs: 1_500, links: CLEAN_LINK, acts: { pause: 2, resume: 3 } },
  {
    name: 'everything',
    everyMs: 900,
    links: LOSSY,
    acts: {
      partition: 2,
      isolate: 2,
      'one-way': 1,
      mend: 5,
      crash: 2,
      'crash-many': 1,
      start: 5,
      pause: 2,
      resume: 4,
      'slow-link': 1,
    },
  },
  {
    name: 'hot',
    everyMs: 350,
    links: HOSTILE,
    acts: { isolate: 3, 'one-way': 2, mend: 6, crash: 4, start: 6, pause: 3, resume: 5 },
  },
  {
    name: 'leaders',
    everyMs: 1_500,
    links: { ...CLEAN_LINK, loss: 0.02, maxMs: 30 },
    acts: { 'isolate-leader': 3, 'crash-leader': 3, 'pause-leader': 3, mend: 4, start: 4, resume: 4 },
  },
]

/**
 * Begins to trouble the world, until `untilMs`.
 * @param leader whoever takes itself for the leader; one of them when they are several
 */
export function unleash(
  world: World,
  nemesis: Nemesis,
  untilMs: number,
  leader: () => PeerId | undefined,
): void {
  world.network.faults = { ...nemesis.links }
  const acts = Object.entries(nemesis.acts).flatMap(([act, weight]) =>
    new Array<Act>(weight).fill(act as Act),
  )
  if (acts.length === 0) return
  const act = (): void => {
    if (world.time.nowMs >= untilMs) return
    perform(world, pick(world.random, acts)!, leader())
    world.time.after(nemesis.everyMs * (0.3 + 1.4 * world.random.next()), act)
  }
  world.time.after(nemesis.everyMs * world.random.next(), act)
}

function perform(world: World, act: Act, leader: PeerId | undefined): void {
  const { network, random } = world
  const peers = shuffled(random, world.peers())
  world.trace.add(world.time.nowMs, 'nemesis', act)
  switch (act) {
    case 'partition': {
      const size = 1 + below(random, peers.length)
      network.partition(peers.slice(0, size), peers.slice(size))
      break
    }
    case 'isolate':
      network.partition(peers.slice(0, 1), peers.slice(1))
      break
    case 'one-way': {
      const [mute, ...others] = peers
      const some = others.filter(() => random.next() < 0.7)
      const speaks = random.next() < 0.5
      for (const other of some) network.cut(speaks ? mute! : other, speaks ? other : mute!)
      break
    }
    case 'slow-link':
      if (peers.length > 1) network.setLink(peers[0]!, peers[1]!, { ...HOSTILE, minMs: 200 })
      break
    case 'isolate-leader':
      if (leader !== undefined) network.partition([leader], peers)
      break
    case 'crash-leader':
      if (leader !== undefined) world.crash(leader)
      break
    case 'pause-leader':
      if (leader !== undefined) world.pause(leader)
      break
    case 'mend':
      network.mendPartitions()
      break
    case 'crash':
      world.crash(peers[0]!)
      break
    case 'crash-many':
      for (const peer of peers) if (random.next() < 0.7) world.crash(peer)
      break
    case 'start':
      for (const peer of peers) if (random.next() < 0.7) world.start(peer)
      break
    case 'pause':
      world.pause(peers[0]!)
      break
    case 'resume':
      for (const peer of peers) if (random.next() < 0.7) world.resume(peer)
      break
  }
}
