import type { FileEntry } from '../../dht/index.ts'
import type { Mesh } from '../../node/index.ts'
import { attached } from '../attached.ts'
import type { Settings } from '../settings.ts'
import { table } from '../table.ts'
import { colors, print, printJson } from '../terminal.ts'
import { counted, humanBytes, humanTime } from '../units.ts'
import { consistency } from './transfer.ts'

/** `shoal fs ls`. */
export async function list(path: string, recursive: boolean, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const options = { signal, ...consistency(settings) }
    const entries: FileEntry[] = []
    const pending = [path]
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const found = await mesh.fs.ls(next, options)
      entries.push(...found)
      if (recursive) {
        const folders = found.filter(({ type }) => type === 'directory').map(entry => entry.path)
        pending.push(...folders.reverse())
      }
    }
    if (recursive) entries.sort((a, b) => (a.path < b.path ? -1 : 1))
    if (settings.json) printJson(entries)
    else if (entries.length > 0) print(entryTable(entries, recursive))
  })
}

export function entryTable(entries: readonly FileEntry[], withPath: boolean): string {
  const rows = entries.map(entry => {
    const name = withPath ? entry.path : entry.name
    const isFile = entry.type === 'file'
    return [
      isFile ? humanBytes(entry.sizeBytes) : '-',
      isFile ? String(entry.partitions ?? 0) : '-',
      isFile ? `×${entry.replication ?? 0}` : '-',
      humanTime(entry.modifiedMs),
      isFile ? name : colors.blue(`${name}/`),
    ]
  })
  return table(
    [
      { title: 'SIZE', align: 'right' },
      { title: 'PARTITIONS', align: 'right' },
      { title: 'COPIES', align: 'right' },
      { title: 'MODIFIED' },
      { title: 'NAME' },
    ],
    rows,
  )
}

/** `shoal fs stat`. */
export async function showEntry(path: string, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const entry = await mesh.fs.stat(path, { signal, ...consistency(settings) })
    if (settings.json) {
      printJson(entry)
      return
    }
    const rows: [string, string][] = [
      ['path', entry.path],
      ['type', entry.type],
      ['modified', humanTime(entry.modifiedMs)],
    ]
    if (entry.type === 'directory') rows.push(['entries', String(entry.children ?? 0)])
    else {
      rows.push(
        ['size', `${humanBytes(entry.sizeBytes)} (${entry.sizeBytes} bytes)`],
        ['partitions', `${entry.partitions ?? 0}, cut as ${entry.format ?? 'lines'}`],
        ['copies', `${entry.replication ?? 0} wanted; \`shoal fs locate\` shows who holds them`],
        ['file id', entry.fileId ?? ''],
      )
    }
    print(rows.map(([name, value]) => `${colors.dim(name.padEnd(10))}  ${value}`).join('\n'))
  })
}

/** `shoal fs du`. */
export async function showUsage(path: string, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const usage = await mesh.fs.usage(path, { signal, ...consistency(settings) })
    if (settings.json) printJson({ path, ...usage })
    else {
      const { files, directories, blocks, sizeBytes, storedBytes } = usage
      const folders = directories === 1 ? '1 directory' : `${directories} directories`
      print(
        `${humanBytes(sizeBytes)} in ${counted(files, 'file')}, ${folders}, ${counted(blocks, 'partition')}; ` +
          `${humanBytes(storedBytes)} with all copies`,
      )
    }
  })
}

/** `shoal fs locate`. */
export async function showPlaces(path: string, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const located = await mesh.fs.locate(path, { signal, ...consistency(settings) })
    const name = await namesOf(mesh, signal)
    if (settings.json) {
      const partitions = located.partitions.map(place => ({ ...place, holders: place.holders.map(name) }))
      printJson({ path, fileId: located.fileId, sizeBytes: located.sizeBytes, partitions })
      return
    }
    const rows = located.partitions.map(({ index, offset, bytes, lines, holders, live, wanted, healthy }) => [
      String(index),
      String(offset),
      humanBytes(bytes),
      lines === undefined ? '' : String(lines),
      healthy ? `${live} of ${wanted}` : colors.yellow(`${live} of ${wanted}`),
      holders.map(name).join(' '),
    ])
    if (rows.length === 0) print('an empty file: it has no partitions')
    else {
      print(
        table(
          [
            { title: 'PARTITION', align: 'right' },
            { title: 'OFFSET', align: 'right' },
            { title: 'SIZE', align: 'right' },
            { title: 'LINES', align: 'right' },
            { title: 'COPIES' },
            { title: 'HOLDERS' },
          ],
          rows,
        ),
      )
    }
  })
}

async function namesOf(mesh: Mesh, signal: AbortSignal): Promise<(peer: string) => string> {
  const { members } = await mesh.status({ signal })
  const names = new Map(members.map(({ peerId, name }) => [peerId, name]))
  return peer => names.get(peer) ?? peer.slice(-6)
}
