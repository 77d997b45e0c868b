import { describe, expect, test } from 'vitest'
import { asPeerId } from '../../../src/base/index.ts'
import type { PeerId } from '../../../src/base/index.ts'
import { votersDefaults } from '../../../src/gossip/config.ts'
import { VotersMachine, votersTarget } from '../../../src/gossip/voters.machine.ts'
import type { VotersView } from '../../../src/gossip/voters.machine.ts'

/** A leader `a` whose log takes every change at once, in a mesh that the test changes. */
class Leader {
  readonly machine = new VotersMachine(votersDefaults)
  voters: PeerId[] = ['a'].map(asPeerId)
  hosts = new Map<string, string>()
  matches = new Map<string, number>()
  silent = new Map<string, number>()
  /** Peers that have never answered this leader. */
  mute = new Set<string>()
  zones = new Map<string, string>()
  draining = new Set<string>()
  quarantined = new Set<string>()
  /** Peers that lost their log, until a change of the voters names them. */
  forgot = new Set<string>()
  live: string[]
  mayChange = true
  lastIndex = 1_000
  nowMs = 0
  history: string[] = []

  constructor(live: string, voters = 'a') {
    this.live = live.split('')
    this.voters = voters.split('').map(asPeerId)
  }

  view(): VotersView {
    const fed = [...new Set([...this.voters, ...this.live])].filter(peer => peer !== 'a')
    return {
      self: asPeerId('a'),
      mayChange: this.mayChange,
      voters: this.voters,
      lastIndex: this.lastIndex,
      fed: fed.map(peer => ({
        peer: asPeerId(peer),
        match: this.matches.get(peer) ?? this.lastIndex,
        silentMs: this.silent.get(peer) ?? 0,
        answered: !this.mute.has(peer),
        forgot: this.forgot.has(peer),
      })),
      live: this.live.map(peer => ({
        peerId: asPeerId(peer),
        host: this.hosts.get(peer) ?? `host-${peer}`,
        zone: this.zones.get(peer) ?? '',
        draining: this.draining.has(peer),
        quarantined: this.quarantined.has(peer),
      })),
    }
  }

  /** Ticks until `ms` have passed; changes happen at once. Returns the voter sets that were proposed. */
  run(ms: number): string[] {
    const from = this.history.length
    for (const end = this.nowMs + ms; this.nowMs < end; this.nowMs += 100) {
      for (const { voters } of this.machine.step({ type: 'ticked', view: this.view() }, this.nowMs)) {
        const changed = [...voters, ...this.voters].filter(
          peer => voters.includes(peer) !== this.voters.includes(peer),
        )
        expect(changed).toHaveLength(1)
        this.forgot.delete(changed[0]!)
        this.voters = voters
        this.history.push(voters.join(''))
      }
      this.machine.assertInvariants()
    }
    return this.history.slice(from)
  }
}

