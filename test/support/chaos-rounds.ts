import { seededRandom, type Random } from '../../src/base/index.ts'

/** Rounds of each scenario. */
export const ROUNDS = Number(process.env['SHOAL_ROUNDS'] ?? 20)
/** Decides who is killed when; the same seed makes the same choices, though never the same machine. */
export const SEED = Number(process.env['SHOAL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

/** Rounds in a row after which the peers would not agree any more: the rest would only wait in vain. */
const UNHEALED_MAX = 2

interface Scenario {
  name: string
  rounds: number
  failures: string[]
  timesMs: Map<string, number[]>
}

/** What a round may use: its chance, and a stopwatch whose readings end up in the table. */
export interface Round {
  round: number
  random: Random
  readonly took: (what: string, ms: number) => void
}

/** Repeats scenarios and keeps count: a round that fails is noted and the next one begins, so that the table is whole. */
export class ChaosRounds {
  readonly #scenarios: Scenario[] = []

  /**
   * @param play One round; what it throws is a failure.
   * @param heal Between rounds, after failures too; failing counts as a failure, and twice in a row ends the scenario.
   * @returns what failed, each with how to repeat it.
   */
  async run(
    name: string,
    rounds: number,
    play: (round: Round) => Promise<void>,
    heal: () => Promise<void>,
  ): Promise<string[]> {
    const scenario: Scenario = { name, rounds: 0, failures: [], timesMs: new Map() }
    this.#scenarios.push(scenario)
    console.log(`${name}: ${rounds} rounds, seed ${SEED} (repeat: SHOAL_SEED=${SEED} npm run test:chaos)`)
    let unhealed = 0
    for (let round = 1; round <= rounds; round++) {
      scenario.rounds = round
      try {
        const random = seededRandom(hashOf(`${SEED} ${name} ${round}`))
        const took = (what: string, ms: number): void => {
          const known = scenario.timesMs.get(what)
          if (known === undefined) scenario.timesMs.set(what, [ms])
          else known.push(ms)
        }
        await play({ round, random, took })
      } catch (error) {
        console.error(`${name}, round ${round}, seed ${SEED}:`, error)
        scenario.failures.push(`round ${round} (seed ${SEED}): ${String(error)}`)
      }
      try {
        await heal()
        unhealed = 0
      } catch (error) {
        console.error(`${name}, after round ${round}, seed ${SEED}:`, error)
        scenario.failures.push(`after round ${round} (seed ${SEED}): ${String(error)}`)
        if (++unhealed === UNHEALED_MAX) break
      }
    }
    return scenario.failures
  }

  /** Of what a scenario timed, over all its rounds. */
  percentile(name: string, what: string, share: number): number {
    const scenario = this.#scenarios.find(each => each.name === name)
    return percentile(scenario?.timesMs.get(what) ?? [], share)
  }

  /** Scenario, rounds, failures, and for each thing timed the median, the 95th percentile and the longest. */
  table(): string {
    const head = ['scenario', 'rounds', 'failures', 'time of', 'p50 ms', 'p95 ms', 'max ms']
    const rows = this.#scenarios.flatMap(({ name, rounds, failures, timesMs }) => {
      const lines = [...timesMs].map(([what, times]) => [what, ...figures(times)])
      const first = [name, String(rounds), String(failures.length), ...(lines[0] ?? ['', '', '', ''])]
      return [first, ...lines.slice(1).map(line => ['', '', '', ...line])]
    })
    const widths = head.map((title, i) => Math.max(title.length, ...rows.map(row => row[i]!.length)))
    const line = (cells: string[]): string =>
      cells
        .map((cell, i) => (i === 0 || i === 3 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
        .join('  ')
    return [head, ...rows].map(line).join('\n')
  }
}

export function figures(times: readonly number[]): string[] {
  return [0.5, 0.95, 1].map(share => percentile(times, share).toFixed(0))
}

/** Nearest rank. */
export function percentile(times: readonly number[], share: number): number {
  const sorted = [...times].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

/** FNV-1a: spreads names of rounds over seeds. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5
  for (const char of text) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193)
  return hash
}
