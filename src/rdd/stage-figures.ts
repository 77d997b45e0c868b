import { JOB_EVENTS } from './config.ts'
import type { Skew, StageTotals, TaskFigures } from './job-event.ts'
import { noSums } from './job-view.ts'

interface Finished {
  partition: number
  records: number
  bytes: number
  time: number
  largestGroup: number
  largestKey: string | undefined
}

const MEASURES = ['records', 'bytes', 'time'] as const

/** What the finished tasks of one stage did, all together and one beside the other. */
export class StageFigures {
  /** One for each partition: the latest, where it was computed again. */
  readonly #finished = new Map<number, Finished>()
  readonly #sums = noSums()

  get finished(): number {
    return this.#finished.size
  }

  has(partition: number): boolean {
    return this.#finished.has(partition)
  }

  /** What was computed again is work done again: sums count both. */
  add(partition: number, figures: TaskFigures): void {
    const { inRecords: records, durationMs: time, largestGroup, largestKey } = figures
    const bytes = figures.inBytes + figures.shuffleReadBytes
    this.#finished.set(partition, { partition, records, bytes, time, largestGroup, largestKey })
    const sums = this.#sums
    sums.inBytes += figures.inBytes
    sums.inRecords += records
    sums.outBytes += figures.outBytes
    sums.outRecords += figures.outRecords
    sums.shuffleReadBytes += figures.shuffleReadBytes
    sums.shuffleWriteBytes += figures.shuffleWriteBytes
    sums.spilledBytes += figures.spilledBytes
    sums.spilledRecords += figures.spilledRecords
    sums.cacheHits += figures.cacheHits
    sums.cpuMs += figures.cpuMs
    sums.peakBytes = Math.max(sums.peakBytes, figures.peakBytes)
  }

  totals(): StageTotals {
    const times = Array.from(this.#finished.values(), ({ time }) => time).sort((a, b) => a - b)
    return { ...this.#sums, taskMsMedian: medianOf(times), taskMsMax: times.at(-1) ?? 0 }
  }

  /** Partitions far above the median, the worst first, each for what it has most too much of. */
  skew(): Skew[] {
    if (this.#finished.size < JOB_EVENTS.skewTasksMin) return []
    const all = [...this.#finished.values()]
    const worst = new Map<number, Skew>()
    for (const of of MEASURES) {
      const median = medianOf(all.map(task => task[of]).sort((a, b) => a - b))
      for (const { partition, largestGroup, largestKey, [of]: value } of all) {
        const times = value / Math.max(1, median)
        if (times < JOB_EVENTS.skewTimes || value < LEAST[of]) continue
        const known = worst.get(partition)
        // Time follows from the others: it is the reason only where nothing else is.
        if (known !== undefined && (of === 'time' || known.times >= times)) continue
        const key = largestKey === undefined ? {} : { largestKey }
        worst.set(partition, { partition, of, value, median, times: round(times), largestGroup, ...key })
      }
    }
    const found = [...worst.values()].sort((a, b) => b.times - a.times || a.partition - b.partition)
    return found.slice(0, JOB_EVENTS.skewReportedMax)
  }
}

const LEAST = {
  records: JOB_EVENTS.skewRecordsMin,
  bytes: JOB_EVENTS.skewBytesMin,
  time: JOB_EVENTS.skewTimeMinMs,
}

function medianOf(sorted: readonly number[]): number {
  return sorted[sorted.length >> 1] ?? 0
}

function round(times: number): number {
  return times < 10 ? Math.round(times * 10) / 10 : Math.round(times)
}
