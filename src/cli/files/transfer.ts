import { basename, posix } from 'node:path'
import { hasCode, ShoalError } from '../../base/errors.ts'
import type { ClientPutOptions, FileEntry, PutReply } from '../../dht/index.ts'
import type { Mesh } from '../../node/index.ts'
import { counted as counting, downloadFile, downloadTree } from '../../node/files/download.ts'
import { readLocal, targetIn, writeLocal } from '../../node/files/local-file.ts'
import { scanLocal, type LocalTree } from '../../node/files/local-tree.ts'
import { uploadTrees } from '../../node/files/upload-tree.ts'
import { uploadFile, type Uploaded } from '../../node/files/upload.ts'
import { attached } from '../attached.ts'
import { ByteProgress } from '../byte-progress.ts'
import { describeError, EXIT_FAILED } from '../error-report.ts'
import { Interrupted } from '../interrupt.ts'
import type { Settings } from '../settings.ts'
import { note, print, printBytes, printJson } from '../terminal.ts'
import { counted, humanBytes, humanMs } from '../units.ts'
import { advised } from './advice.ts'
import { consistency, expandAll } from './paths.ts'

export interface PutOptions extends Pick<
  ClientPutOptions,
  'overwrite' | 'parents' | 'partitionBytes' | 'format' | 'replication'
> {
  resume?: boolean
  parallel?: number
  quiet?: boolean
}

/** What one command moved. */
interface Moved {
  files: number
  bytes: number
  partitions: number
  degraded: number
  skipped: { local: string; what: string }[]
  failed: { path: string; error: unknown }[]
}

/** `shoal fs put`. @throws LOCAL_FILE when a local path cannot be read: nothing becomes visible then. */
export async function putFiles(
  locals: readonly string[],
  path: string,
  options: PutOptions,
  settings: Settings,
): Promise<void> {
  if (locals.includes('-') && locals.length > 1)
    throw new ShoalError(
      'CONFIG_INVALID',
      { option: '<local>', reason: '- stands alone' },
      '<local>: - (standard input) stands alone: it has no name to be stored under',
    )
  if (locals[0] === '-') {
    await putOne('-', path, options, settings)
    return
  }
  const trees = await Promise.all(locals.map(local => scanLocal(local)))
  if (trees.length === 1 && !trees[0]!.isFolder) await putOne(locals[0]!, path, options, settings)
  else await putTrees(trees, path, options, settings)
}

async function putOne(local: string, path: string, options: PutOptions, settings: Settings): Promise<void> {
  const source = await readLocal(local)
  await attached(settings, async (mesh, signal) => {
    const startedMs = performance.now()
    const target = local === '-' ? path : await targetPath(mesh, path, basename(local), signal)
    using progress = new ByteProgress({
      label: local === '-' ? source.label : basename(local),
      ...(source.sizeBytes !== undefined && { totalBytes: source.sizeBytes }),
      ...quietOf(options),
    })
    const storing = uploadFile(mesh.fs, source, target, {
      ...chosen(options),
      resume: options.resume === true,
      signal,
      onBytes: (bytes, before) => progress.add(bytes, before),
      onRetry: (error, resumedAt) => {
        if (!settings.json) note(retryLine(error, resumedAt))
      },
    })
    const stored = await advised(hinted(storing, options), putAdvice(options))
    progress[Symbol.dispose]()
    if (settings.json) printJson({ ...stored, path: target })
    else print(storedLine(target, stored, performance.now() - startedMs))
    noteDegraded(stored.degraded ?? 0, settings)
  })
}

async function putTrees(
  trees: readonly LocalTree[],
  path: string,
  options: PutOptions,
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const startedMs = performance.now()
    const moved: Moved = { ...nothingMoved(), skipped: trees.flatMap(tree => tree.skipped) }
    using progress = new ByteProgress({
      label: trees.length === 1 ? trees[0]!.name : path,
      totalBytes: trees.reduce((sum, tree) => sum + tree.sizeBytes, 0),
      totalFiles: trees.reduce((sum, tree) => sum + tree.files.length, 0),
      ...quietOf(options),
    })
    const storing = uploadTrees(mesh.fs, trees, path, {
      ...chosen(options),
      ...(options.parallel !== undefined && { parallel: options.parallel }),
      resume: options.resume === true,
      signal,
      onBytes: (bytes, before) => progress.add(bytes, before),
      onFile: file => {
        progress.fileDone()
        moved.files++
        moved.bytes += file.bytes
        moved.partitions += file.partitions
        moved.degraded += file.degraded ?? 0
      },
      onFailed: (failed, error) => moved.failed.push({ path: failed, error }),
    })
    await advised(hinted(storing, options), putAdvice(options))
    progress[Symbol.dispose]()
    report(path, moved, performance.now() - startedMs, settings)
  })
}

