import type { JobEvent, Skew } from '../../node/index.ts'
import { errorColors, isWatched, note } from '../terminal.ts'
import { counted } from '../units.ts'
import { skewLine } from './skew-line.ts'

/** One line for a job, and none sooner after the last: a loop of skewed jobs must not fill the screen. */
const EVERY_MS = 10_000
/** Jobs whose events are awaited; of older ones nothing is said. */
const JOBS_MAX = 100

interface Seen {
  name: string
  found: { stage: number; skew: Skew }[]
}

/** Says, once a job is over, which of its partitions was far larger or slower than the others, for people who look. */
export class SkewNotes {
  readonly #say: (line: string) => void
  readonly #nowMs: () => number
  readonly #jobs = new Map<string, Seen>()
  #saidMs = -Infinity
  /** Skewed jobs of which nothing was said since. */
  #unsaid = 0

  constructor(say: (line: string) => void = onTerminal, nowMs: () => number = () => performance.now()) {
    this.#say = say
    this.#nowMs = nowMs
  }

  onEvent(event: JobEvent): void {
    if (event.type === 'submitted') {
      this.#jobs.set(event.jobId, { name: event.name, found: [] })
      const [oldest] = this.#jobs.keys()
      if (this.#jobs.size > JOBS_MAX && oldest !== undefined) this.#jobs.delete(oldest)
    }
    const job = this.#jobs.get(event.jobId)
    if (job === undefined) return
    if (event.type === 'stage-ended')
      for (const skew of event.skew ?? []) job.found.push({ stage: event.stage, skew })
    // Only the leader's last word comes after all of its stages.
    if (event.type !== 'job-ended') return
    this.#jobs.delete(event.jobId)
    if (event.status === 'done') this.#tell(event.jobId, job)
  }

  #tell(jobId: string, { name, found }: Seen): void {
    const [worst] = found.toSorted((a, b) => b.skew.times - a.skew.times)
    if (worst === undefined) return
    if (this.#nowMs() - this.#saidMs < EVERY_MS) {
      this.#unsaid += 1
      return
    }
    this.#saidMs = this.#nowMs()
    const others = found.length === 1 ? '' : `; ${counted(found.length - 1, 'other partition')} too`
    const before = this.#unsaid === 0 ? '' : `; ${counted(this.#unsaid, 'job')} before it were skewed as well`
    this.#unsaid = 0
    this.#say(`${name}: ${skewLine(worst.stage, worst.skew)}${others}${before}. More: shoal job ${jobId}`)
  }
}

function onTerminal(line: string): void {
  // A progress bar may stand there.
  if (isWatched()) note(`\r\x1b[2K${errorColors.yellow(line)}`)
}
