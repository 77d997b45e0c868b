import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { JOB_EVENTS } from '../../../src/rdd/config.ts'
import { jobEventSchema } from '../../../src/rdd/job-event.ts'

/** docs/job-events.md lists what there is: neither less nor more. */

const DOCUMENT = readFileSync(new URL('../../../docs/job-events.md', import.meta.url), 'utf8')

const OF_ALL = ['v', 'type', 'jobId', 'term', 'seq', 'timeMs']
const OF_ATTEMPTS = ['stage', 'partition', 'attempt', 'attemptTerm', 'peer']

function rowsBelow(heading: string): string[][] {
  const [, after = ''] = DOCUMENT.split(`## ${heading}\n`)
  const [section = ''] = after.split(/^## /m)
  return [...section.matchAll(/^\| (`.+) \|$/gm)].map(([, row]) => row!.split(' | '))
}

function namesIn(text: string): string[] {
  return [...text.matchAll(/`([\w-]+)`/g)].map(([, name]) => name!)
}

test('every type of event is described, with each of its fields, and no other', () => {
  const described = new Map(rowsBelow('Types').map(([type, , fields]) => [namesIn(type!)[0]!, fields!]))
  const types = jobEventSchema.options.map(({ shape }) => shape.type.value)
  expect([...described.keys()]).toEqual(types)
  for (const { shape } of jobEventSchema.options) {
    const text = described.get(shape.type.value)!
    const isOfAttempt = 'attempt' in shape
    expect(text.startsWith('the attempt'), shape.type.value).toBe(isOfAttempt)
    const own = Object.keys(shape).filter(
      name => !OF_ALL.includes(name) && !(isOfAttempt && OF_ATTEMPTS.includes(name)),
    )
    for (const name of own) expect(namesIn(text), shape.type.value).toContain(name)
  }
})

test('the fields that every event has are described', () => {
  expect(rowsBelow('Every event has').map(([name]) => namesIn(name!)[0])).toEqual(
    OF_ALL.toSpliced(1, 1).toSpliced(1, 0, 'type'),
  )
})

test('every figure and outcome is described', () => {
  const ended = jobEventSchema.options.find(({ shape }) => shape.type.value === 'task-ended')!
  if (!('figures' in ended.shape && 'leaderMs' in ended.shape)) throw new Error('no figures')
  const figures = Object.keys(ended.shape.figures.unwrap().shape)
  expect(rowsBelow('Figures').flatMap(([name]) => namesIn(name!))).toEqual(figures)
  const [, outcomes = ''] = DOCUMENT.split('`outcome` of an attempt:')
  expect(namesIn(outcomes.split('\n')[0]!).filter(name => !name.includes('.'))).toEqual(
    ended.shape.outcome.options,
  )
})

test('the bounds are those of the source', () => {
  expect(DOCUMENT).toContain(`at most ${JOB_EVENTS.taskEventsMax.toLocaleString('en-US')} starts`)
  expect(JOB_EVENTS.skewTimes).toBe(5)
  expect(DOCUMENT).toContain('five times the median')
  expect(DOCUMENT).toContain(`from ${JOB_EVENTS.skewRecordsMin.toLocaleString('en-US')} on`)
})