function chosen({
  overwrite,
  parents,
  partitionBytes,
  format,
  replication,
}: PutOptions): Partial<ClientPutOptions> {
  return {
    ...(overwrite !== undefined && { overwrite }),
    ...(parents !== undefined && { parents }),
    ...(partitionBytes !== undefined && { partitionBytes }),
    ...(format !== undefined && { format }),
    ...(replication !== undefined && { replication }),
  }
}

function quietOf({ quiet }: { quiet?: boolean }): { quiet: boolean } {
  return { quiet: quiet === true }
}

function putAdvice({ overwrite, parents }: PutOptions): Parameters<typeof advised>[1] {
  return {
    ...(overwrite !== true && { ALREADY_EXISTS: 'replace it with --overwrite' }),
    ...(parents !== true && { NOT_FOUND: 'make missing directories with --parents' }),
  }
}

/** Whoever interrupts a resumable upload is told what is left of it. */
async function hinted<T>(work: Promise<T>, { resume }: PutOptions): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (resume === true && error instanceof Interrupted)
      note('what is stored stays for a day: the same command goes on from there')
    throw error
  }
}

function retryLine(error: unknown, resumedAt: number): string {
  const why = error instanceof Error ? error.message : String(error)
  return `${why}; going on${resumedAt > 0 ? ` behind the first ${humanBytes(resumedAt)}` : ''}`
}

function storedLine(path: string, stored: Uploaded, tookMs: number): string {
  const { bytes, partitions, resumedAt = 0, unchanged } = stored
  const what = `${path}: ${humanBytes(bytes)} in ${counted(partitions, 'partition')}`
  if (unchanged === true) return `${what}, was there already with the same bytes`
  const resumed = resumedAt > 0 ? ` (${humanBytes(resumedAt)} of it was stored before)` : ''
  return `${what}, ${humanMs(tookMs)}${resumed}`
}

function noteDegraded(degraded: number, settings: Settings): void {
  if (degraded > 0 && !settings.json)
    note(`${counted(degraded, 'partition')} with fewer copies than wanted for now: too few peers answered`)
}

function nothingMoved(): Moved {
  return { files: 0, bytes: 0, partitions: 0, degraded: 0, skipped: [], failed: [] }
}

/** The sum, and each thing that was left out, so that nothing is missing silently. Failures make the command fail. */
function report(target: string, moved: Moved, tookMs: number, settings: Settings): void {
  const { files, bytes, partitions, degraded, skipped, failed } = moved
  if (failed.length > 0) process.exitCode = EXIT_FAILED
  if (settings.json) {
    const failures = failed.map(({ path, error }) => ({
      path,
      error: error instanceof ShoalError ? error.code : 'INTERNAL',
      message: error instanceof Error ? error.message : String(error),
    }))
    printJson({ path: target, files, bytes, partitions, degraded, skipped, failed: failures })
    return
  }
  for (const { local, what } of skipped) note(`left out ${local}: ${what}, not a file`)
  for (const { error } of failed) note(describeError(error))
  const speed = tookMs > 0 ? `, ${Math.round((files * 1_000) / tookMs)} files/s` : ''
  const others = failed.length > 0 ? `; ${counted(failed.length, 'file')} failed` : ''
  print(`${target}: ${counted(files, 'file')}, ${humanBytes(bytes)}, ${humanMs(tookMs)}${speed}${others}`)
  noteDegraded(degraded, settings)
}

/** Into a directory that is there, under the local name, as `cp` and HDFS do. */
async function targetPath(mesh: Mesh, path: string, name: string, signal: AbortSignal): Promise<string> {
  const isDirectory = await mesh.fs.stat(path, { signal }).then(
    ({ type }) => type === 'directory',
    (error: unknown) => {
      if (hasCode(error, 'NOT_FOUND')) return path.endsWith('/')
      throw error
    },
  )
  return isDirectory ? posix.join(path, name) : path
}

