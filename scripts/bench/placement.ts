import { asPeerId, type PeerId } from '../../src/base/index.ts'
import { planSteps, type Plan, type RingPeer } from '../../src/dht/index.ts'
import type { Figures } from './figures.ts'

const COPIES = 3
/** Peers, slots, peers on one host. Beyond 500 peers a mesh has 16,384 slots. */
const MESHES = [
  [5, 4_096, 1],
  [20, 4_096, 1],
  [20, 4_096, 4],
  [100, 4_096, 1],
  [100, 4_096, 4],
  [1_000, 16_384, 1],
  [1_000, 16_384, 4],
] as const

type Table = readonly (readonly PeerId[])[]

/** What a join and a leave move against the least they could, how even the load is, and how long a plan holds the thread. */
export async function placement(_figures: Figures): Promise<void> {
  const row = (cells: readonly (string | number)[]): void =>
    console.log(cells.map((cell, at) => String(cell).padStart(at === 0 ? 16 : 12)).join(''))
  row([
    'peers × hosts',
    'slots',
    'max/avg',
    'join moved',
    'ratio',
    'slice ms',
    'plan ms',
    'leave moved',
    'ratio',
    'slice ms',
    'plan ms',
  ])
  for (const [count, slotCount, perHost] of MESHES) {
    const peers = Array.from({ length: count }, (_, id) => peerOf(id, Math.floor(id / perHost)))
    const empty = Array.from({ length: slotCount }, (): PeerId[] => [])
    const table = applied(empty, timed(empty, peers).plan)
    const joined = timed(table, [...peers, peerOf(count, count)])
    const left = timed(table, peers.slice(1))
    row([
      `${count} × ${Math.ceil(count / perHost)}`,
      slotCount,
      (heaviest(table) / ((slotCount * COPIES) / count)).toFixed(3),
      ...cells(joined),
      ...cells(left),
    ])
  }
}

function peerOf(id: number, host: number): RingPeer {
  return { peerId: asPeerId(`peer${id}`), host: `host${host}`, zone: '', weight: 1 }
}

interface Timed {
  plan: Plan
  totalMs: number
  longestMs: number
}

/** Each slice on its own, as the leader computes it between other work; the best of three, for other programs run here too. */
function timed(table: Table, peers: readonly RingPeer[]): Timed {
  const runs = [1, 2, 3].map(() => {
    let totalMs = 0
    let longestMs = 0
    const steps = planSteps(table, peers, COPIES)
    for (;;) {
      const startMs = performance.now()
      const { done, value } = steps.next()
      const tookMs = performance.now() - startMs
      totalMs += tookMs
      longestMs = Math.max(longestMs, tookMs)
      if (done === true) return { plan: value, totalMs, longestMs }
    }
  })
  return runs.sort((a, b) => a.longestMs - b.longestMs)[0]!
}

function cells({ plan: { added, ideal }, longestMs, totalMs }: Timed): string[] {
  return [`${added}/${ideal}`, (added / ideal).toFixed(3), longestMs.toFixed(1), totalMs.toFixed(0)]
}

function applied(table: Table, { moves }: Plan): Table {
  const next = [...table]
  for (const { slot, owners } of moves) next[slot] = owners
  return next
}

function heaviest(table: Table): number {
  const counts = new Map<PeerId, number>()
  for (const owners of table) for (const owner of owners) counts.set(owner, (counts.get(owner) ?? 0) + 1)
  return Math.max(...counts.values())
}
