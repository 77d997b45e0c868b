import { loadavg } from 'node:os'

/** One line of the report. */
export interface Figure {
  name: string
  /** As measured, with its unit. */
  value: string
  /** What it was measured against, in the same run. */
  against?: string
  /** Compared with the target: a ratio, or the value itself. */
  score?: number
  target?: { atMost: number } | { atLeast: number }
}

/** Collects figures, shows each when it comes and all of them at the end. */
export class Figures {
  readonly #figures: Figure[] = []

  add(figure: Figure): void {
    this.#figures.push(figure)
    console.log(
      `  ${figure.name}: ${figure.value}${figure.against === undefined ? '' : ` against ${figure.against}`}`,
    )
  }

  print(): void {
    const header = ['figure', 'measured', 'against', 'score', 'target', '']
    const rows = this.#figures.map(({ name, value, against = '', score, target }) => [
      name,
      value,
      against,
      score === undefined ? '' : score.toFixed(2),
      target === undefined ? '' : 'atMost' in target ? `≤ ${target.atMost}` : `≥ ${target.atLeast}`,
      score === undefined || target === undefined ? '' : reached(score, target) ? 'reached' : 'MISSED',
    ])
    const widths = header.map((title, column) =>
      Math.max(title.length, ...rows.map(row => row[column]!.length)),
    )
    const line = (cells: string[]): string =>
      cells
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd()
    console.log(`\n${line(header)}\n${widths.map(width => '─'.repeat(width)).join('  ')}`)
    for (const row of rows) console.log(line(row))
    const load = loadavg().map(average => average.toFixed(1))
    console.log(`\nload averages over 1, 5 and 15 minutes, these runs included: ${load.join(', ')}`)
  }
}

function reached(score: number, target: NonNullable<Figure['target']>): boolean {
  return 'atMost' in target ? score <= target.atMost : score >= target.atLeast
}

/** @param part 0.5 is the median. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

export async function timeMs(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  await work()
  return performance.now() - startMs
}

export function ms(value: number): string {
  return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(value < 10 ? 2 : 0)} ms`
}

export function mbPerSecond(bytes: number, tookMs: number): string {
  return `${Math.round(bytes / 1000 / tookMs)} MB/s`
}

/**
 * Runs the contenders in turn, `rounds` times after one round that does not count, so that they meet the same machine.
 * Other load still favours the one with more processes, which gets more of the cores: ratios count on a quiet machine.
 * @returns each one's median time in ms.
 */
export async function interleaved<Name extends string>(
  rounds: number,
  contenders: Record<Name, (round: number) => Promise<number>>,
): Promise<Record<Name, number>> {
  const names = Object.keys(contenders) as Name[]
  const times = new Map<Name, number[]>(names.map(name => [name, []]))
  for (let round = 0; round <= rounds; round++) {
    for (const name of names) {
      const tookMs = await contenders[name](round)
      if (round > 0) times.get(name)!.push(tookMs)
    }
  }
  return Object.fromEntries(names.map(name => [name, median(times.get(name)!)])) as Record<Name, number>
}
