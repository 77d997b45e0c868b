import { ShoalError } from '../../base/errors.ts'
import { attached } from '../attached.ts'
import type { Settings } from '../settings.ts'
import { table } from '../table.ts'
import { print, printJson } from '../terminal.ts'
import { counted, humanBytes, humanTime } from '../units.ts'
import { consistency, expandPaths } from './paths.ts'

const UNITS: Record<string, number> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40, p: 2 ** 50 }

/** A number with a unit as HDFS takes it ('10g'), or null for 'none'. @throws CONFIG_INVALID */
export function limitOf(option: string, text: string): number | null {
  if (text === 'none') return null
  const [, digits = '', unit = ''] = /^(\d+)([kmgtp]?)$/i.exec(text) ?? []
  const value = Number(digits) * (UNITS[unit.toLowerCase()] ?? Number.NaN)
  if (digits !== '' && Number.isSafeInteger(value)) return value
  const reason = `it is a number such as 1000 or 10g, or none, not ${JSON.stringify(text)}`
  throw new ShoalError('CONFIG_INVALID', { option, reason }, `${option}: ${reason}`)
}

/** `shoal fs quota`: shows the limits of a directory, or sets those that are named. */
export async function quota(
  path: string,
  options: { names?: string; bytes?: string },
  settings: Settings,
): Promise<void> {
  const limits = {
    ...(options.names !== undefined && { names: limitOf('--names', options.names) }),
    ...(options.bytes !== undefined && { bytes: limitOf('--bytes', options.bytes) }),
  }
  await attached(settings, async (mesh, signal) => {
    if (Object.keys(limits).length > 0) await mesh.fs.setQuota(path, limits, { signal })
    const status = await mesh.fs.quota(path, { signal, ...consistency(settings) })
    if (settings.json) {
      printJson(status)
      return
    }
    const { names, bytes } = status
    const of = (limit: number | undefined, show: (value: number) => string): string =>
      limit === undefined ? 'no limit' : `of ${show(limit)}`
    print(`${status.path}: ${names.used} names, ${of(names.limit, String)}`)
    print(`${status.path}: ${humanBytes(bytes.used)} with all copies, ${of(bytes.limit, humanBytes)}`)
  })
}

/** `shoal fs snapshot create|list|rename|delete`. */
export async function createSnapshot(
  directory: string,
  name: string | undefined,
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const made = await mesh.fs.createSnapshot(directory, name, { signal })
    if (settings.json) printJson(made)
    else print(made.path)
  })
}

export async function listSnapshots(directory: string, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const all = await mesh.fs.snapshots(directory, { signal, ...consistency(settings) })
    if (settings.json) printJson(all)
    else if (all.length === 0) print(`${directory} has no snapshots`)
    else
      print(
        table(
          [{ title: 'MADE' }, { title: 'NAME' }, { title: 'PATH' }],
          all.map(({ createdMs, name, path }) => [humanTime(createdMs), name, path]),
        ),
      )
  })
}

export async function renameSnapshot(
  [directory, name, to]: readonly [string, string, string],
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    await mesh.fs.renameSnapshot(directory, name, to, { signal })
    if (settings.json) printJson({ directory, name: to })
  })
}

export async function deleteSnapshot(directory: string, name: string, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    await mesh.fs.deleteSnapshot(directory, name, { signal })
    if (settings.json) printJson({ directory, name })
  })
}

/** `shoal fs setrep`. With `wait` until all copies are there. */
export async function setCopies(
  copies: number,
  patterns: readonly string[],
  options: { recursive?: boolean },
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    let files = 0
    for (const path of await expandPaths(mesh, patterns, signal, settings)) {
      const recursive = options.recursive === true
      files += (await mesh.fs.setReplication(path, copies, { recursive, signal })).files
    }
    if (settings.json) printJson({ files, replication: copies })
    else print(`${counted(files, 'file')} wanted in ${copies === 1 ? '1 copy' : `${copies} copies`} now`)
  })
}

/** `shoal fs chmod` and `chown`: kept for people and other systems; nothing enforces it. */
export async function setAttributes(
  attributes: { mode?: number; owner?: string; group?: string },
  patterns: readonly string[],
  options: { recursive?: boolean },
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    let entries = 0
    for (const path of await expandPaths(mesh, patterns, signal, settings)) {
      const all = { ...attributes, ...(options.recursive === true && { recursive: true }) }
      entries += (await mesh.fs.setAttributes(path, all, { signal })).entries
    }
    if (settings.json) printJson({ entries })
  })
}

