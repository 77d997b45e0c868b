import { describe, expect, test } from 'vitest'
import { asPeerId } from '../../../src/base/index.ts'
import { raftDefaults } from '../../../src/gossip/config.ts'
import { RaftLog } from '../../../src/gossip/raft-log.ts'
import { hasMajority, majorityValue } from '../../../src/gossip/raft-quorum.ts'
import { RaftMachine } from '../../../src/gossip/raft.machine.ts'
import { emptyRaftState, genesisRaftState } from '../../../src/gossip/raft-types.ts'
import type { RaftEffect, RaftEntry, RaftMessage, RaftState } from '../../../src/gossip/raft-types.ts'

const [A, B, C] = ['a', 'b', 'c'].map(asPeerId) as [
  ReturnType<typeof asPeerId>,
  ReturnType<typeof asPeerId>,
  ReturnType<typeof asPeerId>,
]
const BYTES = Buffer.from('x')

function machineOf(state: RaftState, options: Partial<typeof raftDefaults> = {}): RaftMachine {
  return new RaftMachine({
    self: A,
    state,
    random: { next: () => 0 },
    // Time passes in leaps here.
    options: { ...raftDefaults, stallMs: Infinity, ...options },
    nowMs: 0,
  })
}

/** The leader of a, b and c in term 2, with its no-op committed; its progress for b replicates. */
function leaderOfThree(options: Partial<typeof raftDefaults> = {}): RaftMachine {
  const machine = machineOf(genesisRaftState([A, B, C], 0), options)
  machine.step({ type: 'ticked' }, 1_500)
  const receive = (message: RaftMessage) => machine.step({ type: 'received', from: B, message }, 1_500)
  receive({ type: 'pre-vote-reply', term: 2, granted: true })
  receive({ type: 'vote-reply', term: 2, granted: true })
  machine.step({ type: 'persisted', seq: 2 }, 1_500)
  receive({ type: 'append-reply', term: 2, ok: true, match: 2 })
  expect(machine.ready).toBe(true)
  return machine
}

function of<Type extends RaftEffect['type']>(
  effects: RaftEffect[],
  type: Type,
): Extract<RaftEffect, { type: Type }>[] {
  return effects.filter((effect): effect is Extract<RaftEffect, { type: Type }> => effect.type === type)
}

function appendsTo(effects: RaftEffect[], to = B): Extract<RaftMessage, { type: 'append' }>[] {
  return of(effects, 'send').flatMap(({ to: receiver, message }) =>
    receiver === to && message.type === 'append' ? [message] : [],
  )
}

function propose(
  machine: RaftMachine,
  count: number,
  data: Uint8Array = BYTES,
  wallMs = 1_000,
  nowMs = 1_500,
): RaftEffect[] {
  const proposals = Array.from({ length: count }, (_, id) => ({ id, data }))
  return machine.step({ type: 'proposed', proposals, wallMs }, nowMs)
}

