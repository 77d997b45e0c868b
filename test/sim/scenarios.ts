import { asPeerId } from '../../src/base/index.ts'
import { check } from './check.ts'
import type { MutantName } from './mutants.ts'
import type { Stage } from './stage.ts'

export interface Scenario {
  name: string
  founders: readonly string[]
  learners?: readonly string[]
  /** The bugs that this schedule turns into harm, and what harm. */
  catches: Partial<Record<MutantName, RegExp>>
  play(stage: Stage): void
  /** Afterwards these peers, as a majority, agree on one leader and go on. */
  survivors: readonly string[]
}

const peers = (...names: string[]) => names.map(asPeerId)

/** Two candidates of one term; `c` votes for `a` and, as far as it remembers or cares, may vote for `b`. */
function rivals(stage: Stage, between: () => void): void {
  stage.wait('c')
  for (const candidate of ['a', 'b']) {
    stage.timeOut(candidate)
    stage.drop({ from: candidate, to: candidate === 'a' ? 'b' : 'a' })
    stage.deliver({ to: 'c', type: 'pre-vote' })
    stage.deliver({ from: 'c', to: candidate })
    stage.sync(candidate)
  }
  stage.drop({ from: 'a', to: 'b' })
  stage.drop({ from: 'b', to: 'a' })
  stage.deliver({ from: 'a', to: 'c', type: 'vote' })
  between()
  stage.deliver({ from: 'c', to: 'a' })
  stage.deliver({ from: 'b', to: 'c', type: 'vote' })
  stage.sync('c')
  stage.deliver({ from: 'c', to: 'b' })
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'two candidates ask one voter in the same term',
    founders: ['a', 'b', 'c'],
    catches: { 'votes twice in a term': /voted for a and b/ },
    play: stage => rivals(stage, () => stage.sync('c')),
    survivors: ['a', 'b', 'c'],
  },
  {
    name: 'a voter crashes after its vote left, and is asked by another candidate of that term',
    founders: ['a', 'b', 'c'],
    catches: { 'forgets its vote in a crash': /voted for a and b/ },
    play: stage =>
      rivals(stage, () => {
        stage.sync('c')
        stage.deliver({ from: 'c', to: 'a' })
        stage.crash('c')
        stage.start('c')
      }),
    survivors: ['a', 'b', 'c'],
  },
  {
    name: 'a voter crashes between its vote and the end of the flush',
    founders: ['a', 'b', 'c'],
    catches: { 'acknowledges before the disk has it': /voted for a and b/ },
    play: stage =>
      rivals(stage, () => {
        stage.deliver({ from: 'c', to: 'a' })
        stage.crash('c')
        stage.start('c')
      }),
    survivors: ['a', 'b', 'c'],
  },
  {
    name: 'a follower crashes after its acknowledgement, before the end of the flush',
    founders: ['a', 'b', 'c'],
    catches: { 'acknowledges before the disk has it': /lacks committed entry/ },
    play: stage => {
      stage.elect('a', 'b')
      stage.settle('a', 'b')
      stage.propose('a')
      stage.sync('a')
      stage.deliver({ from: 'a', to: 'b' })
      stage.deliver({ from: 'b', to: 'a' })
      stage.crash('b')
      stage.crash('a')
      stage.start('b')
      stage.settle('b')
      stage.elect('c', 'b')
      stage.elect('b', 'c')
    },
    survivors: ['b', 'c'],
  },
  {
    name: 'a leader crashes after its followers wrote an entry that its own disk never got',
    founders: ['a', 'b', 'c'],
    catches: { 'counts its own entries before its disk has them': /lacks committed entry/ },
    play: stage => {
      stage.elect('a', 'b')
      stage.settle('a', 'b')
      stage.propose('a')
      stage.deliver({ from: 'a', to: 'b' })
      stage.sync('b')
      stage.deliver({ from: 'b', to: 'a' })
      stage.crash('a')
      stage.crash('b')
      stage.start('a')
      stage.elect('c', 'a')
      stage.elect('a', 'c')
    },
    survivors: ['a', 'c'],
  },
  {
    name: 'Raft figure 8: an entry of an old term on a majority is overwritten by a later leader',
    founders: ['a', 'b', 'c', 'd', 'e'],
    catches: { 'commits entries of earlier terms by counting': /lacks committed entry/ },
    play: stage => {
      stage.elect('a', 'b', 'c', 'd')
      stage.drop({ from: 'a' })
      stage.crash('a')
      stage.elect('e', 'b', 'c', 'd')
      stage.drop({ from: 'e' })
      stage.crash('e')
      stage.start('a')
      stage.elect('a', 'c', 'd')
      // The new leader learns where c and d stand, and brings them its old entry, but not yet the one of its own term.
      for (const follower of ['c', 'd']) {
        stage.deliver({ from: 'a', to: follower })
        stage.sync(follower)
        stage.deliver({ from: follower, to: 'a' })
        stage.deliver({ from: 'a', to: follower })
        stage.sync(follower)
        stage.deliver({ from: follower, to: 'a' })
        stage.drop({ from: 'a', to: follower })
      }
      stage.crash('a')
      stage.start('e')
      stage.elect('e', 'b', 'c', 'd')
    },
    survivors: ['b', 'c', 'd', 'e'],
  },
  {
    name: 'two leaders change the voters one after the other, and the majorities of their changes are disjoint',
    founders: ['a', 'b', 'c', 'd'],
    learners: ['e'],
    catches: { 'changes voters before its own first entry is committed': /lacks committed entry/ },
    play: stage => {
      stage.elect('a', 'b', 'c', 'd')
      stage.settle('a', 'b', 'c', 'd')
      stage.step('a', { type: 'voters-proposed', voters: peers('a', 'b', 'c', 'd', 'e') })
      stage.sync('a')
      for (const other of ['b', 'c', 'd']) stage.drop({ from: 'a', to: other })
      stage.settle('a', 'e')
      stage.elect('b', 'c', 'd')
      stage.drop({ from: 'b', to: 'd' })
      stage.step('b', { type: 'voters-proposed', voters: peers('b', 'c', 'd') })
      for (const other of ['a', 'd', 'e']) stage.drop({ from: 'b', to: other })
      stage.settle('b', 'c')
      for (const other of ['a', 'd', 'e']) stage.drop({ from: 'b', to: other })
      stage.timeOut('a')
      stage.elect('a', 'd', 'e')
    },
    survivors: ['a', 'b', 'c', 'd'],
  },
  {
    name: 'a leader removes voter after voter without waiting, until it is a majority by itself',
    founders: ['a', 'b', 'c', 'd'],
    catches: { 'changes voters while a change is pending': /lacks committed entry/ },
    play: stage => {
      stage.elect('a', 'b', 'c', 'd')
      stage.settle('a', 'b', 'c', 'd')
      stage.step('a', { type: 'voters-proposed', voters: peers('a', 'b', 'c') })
      stage.step('a', { type: 'voters-proposed', voters: peers('a', 'b') })
      stage.step('a', { type: 'voters-proposed', voters: peers('a') })
      stage.sync('a')
      stage.drop({ from: 'a' })
      stage.elect('b', 'c', 'd')
    },
    survivors: ['b', 'c', 'd'],
  },
  {
    // Only the peer that is being removed has the longer log, so only it can be elected (Raft thesis §4.2.2).
    name: 'a leader removes itself and is cut off before anybody else has the change',
    founders: ['a', 'b'],
    catches: {},
    play: stage => {
      stage.elect('a', 'b')
      stage.settle('a', 'b')
      stage.step('a', { type: 'voters-proposed', voters: peers('b') })
      stage.sync('a')
      stage.drop({ from: 'a' })
      stage.timeOut('a')
    },
    survivors: ['a', 'b'],
  },
  {
    name: 'a hand-over comes so late that the heir lacks what was committed since',
    founders: ['a', 'b', 'c'],
    catches: { 'votes for a log that lacks entries': /lacks committed entry/ },
    play: stage => {
      stage.elect('a', 'b', 'c')
      stage.settle('a', 'b', 'c')
      const { term } = stage.machine('a')
      stage.propose('a')
      stage.drop({ from: 'a', to: 'c' })
      stage.settle('a', 'b')
      // What a leader sends on `transfer-requested`, held up on its way.
      stage.step('c', { type: 'received', from: asPeerId('a'), message: { type: 'timeout-now', term } })
      stage.sync('c')
      stage.deliver({ from: 'c', to: 'b' })
      stage.sync('b')
      stage.deliver({ from: 'b', to: 'c' })
    },
    survivors: ['a', 'b', 'c'],
  },
  {
    name: 'a deposed leader, whose timers have not fired yet, is asked for a read',
    founders: ['a', 'b', 'c'],
    catches: { 'answers reads without asking a majority': /stale read/ },
    play: stage => {
      stage.elect('a', 'b', 'c')
      stage.settle('a', 'b', 'c')
      stage.elect('b', 'c')
      stage.settle('b', 'c')
      stage.propose('b')
      stage.settle('b', 'c')
      stage.read('a')
    },
    survivors: ['a', 'b', 'c'],
  },
  {
    name: 'a new leader that does not know yet what its predecessor committed is asked for a read',
    founders: ['a', 'b', 'c'],
    catches: { 'answers reads before its own first entry is committed': /stale read/ },
    play: stage => {
      stage.elect('a', 'b', 'c')
      stage.settle('a', 'b', 'c')
      stage.propose('a')
      stage.drop({ from: 'a', to: 'c' })
      stage.sync('a')
      stage.deliver({ from: 'a', to: 'b' })
      stage.sync('b')
      stage.deliver({ from: 'b', to: 'a' })
      stage.drop({ from: 'a' })
      stage.elect('b', 'c')
      stage.drop({ from: 'b', type: 'append' })
      stage.read('b')
      stage.deliver({ from: 'b', to: 'c', type: 'heartbeat' })
      stage.sync('c')
      stage.deliver({ from: 'c', to: 'b', type: 'heartbeat-reply' })
    },
    survivors: ['b', 'c'],
  },
  {
    name: 'a voter acknowledges an entry, loses its log, and is asked for its vote by one that lacks the entry',
    founders: ['a', 'b', 'c'],
    catches: { 'votes after losing its log': /lacks committed entry/ },
    play: stage => {
      stage.elect('a', 'b', 'c')
      stage.settle('a', 'b', 'c')
      stage.propose('a')
      stage.drop({ from: 'a', to: 'b' })
      stage.settle('a', 'c')
      stage.loseLog('c')
      stage.crash('a')
      stage.elect('b', 'c')
    },
    survivors: ['a', 'b', 'c'],
  },
  {
    name: 'a voter loses its log, and with it the later leader, and is fed by a deposed one',
    founders: ['a', 'b', 'c'],
    catches: { 'counts the answers of a peer that lost its log': /differs from another peer's/ },
    play: stage => {
      stage.elect('a', 'b', 'c')
      stage.settle('a', 'b', 'c')
      stage.elect('b', 'c')
      stage.drop({ from: 'b', to: 'a' })
      stage.settle('b', 'c')
      stage.loseLog('c')
      stage.propose('a')
      stage.drop({ from: 'a', to: 'b' })
      stage.settle('a', 'c')
      stage.timeOut('a')
      stage.crash('b')
    },
    survivors: ['a', 'b', 'c'],
  },
  {
    name: 'a voter that lost its log is removed, has it again, and is promoted',
    founders: ['a', 'b', 'c'],
    catches: {},
    play: stage => {
      stage.elect('a', 'b', 'c')
      stage.step('a', { type: 'peers-changed', peers: peers('a', 'b', 'c') })
      stage.settle('a', 'b', 'c')
      stage.loseLog('c')
      stage.propose('a')
      stage.settle('a', 'b', 'c')
      check(stage.machine('c').forgot, 'c still follows without a vote')
      check(stage.machine('c').commitIndex === stage.machine('a').commitIndex, 'c has the log again')
      stage.step('a', { type: 'voters-proposed', voters: peers('a', 'b') })
      stage.settle('a', 'b', 'c')
      check(!stage.machine('c').forgot, 'its loss is settled')
      stage.step('a', { type: 'voters-proposed', voters: peers('a', 'b', 'c') })
      stage.settle('a', 'b', 'c')
      stage.crash('a')
      stage.elect('c', 'b')
      check(stage.machine('c').role === 'leader', 'c may even lead')
    },
    survivors: ['a', 'b', 'c'],
  },
  {
    name: 'a voter that was removed and promoted once loses its log: the old removal settles nothing',
    founders: ['a', 'b', 'c'],
    catches: {},
    play: stage => {
      stage.elect('a', 'b', 'c')
      stage.step('a', { type: 'peers-changed', peers: peers('a', 'b', 'c') })
      stage.settle('a', 'b', 'c')
      for (const voters of [peers('a', 'b'), peers('a', 'b', 'c')]) {
        stage.step('a', { type: 'voters-proposed', voters })
        stage.settle('a', 'b', 'c')
      }
      stage.loseLog('c')
      stage.propose('a')
      stage.settle('a', 'b', 'c')
      check(stage.machine('c').commitIndex === stage.machine('a').commitIndex, 'c has the log again')
      check(stage.machine('c').forgot, 'c has no vote')
    },
    survivors: ['a', 'b', 'c'],
  },
]
