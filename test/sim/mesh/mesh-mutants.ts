import { MUTANTS } from '../mutants.ts'
import type { MeshMutant } from './mesh-peer.ts'

export interface PlantedBug {
  mutant: MeshMutant
  /** The trouble in which it does harm soonest. */
  profile: string
  /** First seed, where an earlier one fails for another reason. @default 1 */
  from?: number
  /** What is seen of it. */
  harm: RegExp
}

/**
 * Bugs of storage planted one at a time, each the breach of one rule of the design. Seeds of the named profile must
 * find them; a checker that misses them proves nothing by its silence.
 */
export const PLANTED_BUGS: Readonly<Record<string, PlantedBug>> = {
  'says that a block is durable before it is synced': {
    mutant: { store: { acksBeforeSync: true } },
    profile: 'crashes',
    harm: /no disk has a good copy|not healed|nobody has put/,
  },
  'names holders that never acknowledged': {
    mutant: { writer: { claimsUnacknowledged: true } },
    profile: 'everything',
    harm: /no disk has a good copy|not healed/,
  },
  'commits without any acknowledgement': {
    mutant: { writer: { needsNoAck: true } },
    profile: 'everything',
    harm: /no disk has a good copy|not healed/,
  },
  'counts a copy when it is asked for, and drops the old one': {
    mutant: { nameNode: { countsCopiesUnmade: true } },
    profile: 'churn',
    harm: /last good copy|no disk has a good copy|not healed/,
  },
  'lets surplus copies go without a look at those that stay': {
    mutant: { nameNode: { dropsUnchecked: true } },
    profile: 'rot and fewer copies',
    harm: /last good copy|no disk has a good copy/,
  },
  'promotes and retires a move at once, before the new owners have a copy': {
    // Else the new owners say themselves that they have nothing, soon enough to be given it; nothing else breaks here.
    mutant: { nameNode: { retiresAtOnce: true }, blocks: { noAntiEntropy: true } },
    profile: 'churn',
    harm: /last good copy|no disk has a good copy|named as holder .* no good copy/,
  },
  'deletes on order, whatever it has applied itself': {
    mutant: { blocks: { deletesOnOrder: true } },
    profile: 'churn',
    harm: /deletes its copy|last good copy|no disk has a good copy|not healed/,
  },
  'collects the blocks of open writes': {
    mutant: { blocks: { collectsOpenWrites: true } },
    profile: 'crashes',
    harm: /which an open write has under its lease|no disk has a good copy/,
  },
  'collects garbage by an old view and without grace': {
    mutant: { blocks: { collectsWithoutBarrier: true } },
    profile: 'churn',
    harm: /which an open write has under its lease|no disk has a good copy|last good copy/,
  },
  'reads without looking at checksums': {
    mutant: { store: { readsUnverified: true }, blocks: { readsUnchecked: true } },
    profile: 'rot',
    harm: /which nobody has put/,
  },
  'copies without looking at checksums': {
    mutant: { store: { readsUnverified: true }, blocks: { copiesUnverified: true } },
    profile: 'rot',
    harm: /no good copy|no disk has a good copy/,
  },
  'never looks at blocks that nobody reads': {
    mutant: { blocks: { noScrub: true } },
    profile: 'rot',
    harm: /named as holder .* no good copy/,
  },
  'does not tell that its disk was lost': {
    mutant: { blocks: { noAntiEntropy: true } },
    profile: 'rot',
    harm: /named as holder .* no good copy/,
  },
  'goes on after a failed flush': {
    mutant: { raft: { ignoresFailedFlush: true } },
    profile: 'disks',
    harm: /before it is synced|no majority of disks|lacks/,
  },
  'takes each try of a mutation for a new one': {
    mutant: { log: { newSessionEachTry: true } },
    // Seed 18 fails without it: see "Known" in docs/testing.md.
    from: 19,
    profile: 'everything',
    harm: /not linearizable/,
  },
  'forgets in snapshots what clients were answered': {
    mutant: { log: { forgetsSessionsInSnapshot: true } },
    profile: 'crashes',
    harm: /is not what the log makes of it|answers|not linearizable/,
  },
  'forgets the fences of slots in snapshots': {
    mutant: { log: { forgetsFencesInSnapshot: true } },
    profile: 'churn',
    harm: /is not what the log makes of it|answers/,
  },
  'applies a command twice after it was restored': {
    mutant: { log: { appliesTwiceAfterRestore: true } },
    profile: 'crashes',
    harm: /is not what the log makes of it|answers/,
  },
  'collects what only snapshots show': {
    mutant: { blocks: { collectsSnapshots: true } },
    profile: 'calm',
    harm: /last good copy|no disk has a good copy/,
  },
  'leaves before its data is elsewhere': {
    mutant: { drain: { leavesUnverified: true } },
    profile: 'comings and goings',
    harm: /leaves while it (owns|is a holder)|no disk has a good copy/,
  },
  'votes after losing its log': {
    mutant: { raft: MUTANTS['votes after losing its log'] },
    profile: 'amnesia',
    harm: /voted for|both lead|lacks|is lost|differs|no majority of disks/,
  },
  'judges leases by its own wall clock': {
    mutant: { log: { appliesWithWallClock: true } },
    profile: 'clocks',
    harm: /answers|is not what the log makes of it/,
  },
  'reads what happens to be applied here': {
    mutant: { log: { readsWithoutBarrier: true } },
    profile: 'partitions',
    harm: /not linearizable/,
  },
}
