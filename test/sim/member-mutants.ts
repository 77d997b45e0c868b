import { Membership } from '../../src/gossip/membership.machine.ts'
import { check } from './check.ts'
import { MemberCrowd } from './member-crowd.ts'
import type { CrowdOptions } from './member-crowd.ts'
import type { MemberProgramInit } from './member-program.ts'

type Machine = NonNullable<MemberProgramInit['machine']>

/** A way of life that a sound membership gets through, and the planted bugs that do harm in it. */
export interface MemberScenario {
  name: string
  play(machine?: Machine): void
  catches: Record<string, Machine>
}

function crowdOf(options: Omit<CrowdOptions, 'machine'>, machine: Machine | undefined): MemberCrowd {
  const crowd = new MemberCrowd({ ...options, ...(machine !== undefined && { machine }) })
  crowd.run(5_000)
  return crowd
}

function reached(crowd: MemberCrowd, what: string, condition: () => boolean, timeoutMs: number): void {
  check(crowd.until(condition, timeoutMs) !== undefined, `not within ${timeoutMs} ms: ${what}`)
}

const everybody = (crowd: MemberCrowd): number[] => Array.from({ length: crowd.size }, (_, place) => place)

export const MEMBER_SCENARIOS: readonly MemberScenario[] = [
  {
    name: 'a peer that stands still for 3 s and lives',
    play(machine) {
      const crowd = crowdOf({ peers: 7, seed: 11 }, machine)
      crowd.pause(2, 3_000)
      crowd.run(60_000)
      check(!crowd.changes.some(({ change }) => change === 'dead'), 'a living peer was taken for dead')
    },
    catches: {
      'never refutes': class extends Membership {
        protected override mustRefute(): boolean {
          return false
        }
      },
    },
  },
  {
    name: 'a peer that comes back after its death',
    play(machine) {
      const crowd = crowdOf({ peers: 6, seed: 12 }, machine)
      crowd.split(1)
      reached(crowd, 'the one cut off is dead', () => crowd.believers(0, 'dead') === 5, 60_000)
      const buriesAll = (): boolean =>
        everybody(crowd)
          .slice(1)
          .every(of => crowd.belief(0, of) === 'dead')
      reached(crowd, 'all others are dead to it', buriesAll, 300_000)
      // No probe is under way any more.
      crowd.run(20_000)
      crowd.mend()
      reached(crowd, 'everybody is alive to everybody', () => crowd.agreed(), 60_000)
    },
    catches: {
      'refutes without raising its incarnation': class extends Membership {
        protected override refutingIncarnation(): number {
          return 1
        }
      },
      'exchanges nothing with the dead': class extends Membership {
        protected override maySeekDead(): boolean {
          return false
        }
      },
    },
  },
  {
    name: 'a peer that is gone for good',
    play(machine) {
      const crowd = crowdOf({ peers: 6, seed: 13, options: { forgetMs: 60_000 } }, machine)
      crowd.crash(3)
      reached(crowd, 'it is dead', () => crowd.believers(3, 'dead') === 5, 30_000)
      // A newcomer that hears of it late must not keep it in memory for longer than the others do.
      crowd.run(45_000)
      crowd.crash(4)
      crowd.restart(4)
      crowd.run(30_000)
      const known = everybody(crowd).filter(place => place !== 3 && crowd.belief(place, 3) !== undefined)
      check(known.length === 0, `the dead one is remembered by ${known.join()}`)
    },
    catches: {
      'never forgets the dead': class extends Membership {
        protected override mustForget(): boolean {
          return false
        }
      },
    },
  },
  {
    name: 'a peer that itself stands still again and again',
    play(machine) {
      const crowd = crowdOf({ peers: 5, seed: 14 }, machine)
      for (let round = 0; round < 40; round++) {
        crowd.changes.length = 0
        crowd.pause(1, 1_900)
        crowd.run(1_900 + 400)
        const accused = crowd.changes.filter(
          ({ observer, of, change }) => observer === 1 && of !== 1 && change === 'suspect',
        )
        check(accused.length === 0, 'a peer that stood still accuses another')
        crowd.run(700)
      }
      check(crowd.machine(1).healthFactor > 1, 'a peer that stands still trusts itself')
    },
    catches: {
      'accuses others of its own stall': class extends Membership {
        protected override mayJudge(): boolean {
          return true
        }

        protected override standStillMs(): number {
          return 0
        }
      },
    },
  },
  {
    name: 'a peer that dies and comes back four times',
    play(machine) {
      const crowd = crowdOf({ peers: 6, seed: 15 }, machine)
      const quarantined = (): boolean => crowd.machine(0).isQuarantined(crowd.peer(5))
      for (let turn = 1; turn <= 4; turn++) {
        crowd.crash(5)
        reached(crowd, 'it is dead', () => crowd.believers(5, 'dead') === 5, 30_000)
        crowd.restart(5)
        reached(crowd, 'it is back', () => crowd.agreed(), 30_000)
        check(
          quarantined() === turn >= 3,
          `after ${turn} turns it is ${quarantined() ? '' : 'not '}in quarantine`,
        )
      }
      // The second quarantine takes twice as long as the first.
      crowd.run(110_000)
      check(quarantined(), 'the second quarantine is no longer than the first')
      crowd.run(20_000)
      check(!quarantined(), 'the quarantine does not end')
    },
    catches: {
      'never ends a quarantine': class extends Membership {
        protected override endedQuarantines(): [] {
          return []
        }
      },
      'counts no turns': class extends Membership {
        protected override countsAsTurn(): boolean {
          return false
        }
      },
    },
  },
  {
    name: 'a peer that is cut off from all others three times',
    play(machine) {
      const crowd = crowdOf({ peers: 6, seed: 16 }, machine)
      for (let turn = 0; turn < 3; turn++) {
        crowd.split(1)
        reached(
          crowd,
          'it takes most for dead',
          () =>
            everybody(crowd)
              .slice(1)
              .every(of => crowd.belief(0, of) === 'dead'),
          90_000,
        )
        crowd.mend()
        reached(crowd, 'everybody is back', () => crowd.agreed(), 60_000)
      }
      const blamed = everybody(crowd)
        .slice(1)
        .filter(of => crowd.machine(0).isQuarantined(crowd.peer(of)))
      check(blamed.length === 0, `the one that was cut off blames ${blamed.join()}`)
    },
    catches: {
      'blames others for its own partition': class extends Membership {
        protected override countsAsTurn(): boolean {
          return true
        }
      },
    },
  },
]
