import type { JobView, Span } from '../../node/index.ts'
import { humanMs } from '../units.ts'

/** Narrower says nothing, wider nobody can look at. */
const WIDTH_MIN = 20
const WIDTH_MAX = 240

/**
 * Who did what when: a row for each peer, a column for each stretch of time. A digit says how many tasks ran there at once (the
 * most; + above nine), x that one ended badly, a dot that none ran. Above them the stages, each as long as tasks of it ran.
 * @param width Of the terminal, in characters.
 */
export function timeline(
  view: JobView,
  nameOf: (peer: string) => string,
  width: number,
  nowMs: number,
): string {
  const spans = [...view.spans, ...view.running]
  if (spans.length === 0) return 'no task has run yet'
  const ends = spans.map(span => span.endedMs ?? nowMs)
  const startMs = least(spans.map(({ startedMs }) => startedMs))
  const endMs = Math.max(startMs + 1, most(ends))
  const peers = [...new Set(spans.map(({ peer }) => peer))].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
  const stages = [...new Set(spans.map(({ stage }) => stage))].sort((a, b) => a - b)
  const titles = [...stages.map(stage => `stage ${stage}`), ...peers.map(nameOf)]
  const margin = most(titles.map(title => title.length)) + 2
  const columns = Math.min(WIDTH_MAX, Math.max(WIDTH_MIN, width - margin))
  const column = (atMs: number): number =>
    Math.min(columns - 1, Math.floor(((atMs - startMs) / (endMs - startMs)) * columns))
  const row = (title: string, mine: readonly Span[], cell: (span: Span[]) => string): string => {
    const cells: Span[][] = Array.from({ length: columns }, () => [])
    for (const span of mine) {
      const last = column(span.endedMs ?? nowMs)
      for (let at = column(span.startedMs); at <= last; at++) cells[at]!.push(span)
    }
    return title.padEnd(margin) + cells.map(cell).join('')
  }
  const columnMs = (endMs - startMs) / columns
  const peerCell = (at: Span[], index: number): string => {
    if (at.length === 0) return '·'
    const isBad = at.some(span => isFailure(span) && column(span.endedMs ?? nowMs) === index)
    if (isBad) return 'x'
    const count = atOnce(at, startMs + index * columnMs, startMs + (index + 1) * columnMs, nowMs)
    return count > 9 ? '+' : String(count)
  }
  const rows = [
    ...stages.map(stage =>
      row(
        `stage ${stage}`,
        spans.filter(span => span.stage === stage),
        at => (at.length === 0 ? ' ' : '='),
      ),
    ),
    ...peers.map(peer => {
      const mine = spans.filter(span => span.peer === peer)
      let index = 0
      return row(nameOf(peer), mine, at => peerCell(at, index++))
    }),
  ]
  const scale = `0${humanMs(endMs - startMs).padStart(columns - 1)}`
  return [...rows, ' '.repeat(margin) + scale].join('\n')
}

function isFailure({ outcome }: Span): boolean {
  return outcome !== undefined && outcome !== 'done' && outcome !== 'cancelled'
}

/** The most of these that ran at the same moment between the two. */
function atOnce(spans: readonly Span[], fromMs: number, toMs: number, nowMs: number): number {
  const changes: [atMs: number, by: number][] = []
  for (const { startedMs, endedMs } of spans) {
    changes.push([Math.max(fromMs, startedMs), 1], [Math.min(toMs, endedMs ?? nowMs), -1])
  }
  // One that ends as another begins makes room for it.
  changes.sort(([a, byA], [b, byB]) => a - b || byA - byB)
  let count = 0
  let highest = 1
  for (const [, by] of changes) highest = Math.max(highest, (count += by))
  return highest
}

// Spread over arguments, many spans would be too many.
function least(values: readonly number[]): number {
  return values.reduce((a, b) => Math.min(a, b), Infinity)
}

function most(values: readonly number[]): number {
  return values.reduce((a, b) => Math.max(a, b), -Infinity)
}
