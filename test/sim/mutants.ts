import type { PeerId } from '../../src/base/index.ts'
import { Membership } from '../../src/gossip/membership.machine.ts'
import { RaftMachine } from '../../src/gossip/raft.machine.ts'
import type { MemberProgramInit } from './member-program.ts'
import type { Mutant } from './raft-program.ts'

/**
 * Bugs planted one at a time, each the breach of one rule. A checker that misses them proves nothing by its silence.
 * All are made from outside: a subclass of the real machine, or a driver that breaks its contract.
 */
export const MUTANTS = {
  'votes twice in a term': {
    machine: class extends RaftMachine {
      protected override mayVoteFor(_candidate: PeerId, lastIndex: number, lastTerm: number): boolean {
        return this.log.isUpToDate(lastIndex, lastTerm)
      }
    },
  },
  'votes for a log that lacks entries': {
    machine: class extends RaftMachine {
      protected override mayVoteFor(candidate: PeerId): boolean {
        return this.votedFor === undefined || this.votedFor === candidate
      }
    },
  },
  'forgets its vote in a crash': {
    persist: effect => {
      const { hardState, ...rest } = effect
      return hardState === undefined ? effect : { ...rest, hardState: { term: hardState.term } }
    },
  },
  'acknowledges before the disk has it': { sendBeforeSync: true },
  'counts its own entries before its disk has them': {
    machine: class extends RaftMachine {
      protected override ownMatch(): number {
        return this.log.lastIndex
      }
    },
  },
  'commits entries of earlier terms by counting': {
    machine: class extends RaftMachine {
      protected override mayCommit(): boolean {
        return true
      }
    },
  },
  'changes voters before its own first entry is committed': {
    machine: class extends RaftMachine {
      protected override mayChangeConfig(): boolean {
        return !this.configPending
      }
    },
  },
  'changes voters while a change is pending': {
    machine: class extends RaftMachine {
      protected override mayChangeConfig(): boolean {
        return this.hasCommittedInTerm()
      }
    },
  },
  'votes after losing its log': {
    machine: class extends RaftMachine {
      protected override mayPromise(): boolean {
        return true
      }
    },
  },
  'counts the answers of a peer that lost its log': {
    machine: class extends RaftMachine {
      protected override mayCount(): boolean {
        return true
      }
    },
  },
  'answers reads without asking a majority': {
    machine: class extends RaftMachine {
      protected override mayAnswerRead(): boolean {
        return true
      }
    },
  },
  'answers reads before its own first entry is committed': {
    machine: class extends RaftMachine {
      protected override hasCommittedInTerm(): boolean {
        return true
      }
    },
  },
} satisfies Record<string, Mutant>

export type MutantName = keyof typeof MUTANTS

/** The same for membership. */
export const MEMBER_MUTANTS = {
  'believes old news': class extends Membership {
    protected override isNews(): boolean {
      return true
    }
  },
  'never refutes': class extends Membership {
    protected override mustRefute(): boolean {
      return false
    }
  },
} satisfies Record<string, NonNullable<MemberProgramInit['machine']>>