describe('election and log', () => {
  test('many proposals of one event share one persist and one append', () => {
    const effects = propose(leaderOfThree(), 100)
    expect(of(effects, 'persist')).toHaveLength(1)
    expect(appendsTo(effects).map(message => message.entries.length)).toEqual([100])
  })

  test("the leader's appends leave before its own persist, a follower's answer after it", () => {
    const effects = propose(leaderOfThree(), 1)
    expect(effects.findIndex(effect => effect.type === 'send')).toBeLessThan(
      effects.findIndex(effect => effect.type === 'persist'),
    )
    const follower = machineOf(genesisRaftState([A, B, C], 0))
    const entry: RaftEntry = { kind: 'no-op', term: 2, index: 2, timeMs: 0 }
    const message: RaftMessage = {
      type: 'append',
      term: 2,
      prevIndex: 1,
      prevTerm: 1,
      entries: [entry],
      commit: 0,
    }
    const answer = follower.step({ type: 'received', from: B, message }, 100)
    expect(answer.map(effect => effect.type)).toEqual(['persist', 'send', 'role-changed'])
  })

  test('a sole voter says nothing of its new term to learners before that term is on disk', () => {
    const machine = machineOf(genesisRaftState([A], 0))
    machine.step({ type: 'peers-changed', peers: [A, B] }, 0)
    const types = machine.step({ type: 'ticked' }, 0).map(effect => effect.type)
    expect(types.indexOf('persist')).toBe(0)
    expect(types).toContain('send')
  })

  test('an append holds a bounded number of entries and of bytes, and few are in flight', () => {
    const machine = leaderOfThree({ appendEntriesMax: 10, inflightMax: 3 })
    const many = appendsTo(propose(machine, 100))
    expect(many.length).toBeLessThanOrEqual(3)
    let sent = many
    let match = 2
    while (sent.length > 0) {
      for (const message of sent) expect(message.entries.length).toBeLessThanOrEqual(10)
      match += sent.reduce((sum, message) => sum + message.entries.length, 0)
      const reply: RaftMessage = { type: 'append-reply', term: 2, ok: true, match }
      sent = appendsTo(machine.step({ type: 'received', from: B, message: reply }, 1_500)).filter(
        message => message.entries.length > 0,
      )
    }
    expect(match).toBe(102)
    const large = appendsTo(propose(leaderOfThree({ appendBytesMax: 1_000 }), 10, new Uint8Array(400)))
    for (const message of large) expect(message.entries.length).toBeLessThanOrEqual(2)
  })

  test('too many or too large uncommitted entries are refused, and nothing of them is appended', () => {
    const machine = leaderOfThree({ uncommittedMax: 5, entryBytesMax: 10 })
    const before = machine.log.lastIndex
    expect(of(propose(machine, 1, new Uint8Array(11)), 'proposal-refused')).toMatchObject([
      { code: 'TOO_LARGE' },
    ])
    expect(machine.log.lastIndex).toBe(before)
    expect(of(propose(machine, 7), 'proposal-refused')).toMatchObject([{ code: 'BUSY' }, { code: 'BUSY' }])
    expect(machine.log.lastIndex).toBe(before + 5)
  })

  test('log time goes a quarter slower or faster than the monotonic clock at most, wherever the wall clock is set', () => {
    const machine = leaderOfThree()
    propose(machine, 1, BYTES, 1_000_000, 1_500)
    propose(machine, 1, BYTES, 1_000_000 - 86_400_000, 1_700)
    propose(machine, 1, BYTES, 1_000_000 + 86_400_000, 1_800)
    const times = [3, 4, 5].map(index => machine.log.entryAt(index)?.timeMs)
    expect(times).toEqual([1_000_000, 1_000_150, 1_000_275])
  })

  test('a predecessor whose clock ran ahead does not stop log time', () => {
    const state = genesisRaftState([A], 5_000_000)
    const machine = machineOf(state)
    machine.step({ type: 'ticked' }, 0)
    propose(machine, 1, BYTES, 1_000, 10)
    propose(machine, 1, BYTES, 1_100, 110)
    expect([3, 4].map(index => machine.log.entryAt(index)?.timeMs)).toEqual([5_000_000, 5_000_075])
  })

  test("a leader's announcement on gossip is a hint: it raises no term and deposes nobody", () => {
    const machine = leaderOfThree()
    const message: RaftMessage = { type: 'leader-here', term: 9, commit: 100 }
    machine.step({ type: 'received', from: C, message }, 1_500)
    expect(machine).toMatchObject({ term: 2, role: 'leader', leader: A })
    const joiner = machineOf(emptyRaftState())
    joiner.step({ type: 'received', from: C, message }, 0)
    expect(joiner).toMatchObject({ term: 0, role: 'learner', leader: C })
  })

  test('a leader that is silent is not named for ever: not by a voter in a minority, not by a learner', () => {
    const announce: RaftMessage = { type: 'leader-here', term: 1, commit: 1 }
    const beat: RaftMessage = { type: 'heartbeat', term: 1, commit: 0, round: 1 }
    const namedAfter = (machine: RaftMachine, ms: number) => {
      for (let nowMs = 100; nowMs <= ms; nowMs += 100) machine.step({ type: 'ticked' }, nowMs)
      return machine.leader
    }
    const voter = machineOf(genesisRaftState([A, B, C], 0))
    for (const message of [beat, announce]) voter.step({ type: 'received', from: B, message }, 0)
    expect(namedAfter(voter, 1_000)).toBe(B)
    expect(namedAfter(voter, 4_000)).toBeUndefined()
    const learner = machineOf(emptyRaftState())
    learner.step({ type: 'received', from: B, message: beat }, 0)
    expect(namedAfter(learner, 3_000)).toBe(B)
    expect(namedAfter(learner, 7_000)).toBeUndefined()
    const told = machineOf(emptyRaftState())
    told.step({ type: 'received', from: B, message: announce }, 0)
    expect(namedAfter(told, 6_000)).toBe(B)
    expect(namedAfter(told, 11_000)).toBeUndefined()
  })

  test("a candidate's patience begins when its own vote is on disk: before that nobody can have answered", () => {
    const machine = machineOf(genesisRaftState([A, B, C], 0))
    machine.step({ type: 'ticked' }, 1_500)
    machine.step(
      { type: 'received', from: B, message: { type: 'pre-vote-reply', term: 2, granted: true } },
      1_500,
    )
    for (let nowMs = 1_600; nowMs <= 20_000; nowMs += 100) machine.step({ type: 'ticked' }, nowMs)
    expect(machine).toMatchObject({ term: 2, role: 'candidate' })
    machine.step({ type: 'persisted', seq: 1 }, 20_000)
    machine.step({ type: 'ticked' }, 21_400)
    expect(machine.role).toBe('candidate')
    machine.step({ type: 'ticked' }, 21_500)
    expect(machine).toMatchObject({ term: 2, role: 'pre-candidate' })
  })

  test('a vote that comes when the candidate asks anew whether it may elects it, for the term was not raised', () => {
    const machine = machineOf(genesisRaftState([A, B, C], 0))
    const receive = (message: RaftMessage) => machine.step({ type: 'received', from: B, message }, 4_000)
    machine.step({ type: 'ticked' }, 1_500)
    machine.step(
      { type: 'received', from: B, message: { type: 'pre-vote-reply', term: 2, granted: true } },
      1_500,
    )
    machine.step({ type: 'persisted', seq: 1 }, 1_500)
    machine.step({ type: 'ticked' }, 4_000)
    expect(machine).toMatchObject({ term: 2, role: 'pre-candidate' })
    receive({ type: 'vote-reply', term: 2, granted: true })
    machine.assertInvariants()
    expect(machine).toMatchObject({ term: 2, role: 'leader', votedFor: A })
  })

  test('time at which the process stood still is no time that the leader was silent', () => {
    const machine = machineOf(genesisRaftState([A, B, C], 0), { stallMs: 250 })
    const beat: RaftMessage = { type: 'heartbeat', term: 1, commit: 0, round: 1 }
    machine.step({ type: 'received', from: B, message: beat }, 0)
    // Three times still for 3 s; each counts for one late tick.
    for (let nowMs = 3_000; nowMs <= 9_000; nowMs += 3_000) machine.step({ type: 'ticked' }, nowMs)
    expect(machine).toMatchObject({ role: 'follower', leader: B })
    const asked: RaftMessage = { type: 'pre-vote', term: 2, lastIndex: 9, lastTerm: 1 }
    expect(machine.step({ type: 'received', from: C, message: asked }, 9_000)).toEqual([])
    for (let nowMs = 9_100; nowMs <= 9_600; nowMs += 100) machine.step({ type: 'ticked' }, nowMs)
    expect(machine).toMatchObject({ role: 'pre-candidate', leader: undefined })
  })

  test('a leader that stood still counts nobody out for it', () => {
    const machine = leaderOfThree({ stallMs: 250, electionMinMs: 100 })
    machine.step({ type: 'ticked' }, 60_000)
    expect(machine.role).toBe('leader')
    expect(machine.progress().map(({ silentMs }) => silentMs <= 350)).toEqual([true, true])
  })

  test('a heartbeat is answered past a slow disk, but not past one that finishes nothing, nor before the term is there', () => {
    const follower = machineOf(genesisRaftState([A, B, C], 0))
    const receive = (message: RaftMessage, nowMs: number) =>
      of(follower.step({ type: 'received', from: B, message }, nowMs), 'send')
    const beat: RaftMessage = { type: 'heartbeat', term: 2, commit: 0, round: 1 }
    expect(receive(beat, 100)).toMatchObject([{ message: { type: 'heartbeat-reply' } }])
    expect(receive(beat, 200)[0]).not.toHaveProperty('urgent')
    follower.step({ type: 'persisted', seq: 1 }, 300)
    const data = BYTES
    const entries: RaftEntry[] = [{ kind: 'command', term: 2, index: 2, timeMs: 0, data }]
    const append: RaftMessage = { type: 'append', term: 2, prevIndex: 1, prevTerm: 1, entries, commit: 0 }
    expect(receive(append, 400)[0]).not.toHaveProperty('urgent')
    expect(receive(beat, 500)).toMatchObject([{ message: { type: 'heartbeat-reply' }, urgent: true }])
    expect(receive(beat, 5_399)).toMatchObject([{ urgent: true }])
    expect(receive(beat, 5_400)[0]).not.toHaveProperty('urgent')
    follower.step({ type: 'persisted', seq: 2 }, 5_500)
    expect(receive(beat, 5_600)).toMatchObject([{ urgent: true }])
  })

  test('votes of peers that are no voters elect nobody', () => {
    const machine = machineOf(genesisRaftState([A, B, C], 0))
    machine.step({ type: 'ticked' }, 1_500)
    for (const stranger of ['x', 'y', 'z'].map(asPeerId)) {
      machine.step(
        { type: 'received', from: stranger, message: { type: 'pre-vote-reply', term: 2, granted: true } },
        1_500,
      )
    }
    expect(machine).toMatchObject({ term: 1, role: 'pre-candidate' })
  })

  test('a learner that does not know of its promotion yet still votes', () => {
    const machine = machineOf(emptyRaftState())
    const message: RaftMessage = { type: 'vote', term: 5, lastIndex: 10, lastTerm: 4 }
    const [persist, send] = machine.step({ type: 'received', from: B, message }, 0)
    expect(persist).toMatchObject({ type: 'persist', hardState: { term: 5, votedFor: B } })
    expect(send).toMatchObject({ type: 'send', to: B, message: { type: 'vote-reply', granted: true } })
  })

  test('a candidate with a shorter or older log gets no vote', () => {
    const state = (): RaftState => ({
      hardState: { term: 3 },
      entries: [1, 2, 3].map(index => ({ kind: 'no-op', term: index, index, timeMs: 0 })),
    })
    for (const [lastIndex, lastTerm, granted] of [
      [2, 3, false],
      [9, 2, false],
      [3, 3, true],
      [1, 4, true],
    ] as const) {
      const effects = machineOf(state()).step(
        { type: 'received', from: B, message: { type: 'vote', term: 4, lastIndex, lastTerm } },
        0,
      )
      expect(of(effects, 'send')[0]!.message, `${lastTerm}:${lastIndex}`).toMatchObject({ granted })
    }
  })

  test('an append with a gap inside is ignored', () => {
    const machine = machineOf(genesisRaftState([A, B, C], 0))
    const entries: RaftEntry[] = [2, 4].map(index => ({ kind: 'no-op', term: 2, index, timeMs: 0 }))
    const message: RaftMessage = { type: 'append', term: 2, prevIndex: 1, prevTerm: 1, entries, commit: 4 }
    machine.step({ type: 'received', from: B, message }, 0)
    expect(machine).toMatchObject({ commitIndex: 0 })
    expect(machine.log.lastIndex).toBe(1)
    machine.assertInvariants()
  })

  test('a leader tells a peer that has answered it from one of which it only knows that it should be there', () => {
    const machine = leaderOfThree()
    const answered = () => machine.progress().map(({ peer, answered }) => [peer, answered])
    expect(answered()).toEqual([
      [B, true],
      [C, false],
    ])
    machine.step(
      { type: 'received', from: C, message: { type: 'append-reply', term: 2, ok: true, match: 2 } },
      1_500,
    )
    expect(answered()).toEqual([
      [B, true],
      [C, true],
    ])
    const forgot = { number: 7, forgot: true }
    machine.step(
      { type: 'received', from: C, message: { type: 'heartbeat-reply', term: 2, round: 1, life: forgot } },
      1_500,
    )
    expect(answered()).toEqual([
      [B, true],
      [C, false],
    ])
  })

  test('an acknowledgement beyond the log counts for nothing', () => {
    const machine = leaderOfThree()
    const message: RaftMessage = { type: 'append-reply', term: 2, ok: true, match: 1_000 }
    machine.step({ type: 'received', from: C, message }, 1_500)
    expect(machine.commitIndex).toBe(2)
    machine.assertInvariants()
  })

  test('a late flush report of entries that were replaced since is not counted', () => {
    const machine = leaderOfThree()
    const flushing = of(propose(machine, 3), 'persist')[0]!.seq
    const entry: RaftEntry = { kind: 'no-op', term: 3, index: 3, timeMs: 0 }
    const message: RaftMessage = {
      type: 'append',
      term: 3,
      prevIndex: 2,
      prevTerm: 2,
      entries: [entry],
      commit: 2,
    }
    machine.step({ type: 'received', from: B, message }, 1_600)
    machine.step({ type: 'persisted', seq: flushing }, 1_600)
    expect(machine.durableIndex).toBe(2)
  })

  test('a peer in no reach gets no snapshot again and again', () => {
    const machine = leaderOfThree({ snapshotEntries: 3, trailingEntries: 0, snapshotTimeoutMs: 5_000 })
    propose(machine, 3)
    machine.step({ type: 'persisted', seq: 3 }, 1_500)
    const reply: RaftMessage = { type: 'append-reply', term: 2, ok: true, match: 5 }
    const asked = machine.step({ type: 'received', from: B, message: reply }, 1_500)
    expect(of(asked, 'take-snapshot')).toEqual([{ type: 'take-snapshot', index: 5 }])
    machine.step({ type: 'snapshot-taken', index: 5, data: BYTES }, 1_500)
    const refusal: RaftMessage = {
      type: 'append-reply',
      term: 2,
      ok: false,
      rejected: 1,
      hintIndex: 0,
      hintTerm: 0,
    }
    const first = machine.step({ type: 'received', from: C, message: refusal }, 1_500)
    expect(of(first, 'send-snapshot')).toHaveLength(1)
    const heartbeat: RaftMessage = { type: 'heartbeat-reply', term: 2, round: 1 }
    for (let nowMs = 1_600; nowMs < 2_600; nowMs += 100) {
      const effects = machine.step({ type: 'received', from: C, message: heartbeat }, nowMs)
      expect(of(effects, 'send-snapshot')).toEqual([])
    }
    machine.step({ type: 'snapshot-sent', to: C, ok: false }, 2_700)
    const again = machine.step({ type: 'received', from: C, message: heartbeat }, 2_800)
    expect(of(again, 'send-snapshot')).toHaveLength(1)
  })
})

