import { stripVTControlCharacters as plain } from 'node:util'
import { expect, test } from 'vitest'
import { describeJob } from '../../../src/cli/job/job-report.ts'
import { timeline } from '../../../src/cli/job/job-timeline.ts'
import { skewLine } from '../../../src/cli/job/skew-line.ts'
import { SkewNotes } from '../../../src/cli/job/skew-notes.ts'
import type { JobEvent } from '../../../src/rdd/job-event.ts'
import { viewJob } from '../../../src/rdd/job-view.ts'

type Told = JobEvent extends infer Event
  ? Event extends JobEvent
    ? Omit<Event, 'v' | 'jobId' | 'term' | 'seq'>
    : never
  : never

const NAMES: Record<string, string> = { A: 'p1', B: 'p2', C: 'p3' }
const nameOf = (peer: string): string => NAMES[peer] ?? peer

const NO_FIGURES = {
  durationMs: 0,
  cpuMs: 0,
  inBytes: 0,
  inRecords: 0,
  outBytes: 0,
  outRecords: 0,
  shuffleReadBytes: 0,
  shuffleWriteBytes: 0,
  spilledBytes: 0,
  spilledRecords: 0,
  peakBytes: 0,
  cacheHits: 0,
  largestGroup: 0,
}

function numbered(events: readonly Told[], term = 1): JobEvent[] {
  return events.map((event, seq) => ({ v: 1, jobId: 'abc/7', term, seq, ...event }))
}

function begins(stage: number, partition: number, peer: string, timeMs: number, attempt = 0): Told {
  return { type: 'task-started', timeMs, stage, partition, attempt, peer, speculative: false }
}

function ends(stage: number, partition: number, peer: string, timeMs: number, figures: object = {}): Told {
  const at = { stage, partition, attempt: 0, peer }
  return {
    type: 'task-ended',
    timeMs,
    ...at,
    outcome: 'done',
    leaderMs: 0,
    figures: { ...NO_FIGURES, ...figures },
  }
}

const EVENTS = numbered([
  {
    type: 'job-started',
    timeMs: 0,
    name: 'words',
    leader: 'A',
    requester: 'client',
    action: 'collect',
    resumed: false,
    stages: [
      { id: 0, label: 'textFile → map', tasks: 2, parents: [], sink: 'shuffle', kept: 0 },
      { id: 1, label: 'groupByKey → collect', tasks: 1, parents: [0], sink: 'result', kept: 0 },
    ],
  },
  { type: 'stage-started', timeMs: 0, stage: 0, tasks: 2, again: false },
  begins(0, 0, 'A', 0),
  begins(0, 1, 'B', 0),
  ends(0, 0, 'A', 500, {
    durationMs: 480,
    inBytes: 2_048,
    inRecords: 1_000,
    shuffleWriteBytes: 100,
    outRecords: 7,
  }),
  { type: 'executor-lost', timeMs: 600, peer: 'B', attempts: 1 },
  {
    type: 'task-ended',
    timeMs: 600,
    stage: 0,
    partition: 1,
    attempt: 0,
    peer: 'B',
    outcome: 'lost',
    leaderMs: 600,
  },
  begins(0, 1, 'C', 600, 1),
  {
    type: 'task-ended',
    timeMs: 800,
    stage: 0,
    partition: 1,
    attempt: 1,
    peer: 'C',
    outcome: 'failed',
    leaderMs: 200,
    code: 'TASK_FAILED',
    message: 'no place\n  at line 3',
  },
  { ...begins(0, 1, 'A', 800, 2) },
  {
    ...ends(0, 1, 'A', 1_000, {
      durationMs: 190,
      inBytes: 1_024,
      inRecords: 41_000,
      spilledBytes: 5_000_000,
    }),
    attempt: 2,
  } as Told,
  {
    type: 'stage-ended',
    timeMs: 1_000,
    stage: 0,
    outcome: 'done',
    durationMs: 1_000,
    finished: 2,
    skew: [
      {
        partition: 1,
        of: 'records',
        value: 41_000,
        median: 1_000,
        times: 41,
        largestGroup: 40_000,
        largestKey: 'de',
      },
    ],
  },
])

const OPTIONS = { nameOf, nowMs: 1_500, width: 60, timeline: true, silent: ['B'] }

