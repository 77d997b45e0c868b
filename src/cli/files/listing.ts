import type { FileEntry } from '../../dht/index.ts'
import type { Mesh } from '../../node/index.ts'
import { attached } from '../attached.ts'
import type { Settings } from '../settings.ts'
import { table, type Column } from '../table.ts'
import { colors, print, printJson } from '../terminal.ts'
import { humanBytes, humanTime } from '../units.ts'
import { parseFind } from './find.ts'
import { consistency, expandAll } from './paths.ts'

export interface ListOptions {
  recursive?: boolean
  /** The directory itself, not what is in it. */
  directory?: boolean
  /** Newest first. */
  time?: boolean
  /** Largest first. */
  size?: boolean
  reverse?: boolean
  /** Sizes in bytes. */
  bytes?: boolean
  /** Only the paths, one a line. */
  pathsOnly?: boolean
}

/** `shoal fs ls`. */
export async function list(
  patterns: readonly string[],
  options: ListOptions,
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const reading = { signal, ...consistency(settings) }
    const entries: FileEntry[] = []
    for (const given of await expandAll(mesh, patterns, signal, settings)) {
      if (given.type === 'file' || options.directory === true) entries.push(given)
      else if (options.recursive === true)
        for await (const entry of mesh.fs.walk(given.path, reading)) entries.push(entry)
      else entries.push(...(await mesh.fs.ls(given.path, reading)))
    }
    const isMixed = patterns.length > 1 || options.recursive === true || options.directory === true
    if (options.recursive === true) entries.sort((a, b) => (a.path < b.path ? -1 : 1))
    sortEntries(entries, options)
    if (settings.json) printJson(entries)
    else if (options.pathsOnly === true) for (const { path } of entries) print(path)
    else if (entries.length > 0) {
      const withPath = isMixed || entries.some(({ path }) => path !== entryPath(path, patterns[0]!))
      print(entryTable(entries, { withPath, bytes: options.bytes === true }))
    }
  })
}

/** The path that an entry has right in this directory; another one when it lies elsewhere. */
function entryPath(path: string, directory: string): string {
  return `${directory.replace(/\/+$/, '')}/${path.slice(path.lastIndexOf('/') + 1)}`
}

function sortEntries(entries: FileEntry[], { time, size, reverse }: ListOptions): void {
  // Stable: equal ones stay in the order of their names.
  if (size === true) entries.sort((a, b) => b.sizeBytes - a.sizeBytes)
  else if (time === true) entries.sort((a, b) => b.modifiedMs - a.modifiedMs)
  if (reverse === true) entries.reverse()
}

export function entryTable(
  entries: readonly FileEntry[],
  options: { withPath: boolean; bytes?: boolean },
): string {
  const size = options.bytes === true ? String : humanBytes
  const rows = entries.map(entry => {
    const name = options.withPath ? entry.path : entry.name
    const isFile = entry.type === 'file'
    return [
      isFile ? size(entry.sizeBytes) : '-',
      isFile ? String(entry.partitions ?? 0) : '-',
      isFile ? `×${entry.replication ?? 0}` : '-',
      humanTime(entry.modifiedMs),
      isFile ? name : colors.blue(name.endsWith('/') ? name : `${name}/`),
    ]
  })
  return table(
    [right('SIZE'), right('PARTITIONS'), right('COPIES'), { title: 'MODIFIED' }, { title: 'NAME' }],
    rows,
  )
}

function right(title: string): Column {
  return { title, align: 'right' }
}

/** `shoal fs find`. */
export async function find(words: readonly string[], settings: Settings): Promise<void> {
  const { paths, tests, newerThan } = parseFind(words)
  await attached(settings, async (mesh, signal) => {
    const reading = { signal, ...consistency(settings) }
    for (const path of newerThan) {
      const { modifiedMs } = await mesh.fs.stat(path, reading)
      tests.push(entry => entry.modifiedMs > modifiedMs)
    }
    const found: FileEntry[] = []
    const look = (entry: FileEntry): void => {
      if (!tests.every(test => test(entry))) return
      if (settings.json) found.push(entry)
      else print(entry.path)
    }
    for (const root of await expandAll(mesh, paths, signal, settings)) {
      look(root)
      for await (const entry of mesh.fs.walk(root.path, reading)) look(entry)
    }
    if (settings.json) printJson(found)
  })
}

/** `shoal fs stat`. */
export async function showEntries(
  patterns: readonly string[],
  options: { format?: string },
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const entries = await expandAll(mesh, patterns, signal, settings)
    if (settings.json) printJson(entries.length === 1 ? entries[0] : entries)
    else if (options.format !== undefined)
      for (const entry of entries) print(formatted(entry, options.format))
    else print(entries.map(described).join('\n\n'))
  })
}

