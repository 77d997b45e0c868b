import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readLocal, targetIn, writeLocal } from '../../../../src/node/files/local-file.ts'
import { tempFolder } from '../../../support/temp-folder.ts'

async function* pieces(...texts: (string | Error)[]): AsyncGenerator<Uint8Array, void> {
  for (const text of texts) {
    if (text instanceof Error) throw text
    yield Buffer.from(text)
  }
}

test('a file is written whole, or nothing of it is left', async () => {
  await using folder = await tempFolder('local')
  const path = join(folder.path, 'out.txt')
  await expect(writeLocal(path, pieces('a', new Error('lost')), { overwrite: false })).rejects.toThrow('lost')
  expect(await readdir(folder.path)).toEqual([])
  expect(await writeLocal(path, pieces('ab', 'c'), { overwrite: false })).toBe(3)
  expect(await readFile(path, 'utf8')).toBe('abc')
})

test('a file that is there is replaced only when asked to', async () => {
  await using folder = await tempFolder('local')
  const path = join(folder.path, 'out.txt')
  await writeFile(path, 'old')
  const refused = writeLocal(path, pieces('new'), { overwrite: false })
  await expect(refused).rejects.toMatchObject({ code: 'LOCAL_FILE', details: { path } })
  await expect(writeLocal(path, pieces(new Error('lost')), { overwrite: true })).rejects.toThrow('lost')
  expect(await readFile(path, 'utf8')).toBe('old')
  await writeLocal(path, pieces('new'), { overwrite: true })
  expect(await readFile(path, 'utf8')).toBe('new')
  expect(await readdir(folder.path)).toEqual(['out.txt'])
})

test('what cannot be read or written says why, before anything is asked of the mesh', async () => {
  await using folder = await tempFolder('local')
  const missing = join(folder.path, 'no', 'such')
  await expect(readLocal(missing)).rejects.toMatchObject({
    code: 'LOCAL_FILE',
    message: `cannot read the local file ${missing}: no such file or folder`,
  })
  await expect(readLocal(folder.path)).rejects.toThrow(/it is a directory/)
  await expect(writeLocal(missing, pieces('x'), { overwrite: false })).rejects.toMatchObject({
    code: 'LOCAL_FILE',
  })
})

test('into a folder a file goes under its own name', async () => {
  await using folder = await tempFolder('local')
  await mkdir(join(folder.path, 'sub'))
  expect(await targetIn(join(folder.path, 'sub'), 'x.txt')).toBe(join(folder.path, 'sub', 'x.txt'))
  expect(await targetIn(join(folder.path, 'y.txt'), 'x.txt')).toBe(join(folder.path, 'y.txt'))
})
