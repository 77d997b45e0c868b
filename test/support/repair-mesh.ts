import { expect } from 'vitest'
import { asFileId, asPeerId, type BlockId, type PeerId } from '../../src/base/index.ts'
import {
  blockIdOf,
  isSlotCommand,
  Namespace,
  slotOf,
  SlotTable,
  type SlotCommand,
} from '../../src/dht/index.ts'
import type { RepairOptions } from '../../src/dht/config.ts'
import {
  Repair,
  type RepairEffect,
  type RepairEvent,
  type RepairMember,
} from '../../src/dht/repair.machine.ts'

export const SLOTS = 32
/** Effects that follow from each other at one point of time: many times what any scenario needs. */
const EFFECTS_MAX = 5_000
const SHA = 'ab'.repeat(32)

/** A mesh of peers that do at once, or in random order, what the machine asks, on the real table and namespace. */
export class RepairMesh {
  readonly slots = new SlotTable(SLOTS)
  readonly namespace = new Namespace({ slotCount: SLOTS })
  readonly disks = new Map<PeerId, Set<BlockId>>()
  members: RepairMember[] = []
  repair: Repair
  nowMs = 0
  readonly commands: string[] = []
  copies = 0
  /** Times that a peer read its copy because another's was to go. */
  checks = 0
  /** Copies that are not what was written, and nobody has noticed: block and peer. */
  readonly #rotten = new Set<string>()
  /** Copies made since the peer was last told to delete its copy: such an order comes too late. */
  readonly #vouched = new Set<string>()
  /** Copies that fail, by target. */
  broken = new Set<PeerId>()
  readonly #options: Partial<RepairOptions>
  readonly #machine: typeof Repair
  #queue: RepairEffect[] = []
  #index = 0
  #files = 0

  constructor(options: Partial<RepairOptions> = {}, machine: typeof Repair = Repair) {
    this.#machine = machine
    this.#options = { slotCount: SLOTS, graceMs: 1_000, retryMs: 100, ...options }
    this.repair = this.#newLeader()
  }

