import { describe, expect, it } from 'vitest'
import type { FileEntry } from '../../../src/dht/index.ts'
import { parseFind } from '../../../src/cli/files/find.ts'
import { formatted } from '../../../src/cli/files/listing.ts'

const file = (name: string, sizeBytes: number): FileEntry => ({
  path: `/data/${name}`,
  name,
  type: 'file',
  sizeBytes,
  modifiedMs: Date.UTC(2026, 10, 22, 19, 4, 5),
  replication: 2,
  partitionBytes: 1024,
})
const folder: FileEntry = { path: '/data', name: 'data', type: 'directory', sizeBytes: 0, modifiedMs: 0 }

function fitting(words: string[], entries: FileEntry[]): string[] {
  const { tests } = parseFind(words)
  return entries.filter(entry => tests.every(test => test(entry))).map(({ name }) => name)
}

describe('find', () => {
  const entries = [file('a.csv', 10), file('B.CSV', 2048), file('c.txt', 2049), folder]

  it.each([
    [[], ['a.csv', 'B.CSV', 'c.txt', 'data']],
    [['-name', '*.csv'], ['a.csv']],
    [['--name', '*.csv'], ['a.csv']],
    [
      ['-iname', '*.csv'],
      ['a.csv', 'B.CSV'],
    ],
    [['-type', 'd'], ['data']],
    [['-type', 'f', '-size', '+2k'], ['c.txt']],
    [['-size', '-2k'], ['a.csv']],
    [['-size', '2k'], ['B.CSV']],
    [['-size', '3k'], ['c.txt']],
    [['-size', '10'], ['a.csv']],
    [['-name', '*', '-type', 'd', '-print'], ['data']],
  ])('%j', (words, expected) => expect(fitting(words, entries)).toEqual(expected))

  it('looks everywhere unless told where', () => {
    expect(parseFind(['-type', 'f']).paths).toEqual(['/'])
    expect(parseFind(['/a', '/b', '-newer', '/c'])).toMatchObject({ paths: ['/a', '/b'], newerThan: ['/c'] })
  })

  it.each([
    [['-name'], /^-name: a value must follow/],
    [['-type', 'x'], /^-type: it is f \(file\) or d/],
    [['-size', 'big'], /^-size: it is a number such as/],
    [['-mtime', '3'], /^-mtime: find knows -name/],
  ])('%j is refused with what would do', (words, message) => {
    expect(() => parseFind(words)).toThrow(message)
  })
})

it('stat --format has the letters of HDFS; others stay as they are', () => {
  expect(formatted(file('a.csv', 10), '%b %n %N %F %o %r %y %Y %% %q')).toBe(
    '10 a.csv /data/a.csv regular file 1024 2 2026-11-22 19:04:05 1795374245000 % %q',
  )
})
