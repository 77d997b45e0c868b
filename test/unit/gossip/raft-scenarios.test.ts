import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { RaftMachine } from '../../../src/gossip/raft.machine.ts'
import type { RaftComponents } from '../../../src/gossip/raft.machine.ts'
import { RaftScript } from './raft-script.ts'

/**
 * Each scenario is a transcript: prose, then commands (`> …`) with what they cause, indented. `vitest run -u` writes the
 * transcripts anew; read the difference as you would read code.
 */
const DIRECTORY = path.join(import.meta.dirname, 'raft-scenarios')

function replay(transcript: string, make?: (components: RaftComponents) => RaftMachine): string {
  const script = new RaftScript(make)
  const out: string[] = []
  for (const line of transcript.split('\n')) {
    if (line.startsWith('  ')) continue
    out.push(line)
    if (line.startsWith('> ')) out.push(...script.run(line.slice(2)))
  }
  return out.join('\n')
}

describe('election and log, by transcript', () => {
  for (const name of readdirSync(DIRECTORY).filter(file => file.endsWith('.txt'))) {
    test(name.slice(0, -4).replaceAll('-', ' '), async () => {
      const file = path.join(DIRECTORY, name)
      await expect(replay(readFileSync(file, 'utf8'))).toMatchFileSnapshot(file)
    })
  }
})

/** Machines that break one rule each. */
const MUTANTS: Record<string, { scenario: string; mutant: typeof RaftMachine }> = {
  'commits entries of earlier terms by counting': {
    scenario: 'figure-8-an-old-entry-is-not-committed-by-counting',
    mutant: class extends RaftMachine {
      protected override mayCommit(): boolean {
        return true
      }
    },
  },
  'changes voters before its no-op': {
    scenario: 'no-voters-change-before-the-no-op',
    mutant: class extends RaftMachine {
      protected override mayChangeConfig(): boolean {
        return true
      }
    },
  },
  'votes twice in a term': {
    scenario: 'a-restart-keeps-the-vote',
    mutant: class extends RaftMachine {
      protected override mayVoteFor(): boolean {
        return true
      }
    },
  },
  'answers reads alone': {
    scenario: 'a-read-waits-for-a-majority-that-still-follows',
    mutant: class extends RaftMachine {
      protected override mayAnswerRead(): boolean {
        return true
      }
    },
  },
  'counts itself before it is durable': {
    scenario: 'nothing-is-said-before-it-is-durable',
    mutant: class extends RaftMachine {
      protected override ownMatch(): number {
        return this.log.lastIndex
      }
    },
  },
  'lets anybody depose a living leader': {
    scenario: 'whoever-heard-a-leader-refuses-votes',
    mutant: class extends RaftMachine {
      protected override mayDisturbLeader(): boolean {
        return true
      }
    },
  },
  'campaigns as a joiner': {
    scenario: 'a-joiner-learns-and-never-campaigns',
    mutant: class extends RaftMachine {
      protected override mayCampaign(): boolean {
        return true
      }
    },
  },
}

describe('a machine that breaks a rule does not pass its scenario', () => {
  for (const [claim, { scenario, mutant }] of Object.entries(MUTANTS)) {
    test(claim, () => {
      const transcript = readFileSync(path.join(DIRECTORY, `${scenario}.txt`), 'utf8')
      let replayed
      try {
        replayed = replay(transcript, components => new mutant(components))
      } catch (error) {
        replayed = String(error)
      }
      expect(replayed).not.toBe(transcript)
    })
  }
})
