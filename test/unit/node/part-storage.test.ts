import { expect, test } from 'vitest'
import { asFileId, ShoalError } from '../../../src/base/index.ts'
import { storePart } from '../../../src/node/part-storage.ts'

const ID = asFileId('0'.repeat(32))

async function* chunks(): AsyncGenerator<Uint8Array> {
  yield Buffer.from('ab')
  yield Buffer.from('c')
}

async function textOf(source: AsyncIterable<Uint8Array>): Promise<string> {
  const all: Uint8Array[] = []
  for await (const chunk of source) all.push(chunk)
  return Buffer.concat(all).toString()
}

test('a part that is gathered waits with a lease; one that counts is a file at once, in a directory that is there', async () => {
  const seen: unknown[] = []
  const files = {
    writeOpen: async (path: string, source: AsyncIterable<Uint8Array>, options: object = {}) => {
      seen.push(['open', path, await textOf(source), options])
      return { fileId: ID, blockCount: 2, bytes: 3, degraded: 0 }
    },
    put: async (path: string, source: AsyncIterable<Uint8Array>, options: object = {}) => {
      seen.push(['put', path, await textOf(source), options])
      return { fileId: ID, partitions: 2, bytes: 3, index: 1 }
    },
  }
  const stored = { file: `${ID} 2`, bytes: 3 }
  expect(await storePart(files, { path: '/a', format: 'lines', kept: false }, chunks())).toEqual(stored)
  expect(await storePart(files, { path: '/b', format: 'csv', kept: true }, chunks())).toEqual(stored)
  expect(seen).toEqual([
    ['open', '/a', 'abc', { format: 'lines', parents: true, leaseMs: 600_000 }],
    // Without `parents`: the directory of a job that is over does not come back.
    ['put', '/b', 'abc', { format: 'csv' }],
  ])
})

test('another attempt’s part counts, and this one may write on to its end; other refusals fail the task', async () => {
  const refusing = (code: 'ALREADY_EXISTS' | 'NOT_FOUND') => ({
    writeOpen: () => Promise.reject(new Error('not asked')),
    put: () => Promise.reject(new ShoalError(code, { path: '/b' })),
  })
  const part = { path: '/b', format: 'lines', kept: true } as const
  expect(await storePart(refusing('ALREADY_EXISTS'), part, chunks())).toEqual({ file: '', bytes: 3 })
  await expect(storePart(refusing('NOT_FOUND'), part, chunks())).rejects.toMatchObject({ code: 'NOT_FOUND' })
})
