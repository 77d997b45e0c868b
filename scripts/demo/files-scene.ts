import { createHash } from 'node:crypto'
import { asPeerId, type PeerId } from '../../src/base/index.ts'
import type { Mesh } from '../../src/index.ts'
import { table } from '../../src/cli/table.ts'
import { colors } from '../../src/cli/terminal.ts'
import { humanBytes, humanMs } from '../../src/cli/units.ts'
import type { PeerStatus } from '../../src/node/index.ts'
import type { Inputs } from './inputs.ts'
import type { Screen } from './screen.ts'

export const BOOK = '/books/moby-dick.txt'
export const FLIGHTS = '/flights/flights-20k.json'
export const AIRPORTS = '/flights/airports.csv'

/** Small, so that even a book has several partitions; the default is 32 MiB. */
const PARTITION_BYTES = 128 * 1024
/** The network sends a file in pieces; so do we. */
const PIECE_BYTES = 64 * 1024

/** Puts the input into the mesh, shows where it lies, and reads it back. */
export async function storeFiles(
  screen: Screen,
  mesh: Mesh,
  inputs: Inputs,
  signal: AbortSignal,
): Promise<void> {
  const files = [
    { path: BOOK, bytes: inputs.book, format: 'lines' as const },
    { path: FLIGHTS, bytes: inputs.flights, format: 'lines' as const },
    { path: AIRPORTS, bytes: inputs.airports, format: 'csv' as const },
  ]
  const rows: string[][] = []
  for (const { path, bytes, format } of files) {
    screen.progress(`putting ${path} …`)
    const startMs = performance.now()
    const options = { parents: true, partitionBytes: PARTITION_BYTES, format, signal }
    const put = await mesh.fs.put(path, pieces(bytes), options)
    rows.push([
      path,
      humanBytes(put.bytes),
      String(put.partitions),
      '3',
      humanMs(performance.now() - startMs),
    ])
  }
  const titles = ['FILE', 'SIZE', 'PARTITIONS', 'COPIES', 'DURABLE AFTER']
  screen.say(
    table(
      titles.map((title, i) => ({ title, align: i === 0 ? 'left' : 'right' })),
      rows,
    ),
  )
  screen.say(colors.dim('The flights are one single line of JSON, and a line is never cut: one partition.'))
  screen.say()
  await showPlaces(screen, mesh, BOOK, signal)
  for (const { path, bytes } of files) {
    const back = createHash('sha256')
    for await (const chunk of mesh.fs.get(path, { signal })) back.update(chunk)
    const sent = createHash('sha256').update(bytes).digest('hex')
    screen.check(`${path} comes back byte for byte`, back.digest('hex'), sent)
  }
}

/** Which peers keep which partition. */
async function showPlaces(screen: Screen, mesh: Mesh, path: string, signal: AbortSignal): Promise<void> {
  const { members } = await mesh.status({ signal })
  const { partitions } = await mesh.fs.locate(path, { signal })
  const peers = byName(members)
  const rows = partitions.map(({ index, bytes, holders }) => [
    String(index),
    humanBytes(bytes),
    ...peers.map(({ peerId }) => (holders.includes(asPeerId(peerId)) ? colors.green('■') : colors.dim('·'))),
  ])
  const total = ['', 'partitions', ...peers.map(({ peerId }) => String(count(partitions, peerId)))]
  const titles = ['PARTITION', 'SIZE', ...peers.map(({ name }) => name)]
  screen.say(`Who keeps which partition of ${path}:`)
  screen.say(
    table(
      titles.map((title, i) => ({ title, align: i < 2 ? 'right' : 'left' })),
      [...rows, total],
    ),
  )
}

export function byName(members: PeerStatus['members']): PeerStatus['members'] {
  return members.toSorted((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }))
}

function count(partitions: { holders: PeerId[] }[], peerId: string): number {
  return partitions.filter(({ holders }) => holders.includes(asPeerId(peerId))).length
}

async function* pieces(bytes: Buffer): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES)
}
