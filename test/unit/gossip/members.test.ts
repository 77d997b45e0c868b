import { describe, expect, it } from 'vitest'
import { asPeerId, pack, unpack } from '../../../src/base/index.ts'
import type { ApplyContext } from '../../../src/base/index.ts'
import { Members } from '../../../src/gossip/members.machine.ts'
import { memberCommand } from '../../../src/gossip/messages.ts'
import type { MemberCommand } from '../../../src/gossip/messages.ts'

const at = (index: number): ApplyContext => ({ index, term: 1, timeMs: index * 1_000 })
const join = (name: string, directoryId = `${name}-directory`): MemberCommand => ({
  type: 'peer-join',
  peerId: asPeerId(name),
  name,
  addresses: [`/memory/${name}`],
  labels: { host: `host-${name}`, zone: '' },
  directoryId,
})
const to = (type: 'peer-up' | 'peer-down' | 'peer-leave' | 'peer-remove', name: string): MemberCommand => ({
  type,
  peerId: asPeerId(name),
})

describe('members in the log', () => {
  it('a peer joins, goes down, comes up, leaves, comes back, is removed', () => {
    const members = new Members()
    const states = [
      join('a'),
      to('peer-down', 'a'),
      to('peer-up', 'a'),
      to('peer-leave', 'a'),
      join('a'),
    ].map((command, index) => {
      expect(members.apply(command, at(index + 1)).ok).toBe(true)
      members.assertInvariants()
      return members.member(asPeerId('a'))!.state
    })
    expect(states).toEqual(['up', 'down', 'up', 'left', 'up'])
    expect(members.member(asPeerId('a'))).toMatchObject({ sinceMs: 5_000, joinedIndex: 1 })
    members.apply(to('peer-remove', 'a'), at(6))
    expect(members.members()).toEqual([])
  })

  it('a known peer with another data directory is refused with PEER_AMNESIA and changes nothing', () => {
    const members = new Members()
    members.apply(join('a'), at(1))
    members.apply(to('peer-down', 'a'), at(2))
    const before = members.snapshot()
    const result = members.apply(join('a', 'a-new-directory'), at(3))
    expect(result).toMatchObject({ ok: false, error: { code: 'PEER_AMNESIA', details: { peer: 'a' } } })
    expect(members.snapshot()).toEqual(before)
  })

  it('a join repeated because its answer was lost is no amnesia', () => {
    const members = new Members()
    members.apply(join('a'), at(1))
    expect(members.apply(join('a'), at(2))).toMatchObject({
      ok: true,
      member: { joinedIndex: 1, state: 'up' },
    })
    expect(members.members().length).toBe(1)
  })

  it('after removal the same id may join with a new directory', () => {
    const members = new Members()
    members.apply(join('a'), at(1))
    members.apply(to('peer-remove', 'a'), at(2))
    expect(members.apply(join('a', 'another'), at(3)).ok).toBe(true)
  })

  it('what concerns a stranger is refused and changes nothing; removal of one is no change', () => {
    const members = new Members()
    for (const type of ['peer-up', 'peer-down', 'peer-leave'] as const) {
      expect(members.apply(to(type, 'x'), at(1))).toMatchObject({
        ok: false,
        error: { code: 'NOT_ADMITTED' },
      })
    }
    expect(members.apply(to('peer-remove', 'x'), at(2))).toEqual({ ok: true, changed: false })
    expect(members.members()).toEqual([])
  })

  it('a command repeated reports that nothing changed', () => {
    const members = new Members()
    members.apply(join('a'), at(1))
    members.apply(to('peer-down', 'a'), at(2))
    expect(members.apply(to('peer-down', 'a'), at(3))).toMatchObject({
      ok: true,
      changed: false,
      member: { sinceMs: 2_000 },
    })
  })

  it('a snapshot restores the same state, through the wire', () => {
    const members = new Members()
    members.apply(join('a'), at(1))
    members.apply(join('b'), at(2))
    members.apply(to('peer-down', 'b'), at(3))
    const copy = new Members()
    copy.restore(unpack(pack(members.snapshot())))
    copy.assertInvariants()
    expect(copy.snapshot()).toEqual(members.snapshot())
    const next = join('c')
    expect(copy.apply(next, at(4))).toEqual(members.apply(next, at(4)))
    expect(() => new Members().restore({ version: 3, members: [] })).toThrow(/version/)
  })

  it('a malformed command does not pass its schema', () => {
    expect(memberCommand.safeParse(join('a')).success).toBe(true)
    for (const bad of [
      {},
      { type: 'peer-up' },
      { ...join('a'), directoryId: '' },
      { type: 'peer-up', peerId: 'x'.repeat(200) },
    ]) {
      expect(memberCommand.safeParse(bad).success).toBe(false)
    }
  })

  it('a drain is marked, taken back, outlasts a death and ends when a peer that left comes back', () => {
    const members = new Members()
    const drain = (cancel?: boolean): MemberCommand => ({
      type: 'peer-drain',
      peerId: asPeerId('a'),
      ...(cancel === undefined ? {} : { cancel }),
    })
    const draining = (...commands: MemberCommand[]): boolean => {
      for (const command of commands) expect(members.apply(command, at(1)).ok).toBe(true)
      return members.member(asPeerId('a'))!.draining
    }
    expect(draining(join('a'))).toBe(false)
    expect(draining(drain())).toBe(true)
    expect(members.apply(drain(), at(2))).toMatchObject({ ok: true, changed: false })
    expect(draining(drain(true))).toBe(false)
    expect(draining(drain(), to('peer-down', 'a'), join('a'))).toBe(true)
    expect(draining(to('peer-down', 'a'), to('peer-up', 'a'))).toBe(true)
    expect(draining(to('peer-leave', 'a'))).toBe(true)
    expect(draining(join('a'))).toBe(false)
    expect(members.apply({ ...drain(), peerId: asPeerId('x') }, at(3))).toMatchObject({
      ok: false,
      error: { code: 'NOT_ADMITTED' },
    })
  })

  it('a weight is the one of the join, changes while the peer runs, and stays when a later join names none', () => {
    const members = new Members()
    const weight = (): number => members.member(asPeerId('a'))!.weight
    members.apply(join('a'), at(1))
    expect(weight()).toBe(1)
    members.apply({ type: 'peer-weigh', peerId: asPeerId('a'), weight: 2.5 }, at(2))
    expect(weight()).toBe(2.5)
    members.apply(join('a'), at(3))
    expect(weight()).toBe(2.5)
    const named = { ...join('a'), weight: 4 } as MemberCommand
    members.apply(named, at(4))
    expect(weight()).toBe(4)
    const copy = new Members()
    copy.restore(unpack(pack(members.snapshot())))
    expect(copy.snapshot()).toEqual(members.snapshot())
    for (const bad of [-1, 1_001, Number.NaN, Infinity]) {
      expect(memberCommand.safeParse({ type: 'peer-weigh', peerId: 'a', weight: bad }).success).toBe(false)
    }
  })
})