/** '644' → 0o644. @throws CONFIG_INVALID */
export function modeOf(text: string): number {
  if (/^[0-7]{3,4}$/.test(text)) return Number.parseInt(text, 8)
  const reason = `it has three or four octal digits, such as 644, not ${JSON.stringify(text)}`
  throw new ShoalError('CONFIG_INVALID', { option: '<mode>', reason }, `<mode>: ${reason}`)
}

/** 'ada', 'ada:staff', ':staff'. @throws CONFIG_INVALID */
export function ownerOf(text: string): { owner?: string; group?: string } {
  const [owner = '', group = '', ...rest] = text.split(':')
  if (rest.length > 0 || (owner === '' && group === '')) {
    const reason = `it is OWNER, OWNER:GROUP or :GROUP, not ${JSON.stringify(text)}`
    throw new ShoalError('CONFIG_INVALID', { option: '<owner>', reason }, `<owner>: ${reason}`)
  }
  return { ...(owner !== '' && { owner }), ...(group !== '' && { group }) }
}

/** `shoal fs touch`. */
export async function touch(
  paths: readonly string[],
  options: { noCreate?: boolean; time?: string },
  settings: Settings,
): Promise<void> {
  const modifiedMs = options.time === undefined ? undefined : timeOf(options.time)
  await attached(settings, async (mesh, signal) => {
    const all = []
    for (const path of await expandPaths(mesh, paths, signal, settings)) {
      const how = { create: options.noCreate !== true, ...(modifiedMs !== undefined && { modifiedMs }) }
      all.push({ path, ...(await mesh.fs.touch(path, { ...how, signal })) })
    }
    if (settings.json) printJson(all.length === 1 ? all[0] : all)
  })
}

function timeOf(text: string): number {
  const ms = Date.parse(text)
  if (Number.isFinite(ms) && ms >= 0) return ms
  const reason = `it is a time such as 2026-11-22T19:04:05Z, not ${JSON.stringify(text)}`
  throw new ShoalError('CONFIG_INVALID', { option: '--time', reason }, `--time: ${reason}`)
}

/** `shoal fs df`: the disks of the peers, and what the files take of them. */
export async function showDisks(options: { bytes?: boolean }, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const [{ peers }, usage] = await Promise.all([
      mesh.fs.blockHealth({ signal }),
      mesh.fs.usage('/', { signal, ...consistency(settings) }),
    ])
    const disks = peers.map(({ name, health }) =>
      health === undefined
        ? { name }
        : {
            name,
            capacityBytes: health.usedBytes + health.freeBytes,
            usedBytes: health.usedBytes,
            freeBytes: health.freeBytes,
            blocks: health.blocks,
          },
    )
    const sum = (key: 'capacityBytes' | 'usedBytes' | 'freeBytes' | 'blocks'): number =>
      disks.reduce((total, disk) => total + (disk[key] ?? 0), 0)
    const whole = {
      name: 'all',
      capacityBytes: sum('capacityBytes'),
      usedBytes: sum('usedBytes'),
      freeBytes: sum('freeBytes'),
      blocks: sum('blocks'),
    }
    if (settings.json) {
      printJson({ peers: disks, all: whole, sizeBytes: usage.sizeBytes, storedBytes: usage.storedBytes })
      return
    }
    const size = options.bytes === true ? String : humanBytes
    const rows = [...disks, whole].map(({ name, ...disk }) =>
      disk.capacityBytes === undefined
        ? [name, '?', '?', '?', '', '']
        : [
            name,
            size(disk.capacityBytes),
            size(disk.usedBytes),
            size(disk.freeBytes),
            `${Math.round((100 * disk.usedBytes) / Math.max(1, disk.capacityBytes))} %`,
            String(disk.blocks),
          ],
    )
    const right = ['SIZE', 'USED', 'FREE', 'USE', 'COPIES OF PARTITIONS']
    print(table([{ title: 'PEER' }, ...right.map(title => ({ title, align: 'right' as const }))], rows))
    print(`files: ${size(usage.sizeBytes)}, ${size(usage.storedBytes)} with all copies`)
  })
}