function described(entry: FileEntry): string {
  const rows: [string, string][] = [
    ['path', entry.path],
    ['type', entry.type],
    ['modified', humanTime(entry.modifiedMs)],
  ]
  const { mode, owner, group } = entry
  if (mode !== undefined) rows.push(['mode', `${octal(mode)} (noted, not enforced)`])
  if (owner !== undefined || group !== undefined) rows.push(['owner', `${owner ?? ''}:${group ?? ''}`])
  if (entry.type === 'directory') rows.push(['entries', String(entry.children ?? 0)])
  else {
    rows.push(
      ['size', `${humanBytes(entry.sizeBytes)} (${entry.sizeBytes} bytes)`],
      ['partitions', `${entry.partitions ?? 0}, cut as ${entry.format ?? 'lines'}`],
      ['copies', `${entry.replication ?? 0} wanted; \`shoal fs locate\` shows who holds them`],
      ['file id', entry.fileId ?? ''],
    )
  }
  return rows.map(([name, value]) => `${colors.dim(name.padEnd(10))}  ${value}`).join('\n')
}

function octal(mode: number): string {
  return mode.toString(8).padStart(3, '0')
}

/** The letters of HDFS: `%n` name, `%N` path, `%F` type, `%b` bytes, `%o` partition size, `%r` copies, `%y` and `%Y` time (UTC, milliseconds), `%a` mode, `%u` owner, `%g` group. */
export function formatted(entry: FileEntry, format: string): string {
  const values: Record<string, () => string> = {
    n: () => entry.name,
    N: () => entry.path,
    F: () => (entry.type === 'file' ? 'regular file' : 'directory'),
    b: () => String(entry.sizeBytes),
    o: () => String(entry.partitionBytes ?? 0),
    r: () => String(entry.replication ?? 0),
    y: () => new Date(entry.modifiedMs).toISOString().replace('T', ' ').slice(0, 19),
    Y: () => String(entry.modifiedMs),
    a: () => (entry.mode === undefined ? '' : octal(entry.mode)),
    u: () => entry.owner ?? '',
    g: () => entry.group ?? '',
    '%': () => '%',
  }
  return format.replaceAll(/%(.)/g, (whole, letter: string) => values[letter]?.() ?? whole)
}

/** `shoal fs du`: what is in a directory, entry by entry, and the sum. */
export async function showUsage(
  patterns: readonly string[],
  options: { summary?: boolean; bytes?: boolean },
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const reading = { signal, ...consistency(settings) }
    const size = options.bytes === true ? String : humanBytes
    const all = []
    for (const { path, type } of await expandAll(mesh, patterns, signal, settings)) {
      const total = await mesh.fs.usage(path, reading)
      const below = options.summary === true || type === 'file' ? [] : await mesh.fs.ls(path, reading)
      const entries = []
      for (const entry of below)
        entries.push({ path: entry.path, ...(await mesh.fs.usage(entry.path, reading)) })
      all.push({ path, ...total, ...(options.summary !== true && { entries }) })
    }
    if (settings.json) {
      printJson(all.length === 1 ? all[0] : all)
      return
    }
    const rows = all.flatMap(({ entries = [], ...total }) =>
      [...entries, total].map(({ path, sizeBytes, storedBytes, files, directories, blocks }) => [
        size(sizeBytes),
        size(storedBytes),
        String(files),
        String(directories),
        String(blocks),
        path,
      ]),
    )
    const titles = ['SIZE', 'WITH COPIES', 'FILES', 'DIRECTORIES', 'PARTITIONS']
    print(table([...titles.map(right), { title: 'PATH' }], rows))
  })
}

/** `shoal fs count`: directories (itself among them), files and bytes, in columns that awk can cut. */
export async function countEntries(
  patterns: readonly string[],
  options: { human?: boolean; header?: boolean; quota?: boolean },
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const reading = { signal, ...consistency(settings) }
    const all = []
    for (const { path, type } of await expandAll(mesh, patterns, signal, settings)) {
      const { files, directories, sizeBytes } = await mesh.fs.usage(path, reading)
      const counts = { path, directories: directories + (type === 'directory' ? 1 : 0), files, sizeBytes }
      // Quotas are of directories.
      const isLimited = options.quota === true && type === 'directory'
      const quota = isLimited ? { quota: await mesh.fs.quota(path, reading) } : {}
      all.push({ ...counts, ...quota })
    }
    if (settings.json) {
      printJson(all.length === 1 ? all[0] : all)
      return
    }
    const size = options.human === true ? humanBytes : String
    const wide = (text: string | number): string => String(text).padStart(12)
    // As HDFS orders them: limit and what is left of it, of names and of bytes.
    const limits = ['NAME LIMIT', 'LEFT', 'BYTE LIMIT', 'LEFT']
    const titles = [...(options.quota === true ? limits : []), 'DIRS', 'FILES', 'BYTES']
    if (options.header === true) print([...titles.map(wide), ' PATH'].join(''))
    for (const { path, directories, files, sizeBytes, quota } of all) {
      const left = (
        { limit, used }: { limit?: number | undefined; used: number },
        show: (n: number) => string,
      ) => (limit === undefined ? ['none', 'inf'] : [show(limit), show(limit - used)])
      const named =
        quota === undefined
          ? ['none', 'inf', 'none', 'inf']
          : [...left(quota.names, String), ...left(quota.bytes, size)]
      const cells = [...(options.quota === true ? named : []), directories, files, size(sizeBytes)]
      print(`${cells.map(wide).join('')} ${path}`)
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
            right('PARTITION'),
            right('OFFSET'),
            right('SIZE'),
            right('LINES'),
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