/** `shoal fs append`: all given files as one addition. */
export async function appendFiles(
  locals: readonly string[],
  path: string,
  options: { quiet?: boolean },
  settings: Settings,
): Promise<void> {
  const sources = await Promise.all(locals.map(readLocal))
  await attached(settings, async (mesh, signal) => {
    const startedMs = performance.now()
    const known = sources.every(({ sizeBytes }) => sizeBytes !== undefined)
    using progress = new ByteProgress({
      label: path,
      ...(known && { totalBytes: sources.reduce((sum, { sizeBytes = 0 }) => sum + sizeBytes, 0) }),
      ...quietOf(options),
    })
    const failure: { error?: unknown } = {}
    const all = async function* (): AsyncGenerator<Uint8Array, void> {
      try {
        for (const { bytes } of sources) yield* progress.measure(bytes)
      } catch (error) {
        failure.error = error
        throw error
      }
    }
    const adding = mesh.fs.append(path, all(), { signal }).catch((error: unknown) => {
      // The mesh only learns that the bytes stopped; why is known here.
      throw failure.error ?? error
    })
    const unknown = 'whether the bytes arrived is told by `shoal fs stat`'
    const added = await advised(adding, {
      NOT_FOUND: 'make it with `shoal fs put` or `shoal fs touch`',
      CONNECTION_LOST: unknown,
      UNKNOWN_OUTCOME: unknown,
      TIMEOUT: unknown,
    })
    progress[Symbol.dispose]()
    if (settings.json) printJson({ path, ...added })
    else {
      const tookMs = performance.now() - startedMs
      print(`${path}: ${humanBytes(added.appended)} more, ${humanBytes(added.bytes)} now, ${humanMs(tookMs)}`)
    }
    noteDegraded(added.degraded ?? 0, settings)
  })
}

export interface GetOptions {
  overwrite?: boolean
  resume?: boolean
  recursive?: boolean
  parallel?: number
  quiet?: boolean
}

/** `shoal fs get`. Local files appear whole or not at all. */
export async function getFiles(
  paths: readonly string[],
  local: string | undefined,
  options: GetOptions,
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const entries = await expandAll(mesh, paths, signal, settings)
    const reading = { signal, ...consistency(settings) }
    if (local === '-') {
      for (const { path } of entries)
        for await (const chunk of mesh.fs.get(path, reading)) await printBytes(chunk)
      return
    }
    const startedMs = performance.now()
    const [only] = entries
    const isOne = entries.length === 1 && only?.type === 'file'
    const target = await localTarget(local ?? '.', entries, isOne)
    const sizes = await Promise.all(entries.map(async entry => await sizeOf(mesh, entry, reading)))
    using progress = new ByteProgress({
      label: only?.name ?? '',
      totalBytes: sizes.reduce((sum, { bytes }) => sum + bytes, 0),
      ...(!isOne && { totalFiles: sizes.reduce((sum, { files }) => sum + files, 0) }),
      ...quietOf(options),
    })
    const moved = nothingMoved()
    const how = {
      ...reading,
      overwrite: options.overwrite === true,
      resume: options.resume === true,
      onBytes: (bytes: number, before?: boolean) => progress.add(bytes, before),
    }
    for (const [index, entry] of entries.entries()) {
      const to = target(index)
      if (entry.type === 'file') {
        const got = await downloadFile(mesh.fs, entry.path, to, how)
        moved.files++
        moved.bytes += got.bytes
        if (isOne) {
          progress[Symbol.dispose]()
          if (settings.json) printJson(got)
          else print(`${to}: ${humanBytes(got.bytes)}, ${humanMs(performance.now() - startedMs)}${kept(got)}`)
          return
        }
      } else
        await downloadTree(mesh.fs, entry.path, to, {
          ...how,
          ...(options.parallel !== undefined && { parallel: options.parallel }),
          onFile: file => {
            progress.fileDone()
            moved.files++
            moved.bytes += file.bytes
          },
          onFailed: (path, error) => moved.failed.push({ path, error }),
        })
    }
    progress[Symbol.dispose]()
    report(local ?? target(0), moved, performance.now() - startedMs, settings)
  })
}

