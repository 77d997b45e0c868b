import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  asFileId,
  asPeerId,
  seededRandom,
  below,
  type BlockId,
  type PeerId,
} from '../../../src/base/index.ts'
import { blockIdOf, isSlotCommand, Namespace, slotOf, SlotTable } from '../../../src/dht/index.ts'
import type { RepairOptions } from '../../../src/dht/config.ts'
import {
  Repair,
  type RepairEffect,
  type RepairEvent,
  type RepairMember,
} from '../../../src/dht/repair.machine.ts'

const SLOTS = 32
const SHA = 'ab'.repeat(32)

/** A mesh of peers that do at once, or in random order, what the machine asks, on the real table and namespace. */
class Mesh {
  readonly slots = new SlotTable(SLOTS)
  readonly namespace = new Namespace({ slotCount: SLOTS })
  readonly disks = new Map<PeerId, Set<BlockId>>()
  members: RepairMember[] = []
  repair: Repair
  nowMs = 0
  readonly commands: string[] = []
  copies = 0
  /** Copies that fail, by target. */
  broken = new Set<PeerId>()
  readonly #options: Partial<RepairOptions>
  #queue: RepairEffect[] = []
  #index = 0
  #files = 0

  constructor(options: Partial<RepairOptions> = {}) {
    this.#options = { slotCount: SLOTS, graceMs: 1_000, retryMs: 100, ...options }
    this.repair = this.#newLeader()
  }

  #newLeader(): Repair {
    return new Repair(this.#options, { slots: this.slots, blocks: this.namespace })
  }

  /** The leader died: a new machine, which has only the replicated state; what was under way is lost. */
  changeLeader(): void {
    this.repair = this.#newLeader()
    this.#queue = []
    this.step({ type: 'members-changed', members: this.members })
  }

  step(event: RepairEvent): void {
    this.#queue.push(...this.repair.step(event, this.nowMs))
    this.repair.assertInvariants()
  }

  setMembers(members: RepairMember[]): void {
    this.members = members
    for (const { peerId } of members) if (!this.disks.has(peerId)) this.disks.set(peerId, new Set())
    this.step({ type: 'members-changed', members })
  }

  setState(peer: PeerId, state: RepairMember['state']): void {
    this.setMembers(this.members.map(each => (each.peerId === peer ? { ...each, state } : each)))
  }

  alive(): PeerId[] {
    return this.members.filter(each => each.state === 'alive').map(each => each.peerId)
  }

