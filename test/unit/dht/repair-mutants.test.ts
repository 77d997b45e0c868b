import { describe, expect, it } from 'vitest'
import { asPeerId, below, seededRandom } from '../../../src/base/index.ts'
import { Repair, type RepairMember } from '../../../src/dht/repair.machine.ts'
import type { RingPeer } from '../../../src/dht/ring.ts'
import { member, members, RepairMesh, settledMesh } from '../../support/repair-mesh.ts'

type Machine = typeof Repair

/** Bugs planted one at a time: the breach of one rule of the planner each. */
const MUTANTS: Record<string, Machine> = {
  'promotes new owners that have not got everything': class extends Repair {
    protected override mayPromote(): boolean {
      return true
    }
  },
  'lets old owners go before the new ones have everything': class extends Repair {
    protected override mayRetire(): boolean {
      return true
    }
  },
  'drops copies while too few owners have them': class extends Repair {
    protected override mayForget(): boolean {
      return true
    }
  },
  'drops copies as soon as one owner has them': class extends Repair {
    protected override mayForget(held: number): boolean {
      return held >= 1
    }
  },
  'deletes by the word of the log, whatever has become of the other copies': class extends Repair {
    protected override mustCheck(): boolean {
      return false
    }
  },
  'waits out the grace with the last copy': class extends Repair {
    protected override isUrgent(): boolean {
      return false
    }
  },
  'does not wait out the grace': class extends Repair {
    protected override keepsSlots(each: RepairMember): boolean {
      return each.state === 'alive'
    }
  },
  'never gives up on the dead': class extends Repair {
    protected override keepsSlots(): boolean {
      return true
    }
  },
  'sets all slots in motion at once': class extends Repair {
    protected override roomToMove(): number {
      return Infinity
    }
  },
  'ignores hosts': class extends Repair {
    protected override placed(all: readonly RingPeer[]): readonly RingPeer[] {
      return all.map(each => ({ ...each, host: each.peerId, zone: '' }))
    }
  },
  'ignores quarantine': class extends Repair {
    protected override placed(all: readonly RingPeer[]): readonly RingPeer[] {
      return all.map(each => ({ ...each, quarantined: false }))
    }
  },
}

/** Each throws where the planner breaks a promise. The mesh itself checks every promote, retire and drop. */
const SCENARIOS: Record<string, (machine: Machine) => void> = {
  'a peer dies, is replaced, and comes back': machine => {
    const mesh = settledMesh({}, machine)
    mesh.setState(asPeerId('peer0'), 'dead')
    mesh.settle(900)
    expect(mesh.commands).toEqual([])
    mesh.settle(20_000)
    mesh.expectHealthy()
    mesh.setState(asPeerId('peer0'), 'alive')
    mesh.settle()
    mesh.expectHealthy({ garbage: true })
  },
  'two of three holders die within the grace': machine => {
    const mesh = settledMesh({ graceMs: 1_000_000 }, machine)
    const [block] = mesh.namespace.blocksInSlot(mesh.namespace.slotsWithData()[0]!)
    for (const peer of block!.holders.slice(0, 2)) mesh.setState(peer, 'dead')
    mesh.settle(2_000)
    expect(mesh.fewestCopies()).toBeGreaterThanOrEqual(2)
  },
  'an owner has lost its copies and cannot take new ones for a while': machine => {
    const mesh = settledMesh({}, machine)
    const lost = asPeerId('peer1')
    mesh.broken.add(lost)
    mesh.loseCopies(lost)
    mesh.setState(asPeerId('peer0'), 'left')
    mesh.settle(5_000)
    mesh.broken.clear()
    mesh.settle()
    mesh.expectHealthy()
  },
  'fewer copies are wanted when two of three have rotted unseen': machine => {
    const mesh = settledMesh({}, machine)
    const blocks = mesh.namespace.slotsWithData().flatMap(slot => mesh.namespace.blocksInSlot(slot))
    for (const [index, { blockId, holders }] of blocks.entries()) {
      // In turns each of the three is the good one.
      for (const [place, peer] of holders.entries()) if (place !== index % 3) mesh.rot(blockId, peer)
    }
    for (let file = 1; file <= 5; file++) mesh.setReplication(`/f${file}`, 2)
    mesh.settle()
    for (const { blockId } of blocks) {
      const { holders } = mesh.namespace.blockOf(blockId)!
      expect(holders).toHaveLength(2)
      expect(holders.filter(peer => mesh.isRotten(blockId, peer))).toEqual([])
    }
  },
  'peers share hosts': machine => {
    const mesh = new RepairMesh({}, machine)
    const all = Array.from({ length: 8 }, (_, id) => ({ ...member(id), host: `host${id % 3}` }))
    mesh.setMembers(all.slice(0, 6))
    mesh.settle(1_000)
    mesh.put(20)
    mesh.setMembers(all)
    mesh.settle()
    mesh.expectHealthy()
  },
  'a flapping peer joins': machine => {
    const mesh = settledMesh({}, machine)
    mesh.setMembers([...members(5), { ...member(5), quarantined: true }])
    mesh.settle(10_000)
    expect(mesh.slots.moving()).toEqual([])
    expect(mesh.disks.get(asPeerId('peer5'))!.size).toBe(0)
  },
  'members change at random while copies are slow': machine => {
    for (let seed = 1; seed <= 12; seed++) changeAtRandom(seed, machine)
  },
}

function changeAtRandom(seed: number, machine: Machine): void {
  const random = seededRandom(seed)
  const mesh = new RepairMesh({ copiesMax: 4, copiesPerPeerMax: 2, effectTimeoutMs: 5_000 }, machine)
  mesh.setMembers(members(4))
  mesh.settle(1_000)
  mesh.put(30)
  let next = 4
  for (let round = 0; round < 150; round++) {
    mesh.nowMs += below(random, 300)
    mesh.step({ type: 'tick' })
    const roll = below(random, 100)
    const dead = mesh.members.filter(each => each.state === 'dead')
    if (roll < 3) mesh.put(1 + below(random, 4))
    else if (roll < 6 && dead.length === 0 && mesh.fewestCopies() >= 3)
      mesh.setState(mesh.alive()[below(random, mesh.alive().length)]!, 'dead')
    else if (roll < 9 && dead.length > 0) mesh.setState(dead[0]!.peerId, 'alive')
    else if (roll < 11 && next < 9) mesh.setMembers([...mesh.members, member(next++)])
    else mesh.perform(below(random, Math.max(1, mesh.waiting)))
    expect(mesh.slots.moving().length).toBeLessThanOrEqual(8)
  }
  for (const each of mesh.members) if (each.state === 'dead') mesh.setState(each.peerId, 'alive')
  mesh.settle(30_000)
  mesh.expectHealthy({ garbage: true })
}

describe('what the tests of repair are worth', () => {
  for (const [name, run] of Object.entries(SCENARIOS)) {
    it(`the planner keeps its promises when ${name}`, () => run(Repair))
  }

  for (const [name, machine] of Object.entries(MUTANTS)) {
    it(`a planner that ${name} is caught`, () => {
      const caught = Object.entries(SCENARIOS).filter(([, run]) => {
        try {
          run(machine)
          return false
        } catch {
          return true
        }
      })
      expect(caught.map(([scenario]) => scenario)).not.toEqual([])
    })
  }
})