describe('log in memory', () => {
  const log = (): RaftLog =>
    new RaftLog({
      hardState: { term: 9 },
      entries: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6].map((term, at) => ({
        kind: 'no-op',
        term,
        index: at + 1,
        timeMs: 0,
      })),
    })

  test('the place of agreement is the last entry of a term that is not later', () => {
    expect(log().agreementBefore(10, 5)).toEqual({ index: 7, term: 5 })
    expect(log().agreementBefore(10, 3)).toEqual({ index: 3, term: 1 })
    expect(log().agreementBefore(5, 9)).toEqual({ index: 5, term: 4 })
    expect(log().agreementBefore(99, 9)).toEqual({ index: 10, term: 6 })
  })

  test('a truncation brings back the voters before it', () => {
    const voters = log()
    voters.append([{ kind: 'config', term: 7, index: 11, timeMs: 0, voters: [A] }])
    voters.append([{ kind: 'config', term: 7, index: 12, timeMs: 0, voters: [A, B] }])
    voters.truncateFrom(12)
    expect(voters.voters).toEqual([A])
    voters.truncateFrom(11)
    expect(voters.voters).toEqual([])
  })

  test('what is committed is never replaced, and a commit index never goes back', () => {
    const committed = log()
    committed.commitTo(7)
    committed.commitTo(5)
    expect(committed.commitIndex).toBe(7)
    expect(() => committed.truncateFrom(7)).toThrow('committed entry 7')
    committed.truncateFrom(8)
    expect(committed.lastIndex).toBe(7)
    expect(() => committed.commitTo(8)).toThrow('committed entries are in the log')
  })

  test('compaction keeps terms, voters and what follows', () => {
    const compacted = log()
    compacted.commitTo(7)
    compacted.compact({ index: 7, term: 5, timeMs: 0, voters: [B] }, 6)
    expect([4, 5, 6, 7].map(index => compacted.termAt(index))).toEqual([undefined, 4, 5, 5])
    expect(compacted.voters).toEqual([B])
    expect(compacted.lastIndex).toBe(10)
    compacted.assertInvariants()
  })
})

describe('quorum', () => {
  const voters = ['a', 'b', 'c', 'd', 'e'].map(asPeerId)

  test('the majority value is what more than half have reached', () => {
    const values: Record<string, number> = { a: 9, b: 7, c: 5, d: 3, e: 1 }
    for (const [count, value] of [
      [1, 9],
      [2, 7],
      [3, 7],
      [4, 5],
      [5, 5],
    ] as const) {
      expect(
        majorityValue(voters.slice(0, count), voter => values[voter]!),
        `${count} voters`,
      ).toBe(value)
    }
  })

  test('of no voters nobody has a majority', () => {
    expect(hasMajority([], () => true)).toBe(false)
    expect(majorityValue([], () => 9)).toBe(0)
  })
})
