import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { silentLogger } from '../../../../src/base/index.ts'
import { EVENT_LOG } from '../../../../src/node/config.ts'
import { EventLog } from '../../../../src/node/jobs/event-log.ts'
import { parseJobEvents, type JobEvent } from '../../../../src/rdd/index.ts'

const ALL = 64 * 1024 * 1024

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'shoal-events-'))
})

afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

async function openLog(): Promise<EventLog> {
  return await EventLog.open({ directory: join(directory, 'events'), log: silentLogger })
}

function started(jobId: string, seq: number, { term = 1, peer = 'p' } = {}): JobEvent {
  const base = { v: 1, jobId, term, seq, timeMs: 1_000 + seq } as const
  return { ...base, type: 'task-started', stage: 0, partition: seq, attempt: 0, peer, speculative: false }
}

function ended(jobId: string, seq: number): JobEvent {
  const base = { v: 1, jobId, term: 1, seq, timeMs: 1_000 } as const
  return { ...base, type: 'job-ended', status: 'done', durationMs: 1, started: 1, retried: 0 }
}

async function seqsOf(
  log: EventLog,
  jobId: string,
  after?: { term: number; seq: number },
): Promise<number[]> {
  const { text } = await log.read(jobId, after, ALL)
  return parseJobEvents(text).map(({ seq }) => seq)
}

test('what was told is read back, of this job alone, also by the process after this one', async () => {
  const log = await openLog()
  log.append([started('abc/1', 0), started('abc/2', 0), started('abc/1', 1)])
  log.append([ended('abc/1', 2)])
  expect(await seqsOf(log, 'abc/1')).toEqual([0, 1, 2])
  expect(await seqsOf(log, 'abc/2')).toEqual([0])
  expect(await seqsOf(log, 'abc/3')).toEqual([])
  await log[Symbol.asyncDispose]()
  await using again = await openLog()
  expect(await seqsOf(again, 'abc/1')).toEqual([0, 1, 2])
  expect(await readdir(join(directory, 'events'))).toEqual([
    'abc-2.jsonl',
    expect.stringMatching(/^short\.\d+\.jsonl$/) as string,
  ])
})

test('only what comes after is read, from memory or from disk, in pieces when it is much', async () => {
  await using log = await openLog()
  const many = Array.from({ length: EVENT_LOG.recentMax + 500 }, (_, seq) => started('abc/1', seq))
  log.append(many)
  await log.flush()
  log.append([started('abc/1', many.length)])
  const last = many.length
  expect(await seqsOf(log, 'abc/1', { term: 1, seq: last - 3 })).toEqual([last - 2, last - 1, last])
  // Far back, beyond what is in memory.
  expect(await seqsOf(log, 'abc/1', { term: 1, seq: 9 })).toHaveLength(last - 9)
  expect(await seqsOf(log, 'abc/1', { term: 2, seq: 0 })).toEqual([])
  const seen: number[] = []
  let after: { term: number; seq: number } | undefined
  for (let more = true; more;) {
    const piece = await log.read('abc/1', after, 10_000)
    const events = parseJobEvents(piece.text)
    expect(events.length).toBeGreaterThan(0)
    seen.push(...events.map(({ seq }) => seq))
    after = { term: 1, seq: seen.at(-1)! }
    more = piece.more
  }
  expect(seen).toEqual(Array.from({ length: last + 1 }, (_, seq) => seq))
})

test('a long log is packed when its job ends, and read all the same; another term is added to it', async () => {
  await using log = await openLog()
  const many = Array.from({ length: 2_000 }, (_, seq) => started('abc/1', seq))
  log.append([...many, ended('abc/1', 2_000)])
  await log.flush()
  expect(await readdir(join(directory, 'events'))).toEqual(['abc-1.jsonl.zst'])
  expect((await seqsOf(log, 'abc/1')).length).toBe(2_001)
  log.append([started('abc/1', 0, { term: 4 })])
  const events = parseJobEvents((await log.read('abc/1', { term: 1, seq: 1_999 }, ALL)).text)
  expect(events.map(({ term, seq }) => [term, seq])).toEqual([
    [1, 2_000],
    [4, 0],
  ])
})

