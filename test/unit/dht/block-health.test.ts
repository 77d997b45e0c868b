import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import type { BlockId } from '../../../src/base/index.ts'
import { HedgePolicy } from '../../../src/dht/hedge-policy.ts'
import { ReplicaMender } from '../../../src/dht/replica-mender.ts'
import { Scrubber } from '../../../src/dht/scrubber.ts'
import { SlotAudit } from '../../../src/dht/slot-audit.ts'
import type { DamagedReplica } from '../../../src/dht/replica-mender.ts'
import {
  HEALTH_SCENARIOS,
  REAL_PARTS,
  type HealthParts,
  type Scenario,
} from '../../support/health-scenarios.ts'

/** Bugs planted one at a time, each with the scenario that must find it. */
const MUTANTS: Record<string, { parts: Partial<HealthParts>; foundBy: keyof typeof HEALTH_SCENARIOS }> = {
  'reads without looking at the checksums': {
    parts: {
      readLocal: async (peer, block, start) =>
        (await readFile(peer.store.pathOf(block.blockId))).subarray(start),
    },
    foundBy: 'wrong bytes are never returned',
  },
  'the scrub passes over what is due': {
    parts: {
      Scrub: class extends Scrubber {
        override async pass(): Promise<number> {
          return Promise.resolve(0)
        }
      },
    },
    foundBy: 'the scrub finds a flipped byte and mends it',
  },
  'the scrub looks, but mends nothing': {
    parts: {
      Mender: class extends ReplicaMender {
        override async check(): ReturnType<ReplicaMender['check']> {
          return Promise.resolve({ found: 'good', now: 'good' })
        }
      },
    },
    foundBy: 'the scrub finds a flipped byte and mends it',
  },
  'the digests differ, and nobody minds': {
    parts: {
      Audit: class extends SlotAudit {
        protected override differs(): boolean {
          return false
        }
      },
    },
    foundBy: 'what is missing on a disk is noticed and made elsewhere',
  },
  'what is missing is seen, but not reported': {
    parts: {
      Mender: class extends ReplicaMender {
        override async reportMissing(): Promise<void> {
          return Promise.resolve()
        }
      },
    },
    foundBy: 'what is missing on a disk is noticed and made elsewhere',
  },
  'the collector forgets open writes': {
    parts: { isSurplus: (peer, blockId) => peer.ports.namespace().blockOf(blockId) === undefined },
    foundBy: 'the garbage collector leaves open writes and files alone, whatever the clocks do',
  },
  'a bad copy is put aside, whether there is another or not': {
    parts: {
      Mender: class extends ReplicaMender {
        readonly #store: HealthStore
        constructor(...args: ConstructorParameters<typeof ReplicaMender>) {
          super(...args)
          this.#store = args[0].store
        }
        protected override async putAside(
          blockId: BlockId,
          _found: DamagedReplica['state'],
        ): Promise<boolean> {
          return this.#store.quarantine(blockId)
        }
      },
    },
    foundBy: 'the only copy of a block is not put out of reach',
  },
  'hedges without a bound': {
    parts: {
      Hedges: class extends HedgePolicy {
        override take(): boolean {
          this.counts.hedged++
          return true
        }
      },
    },
    foundBy: 'no more than one read in twenty asks a second holder',
  },
}
type HealthStore = ConstructorParameters<typeof ReplicaMender>[0]['store']

const scenarios: [string, Scenario][] = Object.entries(HEALTH_SCENARIOS)

describe('keepers of blocks', () => {
  it.each(scenarios)('%s', async (_name, scenario) => {
    expect(await scenario(REAL_PARTS)).toEqual([])
  })
})

describe('a planted bug is found', () => {
  it.each(Object.entries(MUTANTS))('%s', async (_name, { parts, foundBy }) => {
    expect(await HEALTH_SCENARIOS[foundBy]({ ...REAL_PARTS, ...parts })).not.toEqual([])
  })
})
