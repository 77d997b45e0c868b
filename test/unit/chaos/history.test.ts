import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { HistoryRecorder, readHistory } from '../../../src/chaos/index.ts'
import { tempFolder } from '../../support/temp-folder.ts'

test('what was recorded reads back the same, and is one JSON object a line', async () => {
  await using folder = await tempFolder('history')
  const file = join(folder.path, 'h.jsonl')
  let ns = 0
  const recorder = new HistoryRecorder({ file, nowNs: () => (ns += 10) })
  const slow = recorder.begin('a', 'create', '/x', 'one')
  recorder.begin('b', 'read', '/x').end({ error: 'NOT_FOUND' })
  slow.end({ ok: null })
  recorder.begin('a', 'delete', '/x').unknown()
  recorder.begin('b', 'overwrite', '/x', 'two')
  recorder[Symbol.dispose]()
  expect(await readHistory(file)).toEqual(recorder.operations())
  expect((await readFile(file, 'utf8')).split('\n')).toEqual([
    '{"process":"b","op":"read","key":"/x","input":null,"output":{"error":"NOT_FOUND"},"call":20,"return":30}',
    '{"process":"a","op":"create","key":"/x","input":"one","output":{"ok":null},"call":10,"return":40}',
    '{"process":"a","op":"delete","key":"/x","input":null,"output":null,"call":50,"return":null}',
    '{"process":"b","op":"overwrite","key":"/x","input":"two","output":null,"call":60,"return":null}',
    '',
  ])
})

test('an operation ends once: what comes later is not believed', () => {
  using recorder = new HistoryRecorder()
  const operation = recorder.begin('a', 'read', '/x')
  operation.unknown()
  operation.end({ ok: 'late' })
  expect(recorder.operations()).toMatchObject([{ output: null, return: null }])
})

test('the default clock is of nanoseconds and never goes back', () => {
  using recorder = new HistoryRecorder()
  for (let i = 0; i < 100; i++) recorder.begin('a', 'read', '/x').end({ ok: null })
  const times = recorder.operations().flatMap(({ call, return: returned }) => [call, returned!])
  expect(times).toEqual(times.toSorted((a, b) => a - b))
  expect(times.every(Number.isSafeInteger)).toBe(true)
})

test.each([
  ['no JSON', 'hello'],
  [
    'a return before the call',
    '{"process":"a","op":"read","key":"k","input":null,"output":{"ok":1},"call":9,"return":8}',
  ],
  [
    'an answer without a time',
    '{"process":"a","op":"read","key":"k","input":null,"output":{"ok":1},"call":9,"return":null}',
  ],
  [
    'an unknown field',
    '{"process":"a","op":"read","key":"k","input":null,"output":null,"call":9,"return":null,"x":1}',
  ],
  ['a missing process', '{"op":"read","key":"k","input":null,"output":null,"call":9,"return":null}'],
])('a line with %s is refused with its place', async (_name, line) => {
  await using folder = await tempFolder('history')
  const file = join(folder.path, 'h.jsonl')
  await writeFile(file, `\n${line}\n`)
  await expect(readHistory(file)).rejects.toThrow(`${file}:2 is no operation`)
})

test('a file that is not there is named', async () => {
  await expect(readHistory('/nowhere/h.jsonl')).rejects.toMatchObject({ code: 'LOCAL_FILE' })
})
