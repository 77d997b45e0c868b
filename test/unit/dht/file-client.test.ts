import { expect, test } from 'vitest'
import { bodyOf, ShoalError, type Reply } from '../../../src/base/index.ts'
import { FileClient, type FileClientPort } from '../../../src/dht/index.ts'
import { bytesOf } from '../../support/dht-mesh.ts'

const STOPPING = new ShoalError('CANCELLED', { what: 'the replicated log' }, 'this peer is stopping')
const FILE = '0123456789abcdef0123456789abcdef'

/** Peers in turn: each answers one call. */
function portOf(...answers: (() => Reply<unknown>)[]): FileClientPort {
  return {
    call: async () => answers.shift()!() as Reply<never>,
  }
}

async function* brokenOff(bytes: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(bytes)
  throw STOPPING
}

const head = { fileId: FILE, bytes: 10, start: 0, sizeBytes: 10, partitions: 1 }

test('a read goes on at another peer when its peer stops, before or in the middle of it', async () => {
  const files = new FileClient(
    portOf(
      () => {
        throw STOPPING
      },
      () => ({ head, body: brokenOff('first') }),
      () => ({ head: { ...head, start: 5, bytes: 5 }, body: bodyOf(Buffer.from(' last')) }),
    ),
  )
  expect(String(await bytesOf(files.get('/f')))).toBe('first last')
})

test('a read that its own caller cancels ends', async () => {
  const over = new AbortController()
  const files = new FileClient(
    portOf(() => {
      over.abort(new Error('enough'))
      throw STOPPING
    }),
  )
  await expect(bytesOf(files.get('/f', { signal: over.signal }))).rejects.toThrow('enough')
})
