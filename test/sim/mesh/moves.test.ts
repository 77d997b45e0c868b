import { describe, expect, it } from 'vitest'
import type { PeerId } from '../../../src/base/index.ts'
import { raftDefaults } from '../../../src/gossip/config.ts'
import { SimMesh } from './sim-mesh.ts'
import { SimWriter } from './sim-writer.ts'
import { run } from './task.ts'

const PEERS = 5
const FILES = 200
const BLOCK_BYTES = 100
const SETTLE_MS = 120_000
/** What a change of the members may move, as a multiple of what it must. */
const MOVES_MAX = 1.3

/** A healthy mesh with files of one block each, three copies of every block. */
function filledMesh(seed: number): SimMesh {
  const mesh = new SimMesh({ seed, raft: raftDefaults, flushMs: 1, peersPerHost: 1 })
  for (let index = 0; index < PEERS; index++) mesh.add()
  settle(mesh)
  const peers = mesh.world.running()
  let open = FILES
  for (let file = 0; file < FILES; file++) {
    const writer = new SimWriter(mesh.peer(peers[file % PEERS]!), mesh.checker)
    run(writer.put(`/files/${file}`, [new Uint8Array(BLOCK_BYTES).fill(file)], false), outcome => {
      expect(outcome).toEqual({ ok: null })
      open--
    })
  }
  expect(mesh.world.time.runUntilTrue(() => open === 0, SETTLE_MS, 100)).toBe(true)
  settle(mesh)
  return mesh
}

/** Until every promise holds that is to hold in peace, and no repair is under way. */
function settle(mesh: SimMesh): void {
  let why: string | undefined
  const settled = (): boolean => {
    mesh.checker.assertPromises(mesh.world.time.nowMs)
    return (why = mesh.unhealed()) === undefined
  }
  // First the change must have begun.
  mesh.world.time.runUntil(mesh.world.time.nowMs + 15_000)
  expect(mesh.world.time.runUntilTrue(settled, SETTLE_MS, 500), why).toBe(true)
}

function heldBytes(mesh: SimMesh, peer: PeerId): number {
  return mesh.stores.get(peer)!.list().length * BLOCK_BYTES
}

/** Bytes that repair copied because of the change. */
function movedBy(mesh: SimMesh, change: () => void): number {
  const before = mesh.checker.copiedBytes
  change()
  settle(mesh)
  return mesh.checker.copiedBytes - before
}

describe('a change of the members moves at most 1.3 times the bytes that it must', () => {
  for (const seed of [1, 2, 3]) {
    it(`when a peer joins, another is drained, and a third is lost (seed ${seed})`, () => {
      const mesh = filledMesh(seed)
      const total = 3 * FILES * BLOCK_BYTES
      expect([...mesh.stores.keys()].reduce((sum, peer) => sum + heldBytes(mesh, peer), 0)).toBe(total)

      const joined = movedBy(mesh, () => mesh.add())
      const share = total / (PEERS + 1)
      expect(joined).toBeGreaterThan(share / MOVES_MAX)
      expect(joined).toBeLessThanOrEqual(share * MOVES_MAX)

      const [at] = mesh.leaders()
      let drained: PeerId | undefined
      let ideal = 0
      const left = movedBy(mesh, () => {
        drained = mesh.drain(at!)
        ideal = heldBytes(mesh, drained!)
      })
      expect(mesh.stores.has(drained!), 'it has left').toBe(false)
      expect(left).toBeGreaterThanOrEqual(ideal)
      expect(left).toBeLessThanOrEqual(ideal * MOVES_MAX)

      const victim = mesh.world.running().find(peer => !mesh.leaders().includes(peer))!
      const lost = movedBy(mesh, () => {
        ideal = heldBytes(mesh, victim)
        mesh.losePeer(victim)
      })
      expect(lost).toBeGreaterThanOrEqual(ideal)
      expect(lost).toBeLessThanOrEqual(ideal * MOVES_MAX)
    })
  }
})
