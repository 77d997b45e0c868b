import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { asPeerId, pack, seededRandom } from '../../../src/base/index.ts'
import { membershipDefaults } from '../../../src/gossip/config.ts'
import { compareVersions } from '../../../src/gossip/member-table.ts'
import type { Member } from '../../../src/gossip/member-table.ts'
import { estimatedBytes, MemberRumours } from '../../../src/gossip/member-rumours.ts'
import { Membership } from '../../../src/gossip/membership.machine.ts'
import type { MembershipEvent } from '../../../src/gossip/membership.machine.ts'
import { DIGEST_MAX, MEMBER_STATES, membershipMessageType } from '../../../src/gossip/messages.ts'
import type { MemberInfo, MemberUpdate } from '../../../src/gossip/messages.ts'

const SELF = asPeerId('self')
const PEERS = ['self', 'a', 'b', 'c', 'd', 'e'].map(asPeerId)

const info = (name: string): MemberInfo => ({
  name,
  addresses: [`/${name}`],
  labels: { host: name, zone: '' },
  meta: {},
})
const machineAt = (nowMs: number, options = {}): Membership =>
  new Membership(
    { self: SELF, info: info('self'), incarnation: 3, nowMs },
    { ...membershipDefaults, ...options },
    seededRandom(1),
  )

const peer = fc.constantFrom(...PEERS)
const update: fc.Arbitrary<MemberUpdate> = fc
  .record({
    peerId: peer,
    incarnation: fc.integer({ min: 0, max: 6 }),
    state: fc.constantFrom(...MEMBER_STATES),
    accusers: fc.uniqueArray(peer, { maxLength: 6 }),
    known: fc.boolean(),
  })
  .map(({ known, ...told }) =>
    known || told.state === 'alive' ? { ...told, info: info(told.peerId) } : told,
  )
const updates = fc.array(update, { maxLength: 4 })
const sequence = fc.integer({ min: 0, max: 2 ** 40 })
const digest = fc.array(fc.tuple(peer, fc.integer({ min: 0, max: 6 }), fc.integer({ min: 0, max: 3 })), {
  maxLength: 6,
})

/** Anything that peers, well-meaning or not, may make happen to a machine. */
const event: fc.Arbitrary<MembershipEvent> = fc.oneof(
  { arbitrary: fc.constant<MembershipEvent>({ type: 'tick' }), weight: 4 },
  fc.record({ type: fc.constant('updates-published' as const), updates }),
  fc.record({ type: fc.constant('connection-opened' as const), peer }),
  fc.record({ type: fc.constant('connection-closed' as const), peer }),
  fc.record({ type: fc.constant('probe-requested' as const), peer }),
  fc.record({
    type: fc.constant('message-received' as const),
    from: peer,
    message: fc.oneof(
      fc.record({ type: fc.constantFrom('ping' as const, 'ack' as const), sequence, updates }),
      fc.record({ type: fc.constant('ping-req' as const), sequence, target: peer }),
      fc.record({
        type: fc.constant('sync' as const),
        after: fc.constant(''),
        upTo: fc.constant(''),
        digest,
      }),
      fc.record({
        type: fc.constant('news' as const),
        updates,
        wanted: fc.uniqueArray(peer),
        more: fc.boolean(),
      }),
    ),
  }),
)

describe('membership, whatever it is told', () => {
  it('keeps its invariants, never goes back on a version, never believes itself dead, says only what fits the wire', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(event, fc.integer({ min: 0, max: 3_000 })), { maxLength: 60 }), steps => {
        let nowMs = 1_000
        const machine = machineAt(nowMs)
        const seen = new Map<string, Member>()
        for (const [event, passedMs] of steps) {
          nowMs += passedMs
          for (const effect of machine.step(event, nowMs)) {
            if (effect.type === 'send')
              expect(membershipMessageType.request.safeParse(effect.message).success).toBe(true)
          }
          machine.assertInvariants()
          for (const member of machine.members()) {
            const before = seen.get(member.peerId)
            if (before !== undefined) expect(compareVersions(member, before)).toBeGreaterThanOrEqual(0)
            seen.set(member.peerId, member)
          }
          expect(machine.member(SELF)!.state).toBe('alive')
        }
      }),
      { numRuns: 300 },
    )
  })

  it('two machines told the same in different order believe the same', () => {
    const told = fc
      .array(update, { maxLength: 12 })
      .map(all => all.map(each => ({ ...each, info: info(each.peerId) })))
    fc.assert(
      fc.property(told, told, (first, second) => {
        const versions = (order: MemberUpdate[]): string[] => {
          const machine = machineAt(0)
          machine.step({ type: 'updates-published', updates: order }, 0)
          const others = machine.members().filter(member => member.peerId !== SELF)
          return others.map(member => `${member.peerId} ${member.incarnation} ${member.state}`).sort()
        }
        expect(versions([...first, ...second])).toEqual(versions([...second, ...first]))
      }),
    )
  })
})

describe('the bounds of membership', () => {
  const crowd = (count: number): MemberUpdate[] =>
    Array.from({ length: count }, (_, index) => {
      const peerId = asPeerId(`12D3KooW${String(index).padStart(44, '0')}`)
      return { peerId, incarnation: 1, state: 'alive', accusers: [], info: info(peerId.slice(-8)) }
    })

  it('a table larger than one message spreads by itself, message by message', () => {
    const from = asPeerId('from')
    const full = machineAt(0)
    full.step({ type: 'updates-published', updates: crowd(1_000) }, 0)
    const empty = new Membership(
      { self: from, info: info('from'), incarnation: 1, nowMs: 0 },
      membershipDefaults,
      seededRandom(2),
    )
    let pending = empty.step({ type: 'join-requested', peers: [SELF] }, 0)
    let messages = 0
    for (let turn = 0; turn < 60 && pending.length > 0; turn++) {
      const [asked, teller] = turn % 2 === 0 ? [full, from] : [empty, SELF]
      pending = pending.flatMap(effect => {
        if (effect.type !== 'send') return []
        messages++
        expect(pack(effect.message).length).toBeLessThan(64 * 1024)
        if (effect.message.type === 'sync')
          expect(effect.message.digest.length).toBeLessThanOrEqual(DIGEST_MAX)
        return asked.step({ type: 'message-received', from: teller, message: effect.message }, turn)
      })
    }
    expect(empty.members().length).toBe(1_002)
    expect(messages).toBeLessThan(30)
  })

  it('takes in no more than membersMax', () => {
    const machine = machineAt(0, { membersMax: 50 })
    machine.step({ type: 'updates-published', updates: crowd(200) }, 0)
    machine.assertInvariants()
    expect(machine.members().length).toBe(50)
  })

  it('a batch keeps to its size, and an update is told a bounded number of times', () => {
    const rumours = new MemberRumours()
    for (const each of crowd(40)) rumours.add(each)
    const told = new Map<string, number>()
    for (let batch = 0; rumours.size > 0; batch++) {
      expect(batch).toBeLessThan(200)
      const taken = rumours.take(1_024, 0, 8)
      expect(pack({ updates: taken }).length).toBeLessThanOrEqual(1_024)
      for (const each of taken) told.set(each.peerId, (told.get(each.peerId) ?? 0) + 1)
    }
    expect([...told.values()].every(times => times === 8)).toBe(true)
  })

  it('the estimate of an update is not below what it takes when packed', () => {
    for (const each of crowd(3)) expect(estimatedBytes(each)).toBeGreaterThanOrEqual(pack(each).length)
  })
})
