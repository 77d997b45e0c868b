import { expect, test } from 'vitest'
import { ShoalError } from '../../../../src/base/index.ts'
import { PartFiles, type PartTarget } from '../../../../src/node/executor/part-files.ts'

const target = (path: string): PartTarget => ({ path, format: 'lines', kept: false })
const bytesOf = (text: string): Uint8Array => Buffer.from(text)

/** Stores parts as text, and says how much it has taken. */
function storing() {
  const stored = new Map<string, string>()
  const parts = new PartFiles(async ({ path }, source) => {
    let text = ''
    for await (const chunk of source) text += Buffer.from(chunk).toString()
    stored.set(path, text)
    return { file: `file of ${path}`, bytes: text.length }
  })
  return { stored, parts }
}

test('what tasks write side by side becomes their files, whole and each its own', async () => {
  const { stored, parts } = storing()
  for (let line = 0; line < 3; line++) {
    await Promise.all(
      ['k1', 'k2'].map(key => parts.write(key, target(`/${key}`), bytesOf(`${key} ${line}\n`))),
    )
  }
  expect(await parts.close('k1', target('/k1'))).toEqual({ file: 'file of /k1', bytes: 15 })
  await parts.close('k2', target('/k2'))
  expect([...stored]).toEqual([
    ['/k1', 'k1 0\nk1 1\nk1 2\n'],
    ['/k2', 'k2 0\nk2 1\nk2 2\n'],
  ])
})

test('a task that wrote nothing has an empty file', async () => {
  const { stored, parts } = storing()
  expect(await parts.close('k', target('/empty'))).toEqual({ file: 'file of /empty', bytes: 0 })
  expect(stored.get('/empty')).toBe('')
})

test('writing waits until the file has taken the chunk', async () => {
  const gate = Promise.withResolvers<void>()
  const parts = new PartFiles(async (_target, source) => {
    for await (const _ of source) await gate.promise
    return { file: 'f', bytes: 0 }
  })
  let taken = false
  const writing = parts.write('k', target('/p'), bytesOf('a')).then(() => {
    taken = true
  })
  await new Promise(resolve => {
    setImmediate(resolve)
  })
  expect(taken).toBe(false)
  gate.resolve()
  await writing
})

test('a file that cannot be stored fails the writer and whoever closes it', async () => {
  const error = new ShoalError('UNDER_REPLICATED', { path: '/p', acks: 1, wanted: 2 })
  const parts = new PartFiles(async (_target, source) => {
    for await (const _ of source) throw error
    throw error
  })
  await expect(parts.write('k', target('/p'), bytesOf('a'))).rejects.toBe(error)
  await expect(parts.write('k', target('/p'), bytesOf('b'))).rejects.toBe(error)
  await expect(parts.close('k', target('/p'))).rejects.toBe(error)
})

test('the file of an attempt that failed is not stored, and the next attempt begins afresh', async () => {
  const { stored, parts } = storing()
  await parts.write('k', target('/p'), bytesOf('half'))
  await parts.abandon('k')
  await parts.abandon('never opened')
  expect(stored.size).toBe(0)
  await parts.write('k', target('/p'), bytesOf('whole'))
  await parts.close('k', target('/p'))
  expect(stored.get('/p')).toBe('whole')
})