describe('voters', () => {
  test('the target is 1 of one or two live peers, 3 from three, 5 from five', () => {
    expect([1, 2, 3, 4, 5, 6, 1_000].map(votersTarget)).toEqual([1, 1, 3, 3, 5, 5, 5])
  })

  test('five fit peers become voters one at a time, within a few seconds', () => {
    expect(new Leader('abcde').run(1_500)).toEqual(['ab', 'abc', 'abcd', 'abcde'])
  })

  test('two peers stay with one voter: two voters would tolerate no death either', () => {
    expect(new Leader('ab').run(60_000)).toEqual([])
  })

  test('growth waits until both of the next two are fit', () => {
    const leader = new Leader('abc')
    leader.matches.set('c', leader.lastIndex - votersDefaults.trailingMax - 1)
    expect(leader.run(5_000)).toEqual([])
    leader.matches.delete('c')
    expect(leader.run(5_000)).toEqual(['ab', 'abc'])
  })

  test('a peer that has never answered this leader gets no vote, however live the log calls it', () => {
    const recovered = new Leader('abc')
    recovered.lastIndex = 17
    for (const lost of ['b', 'c']) {
      recovered.mute.add(lost)
      recovered.matches.set(lost, 0)
    }
    expect(recovered.run(60_000)).toEqual([])
    recovered.mute.clear()
    expect(recovered.run(5_000)).toEqual(['ab', 'abc'])
  })

  test('a learner must have been fit for a while, without a break', () => {
    const leader = new Leader('abc')
    for (let i = 0; i < 10; i++) {
      expect(leader.run(votersDefaults.stableMs - 100)).toEqual([])
      leader.silent.set('b', votersDefaults.silentMs + 1)
      expect(leader.run(100)).toEqual([])
      leader.silent.delete('b')
    }
  })

  test('nothing is proposed while the log takes no change', () => {
    const leader = new Leader('abcde')
    leader.mayChange = false
    expect(leader.run(60_000)).toEqual([])
  })

  test('a dead voter is removed and replaced at once, when a learner stands ready', () => {
    const leader = new Leader('abcd', 'abc')
    leader.run(1_000)
    leader.live = ['a', 'b', 'd']
    expect(leader.run(votersDefaults.replaceAfterMs - 100)).toEqual([])
    expect(leader.run(500)).toEqual(['ab', 'abd'])
  })

  test('without a learner a dead voter stays, however long', () => {
    const leader = new Leader('ab', 'abc')
    expect(leader.run(600_000)).toEqual([])
  })

  test('five voters do not shrink when two of them die and nobody replaces them', () => {
    const leader = new Leader('abc', 'abcde')
    expect(leader.run(600_000)).toEqual([])
  })

  test('with one learner for two dead voters, one is replaced and five remain', () => {
    const leader = new Leader('abcf', 'abcde')
    const steps = leader.run(60_000)
    expect(steps).toHaveLength(2)
    expect(leader.voters).toHaveLength(5)
    expect(leader.voters).toContain('f')
  })

  test('a voter that comes back in time is not replaced', () => {
    const leader = new Leader('abcd', 'abc')
    for (let i = 0; i < 5; i++) {
      leader.live = ['a', 'b', 'd']
      expect(leader.run(9_000)).toEqual([])
      leader.live = ['a', 'b', 'c', 'd']
      expect(leader.run(1_000)).toEqual([])
    }
  })

  test('a voter that lives but does not follow the log is replaced too', () => {
    const leader = new Leader('abcd', 'abc')
    leader.run(1_000)
    leader.silent.set('c', votersDefaults.replaceAfterMs)
    expect(leader.run(1_000)).toEqual(['ab', 'abd'])
  })

  test('an even set, left by an earlier leader half-way, is completed with one learner', () => {
    expect(new Leader('abc', 'ab').run(1_000)).toEqual(['abc'])
    expect(new Leader('abcde', 'abcd').run(1_000)).toEqual(['abcde'])
  })

  test('the set does not grow while a voter is gone: the new ones would have to carry every commit', () => {
    const leader = new Leader('abdef', 'abc')
    expect(leader.run(5_000)).toEqual([])
    expect(leader.run(10_000)[0]).toBe('ab')
    expect(leader.voters).toHaveLength(5)
  })

  test('hosts without a voter come first', () => {
    const leader = new Leader('abcde')
    for (const peer of 'abc') leader.hosts.set(peer, 'one')
    leader.hosts.set('d', 'two')
    leader.hosts.set('e', 'three')
    leader.live = ['a', 'b', 'c', 'd', 'e']
    expect(leader.run(2_000).slice(0, 2)).toEqual(['ad', 'ade'])
  })

  test('a new leader observes anew', () => {
    const leader = new Leader('abcd', 'abc')
    leader.live = ['a', 'b', 'd']
    leader.run(9_900)
    leader.machine.step({ type: 'leadership-lost' }, leader.nowMs)
    expect(leader.run(9_900)).toEqual([])
    expect(leader.run(1_000)).toEqual(['ab', 'abd'])
  })

  test('a draining voter is replaced first, and only then removed', () => {
    const leader = new Leader('abcd', 'abc')
    leader.draining.add('c')
    expect(leader.run(5_000)).toEqual(['abcd', 'abd'])
    expect(leader.run(60_000)).toEqual([])
  })

  test('a draining leader is replaced, but never removes itself', () => {
    const leader = new Leader('abcd', 'abc')
    leader.draining.add('a')
    expect(leader.run(60_000)).toEqual(['abcd'])
  })

  test('a draining voter that nobody can replace goes all the same, for the rest want fewer', () => {
    const leader = new Leader('abc', 'abc')
    leader.draining.add('c')
    expect(leader.run(60_000)).toEqual(['ab'])
  })

  test('a draining voter stays while the others could not commit without it', () => {
    const leader = new Leader('abc', 'abc')
    leader.draining.add('c')
    leader.live = ['a', 'c']
    expect(leader.run(60_000)).toEqual([])
  })

  test('draining and quarantined learners are no candidates', () => {
    const leader = new Leader('abcde', 'abc')
    leader.draining.add('d')
    leader.quarantined.add('e')
    leader.live = ['a', 'b', 'd', 'e']
    expect(leader.run(60_000)).toEqual([])
  })

  test('a voter that lost its log is removed when it has caught up, and promoted again', () => {
    const leader = new Leader('abc', 'abc')
    leader.forgot.add('c')
    leader.matches.set('c', 0)
    expect(leader.run(20_000)).toEqual([])
    leader.matches.delete('c')
    expect(leader.run(5_000)).toEqual(['ab', 'abc'])
  })

  test('a voter that lost its log is not removed while the rest has no majority', () => {
    const leader = new Leader('abc', 'abc')
    leader.forgot.add('c')
    leader.live = ['a', 'c']
    expect(leader.run(60_000)).toEqual([])
  })

  test('zones without a voter come before hosts without one', () => {
    const leader = new Leader('abcde')
    for (const peer of 'abc') leader.zones.set(peer, 'west')
    for (const peer of 'de') leader.zones.set(peer, 'east')
    leader.live = ['a', 'b', 'c', 'd']
    expect(leader.run(5_000)[0]).toBe('ad')
  })

  test('a learner in a zone without a voter takes the place of one of several in a zone', () => {
    const leader = new Leader('abcd', 'abc')
    for (const peer of 'abc') leader.zones.set(peer, 'west')
    leader.zones.set('d', 'east')
    const steps = leader.run(10_000)
    expect(steps[0]).toBe('abcd')
    expect(leader.voters).toHaveLength(3)
    expect(leader.voters).toContain('d')
    expect(leader.voters).toContain('a')
    expect(leader.run(60_000)).toEqual([])
  })
})