test('a job is described with its stages, peers, slowest tasks, failures, skew and timeline', () => {
  const text = plain(describeJob(viewJob('abc/7', EVENTS), OPTIONS))
  const lines = text.split('\n').map(line => line.replace(/ {2,}/g, ' | ').trim())
  expect(lines[0]).toBe('job abc/7 | running for 1.5 s')
  expect(lines).toContain('| led by p1 (term 1)')
  expect(lines).toContain(
    'STAGE | STATE | DONE | AGAIN | FAILED | READ | ROWS IN | ROWS OUT | SHUFFLED | SPILLED | TASK MEDIAN / MAX | TOOK | RUNS',
  )
  expect(lines).toContain(
    '| 0 | done | 2/2 | 2 | 2 | 3.0 KiB | 42,000 | 7 | 100 B | 4.8 MiB | 480 ms / 480 ms | 1.0 s | textFile → map',
  )
  expect(lines).toContain('| 1 | waiting | 0/1 | groupByKey → collect')
  expect(lines).toContain('p2 | 0 | 1 | 0 ms | gone')
  expect(lines).toContain('| 0.1 attempt 1 at p3: TASK_FAILED: no place')
  expect(lines).toContain(
    '| stage 0: partition 1 has 41 times the median records (41,000; its largest group has 40,000, key de)',
  )
  expect(lines).toContain('| 600 ms | p2 is gone, with 1 attempt of this job')
  expect(lines).toContain('| p2 did not answer, and may have led this job for a while')
  expect(lines.some(line => line.startsWith('0.0 | p1 | 480 ms'))).toBe(true)
})

test('what is not known is said: events that are missing, and those that were not kept', () => {
  const some = [...EVENTS.slice(0, 2), ...EVENTS.slice(5)]
  const dropped = numbered([{ type: 'events-dropped', timeMs: 9, events: 1_200 }], 2)
  const text = plain(describeJob(viewJob('abc/7', [...some, ...dropped]), { ...OPTIONS, silent: [] }))
  expect(text).toContain('of term 1, events 2 to 4 are missing')
  expect(text).toContain('1,200 events of single tasks were not kept')
  expect(plain(describeJob(viewJob('abc/7', EVENTS), { ...OPTIONS, silent: [] }))).not.toContain('not known')
})

test('the timeline shows who ran how many tasks when, and where one ended badly', () => {
  const drawn = timeline(viewJob('abc/7', EVENTS), nameOf, 29, 1_000)
  expect(drawn.split('\n')).toEqual([
    'stage 0  ====================',
    'p1       11111111111·····1111',
    'p2       111111111111x·······',
    'p3       ············1111x···',
    '         0              1.0 s',
  ])
  const crowd = numbered([
    begins(0, 0, 'A', 0),
    begins(0, 1, 'A', 0),
    begins(0, 2, 'A', 500),
    ...Array.from({ length: 12 }, (_, index) => begins(1, index, 'B', 900)),
    ends(0, 0, 'A', 1_000),
  ])
  const [, , p1, p2] = timeline(viewJob('abc/7', crowd), nameOf, 29, 1_000).split('\n')
  expect(p1).toBe('p1       22222222223333333333')
  expect(p2).toBe('p2       ··················++')
})

test('skew is one line', () => {
  const skew = { partition: 7, value: 30_000, median: 100, times: 300, largestGroup: 0 }
  expect(skewLine(2, { ...skew, of: 'time' })).toBe(
    'stage 2: partition 7 took 300 times the median time (30.0 s)',
  )
  expect(skewLine(2, { ...skew, of: 'bytes', value: 3 * 1024 ** 2 })).toContain('(3.0 MiB)')
})

test('a skewed job gets one line when it is over, and a loop of them does not fill the screen', () => {
  const lines: string[] = []
  let nowMs = 0
  const notes = new SkewNotes(
    line => lines.push(line),
    () => nowMs,
  )
  const skew = { partition: 7, of: 'records', value: 41_000, median: 1_000, largestGroup: 0 } as const
  const run = (jobId: string, times: readonly number[], status: 'done' | 'failed' = 'done'): void => {
    const stamp = { v: 1, jobId, term: 1, seq: 0, timeMs: 0 } as const
    notes.onEvent({ ...stamp, type: 'submitted', name: 'words' })
    const found = times.map(each => ({ ...skew, times: each }))
    const ended = { type: 'stage-ended', stage: 2, outcome: 'done', durationMs: 1, finished: 8 } as const
    notes.onEvent({ ...stamp, ...ended, ...(found.length === 0 ? {} : { skew: found }) })
    expect(lines.some(line => line.includes(jobId))).toBe(false)
    notes.onEvent({ ...stamp, type: 'settled', name: 'words' })
    notes.onEvent({ ...stamp, type: 'job-ended', status, durationMs: 1, started: 8, retried: 0 })
  }
  run('a/1', [])
  run('a/2', [9, 41], 'failed')
  expect(lines).toEqual([])
  run('a/3', [9, 41])
  expect(lines).toEqual([
    'words: stage 2: partition 7 has 41 times the median records (41,000); 1 other partition too. More: shoal job a/3',
  ])
  for (let i = 0; i < 20; i++) run(`b/${i}`, [9])
  expect(lines).toHaveLength(1)
  nowMs = 60_000
  run('c/1', [9])
  expect(lines[1]).toContain('20 jobs before it were skewed as well. More: shoal job c/1')
})