  #newLeader(): Repair {
    return new this.#machine(this.#options, { slots: this.slots, blocks: this.namespace })
  }

  /** The leader died: a new machine, which has only the replicated state; what was under way is lost. */
  changeLeader(): void {
    this.repair = this.#newLeader()
    this.#queue = []
    this.step({ type: 'members-changed', members: this.members })
  }

  step(event: RepairEvent): void {
    for (const effect of this.repair.step(event, this.nowMs)) {
      if (effect.type === 'propose' && isSlotCommand(effect.command)) this.#expectSafe(effect.command)
      if (effect.type === 'drop') this.#vouched.delete(`${effect.blockId} ${effect.peer}`)
      this.#queue.push(effect)
    }
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

  /** A copy turns bad, and nobody knows. */
  rot(blockId: BlockId, peer: PeerId): void {
    this.#rotten.add(`${blockId} ${peer}`)
  }

  isRotten(blockId: BlockId, peer: PeerId): boolean {
    return this.#rotten.has(`${blockId} ${peer}`)
  }

  setReplication(path: string, replication: number): void {
    const context = { index: ++this.#index, term: 1, timeMs: this.nowMs }
    expect(this.namespace.apply({ type: 'set-replication', path, replication }, context)).toMatchObject({
      ok: true,
    })
    this.step({ type: 'blocks-changed', slots: this.namespace.slotsWithData() })
  }

  /** Its disk is empty, and the log has been told so. */
  loseCopies(peer: PeerId): void {
    this.disks.get(peer)!.clear()
    for (const slot of this.namespace.slotsWithData()) {
      const blocks = this.namespace.blocksInSlot(slot).map(({ blockId }) => ({ blockId, remove: [peer] }))
      this.namespace.apply(
        { type: 'report-holders', blocks },
        { index: ++this.#index, term: 1, timeMs: this.nowMs },
      )
      this.step({ type: 'blocks-changed', slots: [slot] })
    }
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
          this.#rotten.delete(`${blockId} ${to}`)
          this.#vouched.add(`${blockId} ${to}`)
          this.copies++
        }
        this.step({ type: works ? 'copy-finished' : 'copy-failed', blockId, to })
        break
      }
      case 'check': {
        const { blockId, peer } = effect
        const isGood = (each: PeerId): boolean =>
          this.alive().includes(each) && this.disks.get(each)!.has(blockId) && !this.isRotten(blockId, each)
        const good = isGood(peer) || (this.alive().includes(peer) && effect.from.some(isGood))
        if (good) this.#rotten.delete(`${blockId} ${peer}`)
        this.checks++
        this.step({ type: 'check-settled', blockId, peer, good })
        break
      }
      case 'drop':
        // Only a retired peer deletes: until then its copies are kept, whatever the others hold.
        expect(this.slots.row(effect.slot).retiring).not.toContain(effect.peer)
        // The whole point: whatever is deleted is elsewhere, often enough.
        if (!this.#vouched.has(`${effect.blockId} ${effect.peer}`)) {
          this.disks.get(effect.peer)!.delete(effect.blockId)
          this.expectEnoughCopies(effect.blockId)
        }
        this.step({ type: 'drop-settled', blockId: effect.blockId, peer: effect.peer })
        break
    }
    return true
  }

  /** What the table cannot know: whether the disks have what a promote or a retire takes for granted. */
  #expectSafe({ type, batch }: SlotCommand): void {
    if (type !== 'slot-move-promote' && type !== 'slot-move-retire') return
    for (const [slot = -1, epoch] of batch.rows) {
      const row = this.slots.row(slot)
      if (row.epoch !== epoch) continue
      // A dead name that nobody can replace stands for no copy.
      const isNameOnly = (peer: PeerId): boolean =>
        !this.alive().includes(peer) && this.#owning().length < row.pending.length
      const added = row.pending.filter(peer => !row.owners.includes(peer) && !isNameOnly(peer))
      for (const { blockId } of this.namespace.blocksInSlot(slot)) {
        const has = (peer: PeerId): boolean => this.disks.get(peer)!.has(blockId)
        if (!this.alive().some(has)) continue
        if (type === 'slot-move-promote') expect(added.filter(peer => !has(peer))).toEqual([])
        else expect(row.owners.filter(has).length).toBeGreaterThanOrEqual(Math.min(3, this.#owning().length))
      }
    }
  }

  #owning(): RepairMember[] {
    return this.members.filter(each => each.state === 'alive' && each.weight > 0)
  }

  /** Copies of each block on living disks, the fewest. */
  fewestCopies(): number {
    const counts = this.namespace
      .slotsWithData()
      .flatMap(slot =>
        this.namespace
          .blocksInSlot(slot)
          .map(({ blockId }) => this.alive().filter(peer => this.disks.get(peer)!.has(blockId)).length),
      )
    return Math.min(...counts)
  }

  expectEnoughCopies(blockId: BlockId): void {
    // Also on the disks of peers that died after it was decided.
    const holders = [...this.disks].flatMap(([peer, disk]) => (disk.has(blockId) ? [peer] : []))
    const wanted = this.namespace.blockOf(blockId)?.replication ?? 3
    expect(holders.length).toBeGreaterThanOrEqual(Math.min(3, wanted, this.#owning().length))
    expect(
      holders.some(peer => !this.isRotten(blockId, peer)),
      'a good copy is left',
    ).toBe(true)
  }

  /** Lets everything happen until nothing happens for a while. */
  settle(maxMs = 60_000): void {
    for (const endMs = this.nowMs + maxMs; this.nowMs < endMs; this.nowMs += 100) {
      this.step({ type: 'tick' })
      let performed = 0
      // Else a planner that does and undoes the same thing would go on for ever.
      while (this.perform()) expect(++performed, 'effects without an end').toBeLessThan(EFFECTS_MAX)
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
    const hosts = new Map(this.members.map(each => [each.peerId, each.host]))
    const hostCount = new Set(alive.map(peer => hosts.get(peer))).size
    for (let slot = 0; slot < SLOTS; slot++) {
      const row = this.slots.row(slot)
      expect(row).toMatchObject({ pending: [], retiring: [] })
      expect(row.owners).toHaveLength(Math.min(3, alive.length))
      expect(new Set(row.owners.map(owner => hosts.get(owner))).size).toBe(
        Math.min(row.owners.length, hostCount),
      )
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

export const member = (id: number): RepairMember => ({
  peerId: asPeerId(`peer${id}`),
  host: `host${id}`,
  zone: '',
  weight: 1,
  state: 'alive',
})
export const members = (count: number): RepairMember[] => Array.from({ length: count }, (_, id) => member(id))

/** Five peers with data, at rest. */
export function settledMesh(
  options: Partial<RepairOptions> = {},
  machine: typeof Repair = Repair,
): RepairMesh {
  const mesh = new RepairMesh(options, machine)
  mesh.setMembers(members(5))
  mesh.settle(1_000)
  for (let file = 0; file < 5; file++) mesh.put(20)
  mesh.settle(1_000)
  mesh.expectHealthy()
  mesh.copies = 0
  mesh.commands.length = 0
  return mesh
}
