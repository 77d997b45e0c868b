import type { VerifiedBlock } from '../../dht/index.ts'
import type { Mesh } from '../../node/index.ts'
import { attached } from '../attached.ts'
import { ByteProgress } from '../byte-progress.ts'
import { EXIT_FAILED } from '../error-report.ts'
import type { Settings } from '../settings.ts'
import { colors, note, print, printJson } from '../terminal.ts'
import { counted } from '../units.ts'
import { consistency, expandAll } from './paths.ts'

type Replica = VerifiedBlock['replicas'][number]

/** A copy that was not found good. */
export interface BadReplica extends Replica {
  path: string
  index: number
  blockId: string
}

export interface VerifySums {
  files: number
  partitions: number
  /** Copies, by what their holders found. */
  good: number
  corrupt: number
  missing: number
  unknown: number
  /** Of the corrupt and missing ones: whole again. */
  mended: number
}

/**
 * `shoal fs verify`: the holders read their copies again and compare them with the committed hashes; nothing travels. Exit code 0
 * only when every copy was read and good.
 */
export async function verify(patterns: readonly string[], settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const files = await filesOf(mesh, patterns, signal, settings)
    const sums: VerifySums = {
      files: 0,
      partitions: 0,
      good: 0,
      corrupt: 0,
      missing: 0,
      unknown: 0,
      mended: 0,
    }
    const bad: BadReplica[] = []
    const totalBytes = files.reduce((total, { sizeBytes }) => total + sizeBytes, 0)
    {
      using progress = new ByteProgress({
        label: 'verifying',
        totalBytes,
        totalFiles: files.length,
        quiet: settings.json,
      })
      for (const { path } of files) {
        for await (const block of mesh.fs.verify(path, { signal, ...consistency(settings) })) {
          bad.push(...count(sums, path, block))
          progress.add(block.bytes)
        }
        sums.files++
        progress.fileDone()
      }
    }
    if (settings.json) printJson({ sums, bad })
    else {
      for (const replica of bad) print(describeBad(replica))
      print(describeVerified(sums))
    }
    if (bad.length > 0) process.exitCode = EXIT_FAILED
  })
}

async function filesOf(
  mesh: Mesh,
  patterns: readonly string[],
  signal: AbortSignal,
  settings: Settings,
): Promise<{ path: string; sizeBytes: number }[]> {
  const files: { path: string; sizeBytes: number }[] = []
  for (const entry of await expandAll(mesh, patterns, signal, settings)) {
    if (entry.type === 'file') {
      files.push(entry)
      continue
    }
    for await (const below of mesh.fs.walk(entry.path, { signal, ...consistency(settings) })) {
      if (below.type === 'file') files.push(below)
    }
  }
  if (files.length === 0) note('there are no files')
  return files
}

/** Adds a partition to the sums. @returns its copies that are not good */
export function count(
  sums: VerifySums,
  path: string,
  { index, blockId, replicas }: VerifiedBlock,
): BadReplica[] {
  sums.partitions++
  const bad: BadReplica[] = []
  for (const replica of replicas) {
    sums[replica.found]++
    if (replica.found === 'good') continue
    if (replica.found !== 'unknown' && replica.now === 'good') sums.mended++
    bad.push({ path, index, blockId, ...replica })
  }
  return bad
}

const NOW: Record<Replica['now'], string> = {
  good: 'mended: it was fetched again from another holder',
  reported: 'put aside: repair makes another copy',
  bad: 'kept, for no better copy could be had; it is tried again',
  unneeded: 'no longer needed there',
  unknown: '',
}

export function describeBad({ path, index, name, found, now, reason }: BadReplica): string {
  const { red, yellow } = colors
  const what = `${path}, partition ${index}: the copy at ${name}`
  if (found === 'unknown') return yellow(`${what} could not be verified: ${reason ?? 'it did not say why'}`)
  const was = found === 'corrupt' ? 'is CORRUPT' : 'is GONE from its disk'
  return `${(now === 'bad' ? red : yellow)(`${what} ${now === 'good' ? was.replace('is', 'was') : was}`)}; ${NOW[now]}`
}

export function describeVerified(sums: VerifySums): string {
  const { files, partitions, good, corrupt, missing, unknown, mended } = sums
  const copies = good + corrupt + missing + unknown
  const of = `${counted(files, 'file')} in ${counted(partitions, 'partition')}`
  if (good === copies)
    return `${colors.green(copies === 1 ? 'the copy is good' : `all ${copies} copies are good`)}: ${of}`
  const parts = [`${good} good`, `${corrupt} corrupt`, `${missing} gone`]
  if (corrupt + missing > 0) parts.push(`${mended} of them mended`)
  if (unknown > 0) parts.push(`${unknown} not verified`)
  return `${copies} ${copies === 1 ? 'copy' : 'copies'} of ${of}: ${parts.join(', ')}`
}
