import { afterAll, beforeAll, expect, test } from 'vitest'
import { complete } from '../../../src/cli/repl/completion.ts'
import { createLocal } from '../../../src/index.ts'
import type { Mesh } from '../../../src/node/index.ts'

const FILES = [
  { name: 'books', type: 'directory' },
  { name: 'bread.txt', type: 'file' },
]
const local = createLocal()
const mesh = Object.assign(Object.create(local), {
  fs: { ls: async () => await Promise.resolve(FILES) },
}) as Mesh

beforeAll(() => {
  const trap = { get boom() { throw new Error('a getter was run') }, plain: { deep: 1 } } // prettier-ignore
  Object.assign(globalThis, { mesh, words: local.parallelize(['a']), trap })
})

afterAll(() => {
  for (const name of ['mesh', 'words', 'trap']) Reflect.deleteProperty(globalThis, name)
})

test.each<[line: string, matches: string[], part: string]>([
  ['mesh.paral', ['parallelize'], 'paral'],
  ['const x = await words.takeO', ['takeOrdered'], 'takeO'],
  ['mesh.range(4).map((n) => n * (n + 1)).sortB', ['sortBy', 'sortByKey'], 'sortB'],
  ['words.map(w => [w, 1]).reduceByK', ['reduceByKey', 'reduceByKeyLocally'], 'reduceByK'],
  ['words.count().to', [], 'to'],
  ['trap.plain.d', ['deep'], 'd'],
  ['trap.boom.x', [], 'x'],
  ['nothing.at', [], 'at'],
  ['wor', ['words'], 'wor'],
  ["mesh.textFile('/b", ['/books/', '/bread.txt'], '/b'],
  ["mesh.textFile('/bo", ['/books/'], '/bo'],
])('%s', async (line, matches, part) => {
  expect(await complete(line, mesh)).toEqual([matches, part])
})

test('a mesh that does not answer completes nothing, and fails nothing', async () => {
  const silent = { fs: { ls: () => Promise.reject(new Error('gone')) } } as unknown as Mesh
  expect(await complete('mesh.textFile("/b', silent)).toEqual([[], '/b'])
})