function kept({ resumedAt = 0 }: { resumedAt?: number }): string {
  return resumedAt > 0 ? ` (${humanBytes(resumedAt)} of it was here before)` : ''
}

async function sizeOf(
  mesh: Mesh,
  entry: FileEntry,
  reading: { signal: AbortSignal },
): Promise<{ bytes: number; files: number }> {
  if (entry.type === 'file') return { bytes: entry.sizeBytes, files: 1 }
  const { sizeBytes, files } = await mesh.fs.usage(entry.path, reading)
  return { bytes: sizeBytes, files }
}

/** Several go into a folder that is there; one goes into it too, or takes the very name. */
async function localTarget(
  local: string,
  entries: readonly FileEntry[],
  isOne: boolean,
): Promise<(index: number) => string> {
  const names = entries.map(({ name }) => name || 'root')
  if (entries.length === 1) {
    // `get /data .` is to be ./data, and `get /data copy` the folder copy, as `cp -r` does it.
    const target = await targetIn(local, names[0]!)
    return () => target
  }
  const first = await targetIn(local, names[0]!)
  if (first === local && !isOne)
    throw new ShoalError(
      'LOCAL_FILE',
      { path: local, reason: 'it is no folder' },
      `${entries.length} files go into a folder, and ${local} is none: make it, or write it with a slash at its end`,
    )
  return index => posix.join(local, names[index]!)
}

/** `shoal fs getmerge`: the files of directories, one behind the other, as one local file. */
export async function mergeFiles(
  paths: readonly string[],
  local: string,
  options: { overwrite?: boolean; newline?: boolean; quiet?: boolean },
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const startedMs = performance.now()
    const reading = { signal, ...consistency(settings) }
    const parts: FileEntry[] = []
    for (const entry of await expandAll(mesh, paths, signal, settings)) {
      if (entry.type === 'file') parts.push(entry)
      else {
        const below = await mesh.fs.ls(entry.path, reading)
        // Hidden ones are no data, for datasets neither.
        parts.push(...below.filter(({ type, name }) => type === 'file' && !/^[._]/.test(name)))
      }
    }
    using progress = new ByteProgress({
      label: basename(local),
      totalBytes: parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      ...quietOf(options),
    })
    const merged = async function* (): AsyncGenerator<Uint8Array, void> {
      for (const { path } of parts) {
        yield* counting(mesh.fs.get(path, reading), bytes => progress.add(bytes))
        if (options.newline === true) yield Buffer.from('\n')
      }
    }
    if (local === '-') {
      for await (const chunk of merged()) await printBytes(chunk)
      return
    }
    const bytes = await writeLocal(local, merged(), { overwrite: options.overwrite === true })
    progress[Symbol.dispose]()
    if (settings.json) printJson({ local, files: parts.length, bytes })
    else
      print(
        `${local}: ${humanBytes(bytes)} of ${counted(parts.length, 'file')}, ${humanMs(performance.now() - startedMs)}`,
      )
  })
}

/** `shoal fs cp`: inside the mesh. */
export async function copyFiles(
  paths: readonly string[],
  target: string,
  options: { overwrite?: boolean; parents?: boolean; quiet?: boolean },
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const startedMs = performance.now()
    const entries = await expandAll(mesh, paths, signal, settings)
    const isSeveral = entries.length > 1
    const moved = nothingMoved()
    using progress = new ByteProgress({
      label: target,
      totalBytes: entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      ...quietOf(options),
    })
    const { overwrite = false, parents = false } = options
    for (const entry of entries) {
      const root = await targetPath(mesh, isSeveral ? `${target}/` : target, entry.name, signal)
      const how = { overwrite, signal, onBytes: (bytes: number) => progress.add(bytes) }
      const onFile = ({ bytes, partitions, degraded = 0 }: PutReply): void => {
        moved.files++
        moved.bytes += bytes
        moved.partitions += partitions
        moved.degraded += degraded
      }
      const copying =
        entry.type === 'file'
          ? mesh.fs.cp(entry.path, root, { ...how, parents }).then(onFile)
          : mesh.fs.cpTree(entry.path, root, { ...how, onFile })
      await advised(copying, putAdvice(options))
    }
    progress[Symbol.dispose]()
    report(target, moved, performance.now() - startedMs, settings)
  })
}