test('many short jobs share few files, of which the oldest go', async () => {
  await using log = await openLog()
  const peer = 'x'.repeat(20_000)
  const jobs = Math.ceil((EVENT_LOG.sharedBytes / peer.length) * EVENT_LOG.sharedFilesMax * 2)
  for (let job = 0; job < jobs; job++) {
    log.append([started(`s/${job}`, 0, { peer }), ended(`s/${job}`, 1)])
    if (job % 20 === 19) await log.flush()
  }
  await log.flush()
  const names = await readdir(join(directory, 'events'))
  expect(names.length).toBeGreaterThan(EVENT_LOG.sharedFilesMax / 2)
  expect(names.length).toBeLessThanOrEqual(EVENT_LOG.sharedFilesMax)
  expect(await seqsOf(log, 's/0')).toEqual([])
  expect(await seqsOf(log, `s/${jobs - 1}`)).toEqual([0, 1])
  expect(await seqsOf(log, `s/${jobs - 2}`, { term: 1, seq: 0 })).toEqual([1])
})

test('a line that a crash cut short is left out', async () => {
  const log = await openLog()
  log.append([started('abc/1', 0), started('abc/1', 1)])
  await log[Symbol.asyncDispose]()
  const path = join(directory, 'events', 'abc-1.jsonl')
  await appendFile(path, JSON.stringify(started('abc/1', 2)).slice(0, 60))
  await using again = await openLog()
  expect(await seqsOf(again, 'abc/1')).toEqual([0, 1])
})

test('the oldest logs go when there are too many, those of open jobs stay readable', async () => {
  const events = join(directory, 'events')
  await mkdir(events)
  for (let job = 0; job < EVENT_LOG.filesMax + 5; job++)
    await writeFile(join(events, `old-${job}.jsonl`), `${JSON.stringify(started(`old/${job}`, 0))}\n`)
  await using log = await openLog()
  log.append([started('new/1', 0)])
  // The first time round it may still become a short one.
  await log.flush()
  await log.flush()
  const names = await readdir(events)
  expect(names).toHaveLength(EVENT_LOG.filesMax)
  expect(names).toContain('new-1.jsonl')
  expect(await seqsOf(log, 'new/1')).toEqual([0])
})

test('whatever a client calls its job, the log stays in its directory', async () => {
  const log = await openLog()
  for (const jobId of ['../../evil/1', '/etc/passwd', `${'x'.repeat(300)}/1`, '..', 'a\n/1']) {
    log.append([started(jobId, 0)])
    expect(await seqsOf(log, jobId)).toEqual([0])
  }
  await log[Symbol.asyncDispose]()
  expect(await readdir(directory)).toEqual(['events'])
  expect(await readdir(join(directory, 'events'))).toHaveLength(5)
})

test('who waits is woken by what is told, and not by another job', async () => {
  await using log = await openLog()
  log.append([started('abc/1', 0)])
  const controller = new AbortController()
  const waiting = { waitMs: 60_000, signal: controller.signal }
  let isAwake = false
  const woken = log.changed('abc/1', { term: 1, seq: 0 }, waiting).then(() => (isAwake = true))
  log.append([started('abc/2', 0)])
  await log.flush()
  expect(isAwake).toBe(false)
  log.append([started('abc/1', 1)])
  await woken
  // There already, called off, too late.
  await log.changed('abc/1', { term: 1, seq: 0 }, waiting)
  const calledOff = log.changed('abc/1', { term: 1, seq: 1 }, waiting)
  controller.abort()
  await calledOff
  await log.changed('abc/1', { term: 1, seq: 1 }, { waitMs: 1, signal: new AbortController().signal })
})

test('a disk that refuses costs events, and nothing else', async () => {
  await writeFile(join(directory, 'events'), 'a file where the folder should be')
  await using log = await openLog()
  log.append([started('abc/1', 0), ended('abc/1', 1)])
  await log.flush()
  expect(await seqsOf(log, 'abc/1')).toEqual([])
  expect(await readFile(join(directory, 'events'), 'utf8')).toContain('a file')
})

test('a job that another peer leads now is written out and let go of', async () => {
  await using log = await openLog()
  log.append([started('abc/1', 0)])
  log.letGo()
  expect(await seqsOf(log, 'abc/1')).toEqual([0])
  log.append([started('abc/1', 0, { term: 7 })])
  expect(await seqsOf(log, 'abc/1')).toEqual([0, 0])
})
