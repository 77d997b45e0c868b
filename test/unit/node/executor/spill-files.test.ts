import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { SpillFiles, spillFailure } from '../../../../src/node/executor/spill-files.ts'

let root = ''

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'shoal-spill-'))
})

afterEach(async () => {
  await rm(root, { recursive: true, force: true })
})

function files(reserveBytes = 0): SpillFiles {
  return new SpillFiles({ directory: join(root, 'spill'), prefix: 'worker-1', reserveBytes, peer: 'p' })
}

test('what was written is read back, by place; nothing is left when it is closed', async () => {
  const file = files().open()
  const chunks = Array.from({ length: 50 }, (_, i) => new Uint8Array(1000 * i).fill(i))
  const starts = chunks.map(chunk => file.append(chunk))
  for (const i of [49, 0, 7, 30]) {
    const start = starts[i]!
    expect(Buffer.compare(file.read(start, start + 1000 * i), chunks[i]!)).toBe(0)
  }
  expect(() => file.read(0, 10_000_000)).toThrow(/ends before byte 10000000/)
  file.close()
  file.close()
  expect(await readdir(join(root, 'spill'))).toEqual([])
})

test('a kept file has its name, is there when it is sealed, and gone when it is not', async () => {
  const made = files()
  const sealed = made.open('map.out')
  sealed.append(Uint8Array.of(1, 2, 3))
  const path = sealed.seal()
  sealed.close()
  expect([...(await readFile(path))]).toEqual([1, 2, 3])
  const dropped = made.open('other.out')
  dropped.append(Uint8Array.of(1))
  dropped.close()
  expect(await readdir(join(root, 'spill'))).toEqual(['map.out'])
})

test('a disk with no more than the reserve free is DISK_FULL before anything is written', () => {
  const file = files(Number.MAX_SAFE_INTEGER).open()
  expect(() => file.append(Uint8Array.of(1))).toThrow(
    expect.objectContaining({ code: 'DISK_FULL', details: expect.objectContaining({ peer: 'p' }) }),
  )
  file.close()
})

test('what the system says becomes a coded error', () => {
  const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
  expect(spillFailure('p', 'write', full)).toMatchObject({ code: 'DISK_FULL' })
  const broken = Object.assign(new Error('i/o error'), { code: 'EIO' })
  expect(spillFailure('p', 'write', broken)).toMatchObject({ code: 'DISK_FAILED' })
})