  /** Writes a file of some blocks to the living writers of their slots, as a put would. */
  put(blocks: number): void {
    const fileId = asFileId((this.#files++).toString(16).padStart(32, '0'))
    const context = { index: ++this.#index, term: 1, timeMs: this.nowMs }
    this.namespace.apply({ type: 'begin-file', path: `/f${this.#files}`, fileId, leaseMs: 1_000 }, context)
    for (let index = 0; index < blocks; index++) {
      const slot = slotOf(fileId, index, SLOTS)
      const holders = this.slots.writersOf(slot).filter(peer => this.alive().includes(peer))
      const blockId = blockIdOf(fileId, index, '1')
      for (const peer of holders) this.disks.get(peer)!.add(blockId)
      const block = { index, blockId, sizeBytes: 10, sha256: SHA, holders }
      expect(this.namespace.apply({ type: 'add-blocks', fileId, blocks: [block] }, context)).toEqual({
        ok: true,
      })
      this.step({ type: 'blocks-changed', slots: [slot] })
    }
    expect(this.namespace.apply({ type: 'commit-file', fileId, blockCount: blocks }, context)).toMatchObject({
      ok: true,
    })
  }

  /** Performs one waiting effect. */
  perform(position = 0): boolean {
    const [effect] = this.#queue.splice(position, 1)
    if (effect === undefined) return false
    switch (effect.type) {
      case 'propose': {
        this.commands.push(effect.command.type)
        const { command } = effect
        const context = { index: ++this.#index, term: 1, timeMs: this.nowMs }
        const result = isSlotCommand(command)
          ? this.slots.apply(command, context)
          : this.namespace.apply(command, context)
        this.slots.assertInvariants()
        this.namespace.assertInvariants()
        this.step({ type: 'proposal-settled', id: effect.id, accepted: result.ok })
        break
      }
      case 'copy': {
        const { blockId, to } = effect
        const source = effect.from.find(
          peer => this.alive().includes(peer) && this.disks.get(peer)!.has(blockId),
        )
        const works = source !== undefined && this.alive().includes(to) && !this.broken.has(to)
        if (works) {
          this.disks.get(to)!.add(blockId)
          this.copies++
        }
        this.step({ type: works ? 'copy-finished' : 'copy-failed', blockId, to })
        break
      }
      case 'drop':
        // Only a retired peer deletes: until then its copies are kept, whatever the others hold.
        expect(this.slots.row(effect.slot).retiring).not.toContain(effect.peer)
        // The whole point: whatever is deleted is elsewhere, often enough.
        this.disks.get(effect.peer)!.delete(effect.blockId)
        this.expectEnoughCopies(effect.blockId)
        this.step({ type: 'drop-settled', blockId: effect.blockId, peer: effect.peer })
        break
    }
    return true
  }

  expectEnoughCopies(blockId: BlockId): void {
    // Also on the disks of peers that died after it was decided.
    const holders = [...this.disks.values()].filter(disk => disk.has(blockId))
    const owning = this.members.filter(each => each.state === 'alive' && each.weight > 0)
    expect(holders.length).toBeGreaterThanOrEqual(Math.min(3, owning.length))
  }

  /** Lets everything happen until nothing happens for a while. */
  settle(maxMs = 60_000): void {
    for (const endMs = this.nowMs + maxMs; this.nowMs < endMs; this.nowMs += 100) {
      this.step({ type: 'tick' })
      while (this.perform());
    }
  }

  get waiting(): number {
    return this.#queue.length
  }

  /**
   * Every slot is owned by living peers only, and every block held by its owners and nobody else. Only whoever was away when
   * it was told to delete may have garbage, and whoever was told by a leader that died before: only then `garbage`.
   */
  expectHealthy({ garbage = false } = {}): void {
    const alive = this.alive()
    for (let slot = 0; slot < SLOTS; slot++) {
      const row = this.slots.row(slot)
      expect(row).toMatchObject({ pending: [], retiring: [] })
      expect(row.owners).toHaveLength(Math.min(3, alive.length))
      for (const block of this.namespace.blocksInSlot(slot)) {
        expect(block.holders.toSorted()).toEqual(row.owners.toSorted())
        for (const peer of alive) {
          const has = this.disks.get(peer)!.has(block.blockId)
          if (row.owners.includes(peer) || !garbage) expect(has).toBe(row.owners.includes(peer))
        }
      }
    }
    expect(this.namespace.underReplicated(new Set(alive))).toEqual([])
  }
}

const member = (id: number): RepairMember => ({
  peerId: asPeerId(`peer${id}`),
  host: `host${id}`,
  zone: '',
  weight: 1,
  state: 'alive',
})
const members = (count: number): RepairMember[] => Array.from({ length: count }, (_, id) => member(id))

/** Five peers with data, at rest. */
function settledMesh(options: Partial<RepairOptions> = {}): Mesh {
  const mesh = new Mesh(options)
  mesh.setMembers(members(5))
  mesh.settle(1_000)
  for (let file = 0; file < 5; file++) mesh.put(20)
  mesh.settle(1_000)
  mesh.expectHealthy()
  mesh.copies = 0
  mesh.commands.length = 0
  return mesh
}

describe('repair', () => {
  it('assigns an empty mesh in one entry', () => {
    const mesh = new Mesh()
    mesh.setMembers(members(3))
    mesh.settle(1_000)
    expect(mesh.commands).toEqual(['slots-assign'])
    mesh.expectHealthy()
  })

  it('copies nothing and proposes nothing while all is well', () => {
    const mesh = settledMesh()
    mesh.settle()
    expect(mesh.commands).toEqual([])
    expect(mesh.copies).toBe(0)
  })

  it('waits out the grace before it replaces a dead peer, and does nothing when it comes back in time', () => {
    const mesh = settledMesh()
    mesh.setState(asPeerId('peer0'), 'dead')
    mesh.settle(900)
    expect(mesh.commands).toEqual([])
    mesh.setState(asPeerId('peer0'), 'alive')
    mesh.settle(5_000)
    expect(mesh.commands).toEqual([])
    mesh.expectHealthy()
  })

  it('gives the slots of a dead peer new owners after the grace: begin, copy, promote, then retire', () => {
    const mesh = settledMesh()
    const held = mesh.disks.get(asPeerId('peer0'))!.size
    mesh.setState(asPeerId('peer0'), 'dead')
    mesh.settle()
    mesh.expectHealthy()
    expect(mesh.copies).toBeGreaterThanOrEqual(held)
    expect(mesh.copies).toBeLessThanOrEqual(1.3 * held)
    const slotCommands = mesh.commands.filter(type => type.startsWith('slot-move'))
    expect(slotCommands[0]).toBe('slot-move-begin')
    expect(slotCommands.indexOf('slot-move-promote')).toBeLessThan(slotCommands.indexOf('slot-move-retire'))
  })

  it('replaces a peer that left at once', () => {
    const mesh = settledMesh({ graceMs: 1_000_000 })
    mesh.setState(asPeerId('peer3'), 'left')
    mesh.settle()
    mesh.expectHealthy()
  })

  it('moves a newcomer its share and drops the replaced copies', () => {
    const mesh = settledMesh()
    mesh.setMembers(members(6))
    mesh.settle()
    mesh.expectHealthy()
    expect(mesh.disks.get(asPeerId('peer5'))!.size).toBeGreaterThan(0)
  })

  it('drains a peer of weight 0 while it still serves', () => {
    const mesh = settledMesh()
    mesh.setMembers(members(5).map((each, id) => (id === 2 ? { ...each, weight: 0 } : each)))
    mesh.settle()
    expect(mesh.disks.get(asPeerId('peer2'))).toEqual(new Set())
    for (let slot = 0; slot < SLOTS; slot++) expect(mesh.slots.row(slot).owners).not.toContain('peer2')
  })

  it('asks for no more copies than there are peers that take any', () => {
    const mesh = new Mesh()
    mesh.setMembers(members(3).map((each, id) => (id === 2 ? { ...each, weight: 0 } : each)))
    mesh.settle(1_000)
    mesh.put(20)
    mesh.setMembers([
      ...mesh.members.map(each => (each.peerId === 'peer0' ? { ...each, weight: 0 } : each)),
      member(3),
    ])
    mesh.settle()
    for (let slot = 0; slot < SLOTS; slot++) {
      expect(mesh.slots.row(slot)).toMatchObject({ pending: [], retiring: [] })
      expect(mesh.slots.row(slot).owners.toSorted()).toEqual(['peer1', 'peer3'])
    }
    expect(mesh.disks.get(asPeerId('peer0'))).toEqual(new Set())
  })

  it('tops up to three copies as peers join the first', () => {
    const mesh = new Mesh()
    mesh.setMembers(members(1))
    mesh.settle(1_000)
    mesh.put(20)
    for (const count of [2, 3, 4]) {
      mesh.setMembers(members(count))
      mesh.settle()
      mesh.expectHealthy()
    }
  })

  it('keeps the names of dead owners nobody can replace, and completes when somebody joins', () => {
    const mesh = settledMesh()
    for (const id of [0, 1, 2]) mesh.setState(asPeerId(`peer${id}`), 'dead')
    mesh.settle()
    for (let slot = 0; slot < SLOTS; slot++) expect(mesh.slots.row(slot).owners).toHaveLength(3)
    mesh.setMembers([...mesh.members, member(7)])
    mesh.settle()
    for (let slot = 0; slot < SLOTS; slot++) {
      expect(mesh.slots.row(slot).owners.toSorted()).toEqual(['peer3', 'peer4', 'peer7'])
      // A block that was only on the dead peers waits for one of them.
      for (const { holders } of mesh.namespace.blocksInSlot(slot)) {
        if (holders.some(peer => mesh.alive().includes(peer))) expect(holders).toHaveLength(3)
      }
    }
    mesh.setState(asPeerId('peer0'), 'alive')
    mesh.setState(asPeerId('peer1'), 'alive')
    mesh.setState(asPeerId('peer2'), 'alive')
    mesh.settle()
    mesh.expectHealthy({ garbage: true })
  })

  it('mends a degraded write and a replica reported as corrupt', () => {
    const mesh = settledMesh()
    const slot = mesh.namespace.slotsWithData()[0]!
    const [block] = mesh.namespace.blocksInSlot(slot)
    const corrupt = block!.holders[1]!
    mesh.disks.get(corrupt)!.delete(block!.blockId)
    const context = { index: 9, term: 1, timeMs: mesh.nowMs }
    const change = { blockId: block!.blockId, remove: [corrupt] }
    mesh.namespace.apply({ type: 'report-holders', blocks: [change] }, context)
    mesh.step({ type: 'blocks-changed', slots: [slot] })
    mesh.settle(1_000)
    expect(mesh.copies).toBe(1)
    mesh.expectHealthy()
  })

  it('finds what nobody told it of when it looks at everything again', () => {
    const mesh = settledMesh({ rescanMs: 10_000 })
    const [block] = mesh.namespace.blocksInSlot(mesh.namespace.slotsWithData()[0]!)
    const lost = block!.holders[0]!
    mesh.disks.get(lost)!.delete(block!.blockId)
    const change = { blockId: block!.blockId, remove: [lost] }
    mesh.namespace.apply(
      { type: 'report-holders', blocks: [change] },
      { index: 9, term: 1, timeMs: mesh.nowMs },
    )
    mesh.settle(11_000)
    mesh.expectHealthy()
  })

  it('gives up on a new owner that dies during the move', () => {
    const mesh = settledMesh({ copiesMax: 1 })
    mesh.setState(asPeerId('peer0'), 'dead')
    mesh.nowMs += 1_100
    mesh.step({ type: 'tick' })
    const newOwner = asPeerId('peer1')
    while (!mesh.slots.moving().some(slot => mesh.slots.row(slot).pending.includes(newOwner))) {
      expect(mesh.perform()).toBe(true)
    }
    mesh.setState(asPeerId('peer1'), 'dead')
    mesh.settle()
    mesh.expectHealthy()
  })

  it('tries a failed copy again, less and less often', () => {
    const mesh = settledMesh()
    mesh.broken.add(asPeerId('peer4'))
    mesh.setState(asPeerId('peer0'), 'dead')
    mesh.settle(20_000)
    expect(mesh.slots.moving().length).toBeGreaterThan(0)
    mesh.broken.clear()
    mesh.settle()
    mesh.expectHealthy()
  })

  it('goes on from the table after a leader change at any moment', () => {
    for (let steps = 0; steps < 60; steps += 3) {
      const mesh = settledMesh()
      mesh.setState(asPeerId('peer0'), 'left')
      for (let step = 0; step < steps; step++) mesh.perform()
      mesh.changeLeader()
      mesh.settle()
      mesh.expectHealthy({ garbage: true })
    }
  })

  it('plans anew when its command is refused or never answered', () => {
    const mesh = settledMesh({ effectTimeoutMs: 2_000 })
    const before = mesh.repair.step({ type: 'members-changed', members: members(6) }, mesh.nowMs)
    expect(before.map(effect => effect.type)).toEqual(['propose'])
    // Lost: nobody performs it. After the timeout it proposes again.
    mesh.setMembers(members(6))
    expect(mesh.waiting).toBe(0)
    mesh.settle()
    mesh.expectHealthy()
  })

  it('keeps within its bounds of copies and moving slots', () => {
    const mesh = settledMesh({ copiesMax: 3, copiesPerPeerMax: 2, movingShareMax: 0.125 })
    mesh.setState(asPeerId('peer0'), 'left')
    for (let ms = 0; ms < 60_000; ms += 100) {
      mesh.nowMs += 100
      mesh.step({ type: 'tick' })
      expect(mesh.repair.status().copies).toBeLessThanOrEqual(3)
      const begun = mesh.slots.moving().filter(slot => mesh.slots.row(slot).pending.length > 0)
      expect(begun.length).toBeLessThanOrEqual(SLOTS / 8)
      mesh.perform()
    }
    mesh.settle()
    mesh.expectHealthy()
  })

  it('heals whatever comes: peers die, return, join and leave, leaders change, in any order of events', () => {
    fc.assert(
      fc.property(fc.integer(), seed => {
        const random = seededRandom(seed)
        const mesh = new Mesh({ copiesMax: 4, copiesPerPeerMax: 2, effectTimeoutMs: 5_000 })
        mesh.setMembers(members(4))
        mesh.settle(1_000)
        let next = 4
        for (let round = 0; round < 200; round++) {
          mesh.nowMs += below(random, 300)
          mesh.step({ type: 'tick' })
          const dead = mesh.members.filter(each => each.state === 'dead')
          const roll = below(random, 100)
          // At most one peer is away at a time, so that nothing may ever be lost.
          if (roll < 4) mesh.put(1 + below(random, 6))
          else if (
            roll < 6 &&
            dead.length === 0 &&
            mesh.namespace.underReplicated(new Set(mesh.alive())).length === 0
          ) {
            mesh.setState(mesh.alive()[below(random, mesh.alive().length)]!, 'dead')
          } else if (roll < 9 && dead.length > 0) mesh.setState(dead[0]!.peerId, 'alive')
          else if (roll < 10 && next < 9) mesh.setMembers([...mesh.members, member(next++)])
          else if (roll < 12) mesh.changeLeader()
          else mesh.perform(below(random, Math.max(1, mesh.waiting)))
        }
        for (const each of mesh.members) if (each.state === 'dead') mesh.setState(each.peerId, 'alive')
        mesh.settle(30_000)
        mesh.expectHealthy({ garbage: true })
      }),
      { numRuns: 40 },
    )
  })
})
