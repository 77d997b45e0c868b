import { createHash } from 'node:crypto'
import { mkdir, stat, truncate } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ShoalError } from '../../base/index.ts'
import type { FileClient, FileEntry, PartitionPlace, ReadOptions } from '../../dht/index.ts'
import { appendLocal, localFailure, readLocal, refuseExisting, showDraft, writeLocal } from './local-file.ts'
import { inParallel } from './parallel.ts'
import { walkTree } from './tree.ts'

export interface DownloadOptions extends ReadOptions {
  /** Replace local files. @default false: LOCAL_FILE */
  overwrite?: boolean
  /**
   * Keep what came when it is interrupted, as `<name>.<version>.part`, and go on from there the next time. What is kept is compared with
   * the checksums of the partitions first. @default false
   */
  resume?: boolean
  /** Told of bytes that are safe here, in any number of steps. `before`: by an earlier attempt. */
  onBytes?: (bytes: number, before?: boolean) => void
}

export interface Downloaded {
  path: string
  local: string
  bytes: number
  /** Bytes that were there from an earlier attempt. */
  resumedAt?: number
}

/** Copies a file of the mesh to a local path, where it appears whole or not at all. */
export async function downloadFile(
  files: FileClient,
  path: string,
  local: string,
  options: DownloadOptions = {},
): Promise<Downloaded> {
  const { overwrite = false, resume = false, onBytes = () => {}, ...reading } = options
  if (!resume) {
    const bytes = await writeLocal(local, counted(files.get(path, reading), onBytes), { overwrite })
    return { path, local, bytes }
  }
  await refuseExisting(local, { overwrite })
  const { fileId, sizeBytes, partitions } = await files.locate(path, reading)
  const draft = `${local}.${fileId.slice(0, 8)}.part`
  const resumedAt = await goodBytes(draft, partitions)
  onBytes(resumedAt, true)
  const rest = files.get(path, { ...reading, start: resumedAt, fileId })
  await appendLocal(draft, counted(rest, onBytes))
  const good = await goodBytes(draft, partitions)
  if (good !== sizeBytes) {
    throw new ShoalError(
      'LOCAL_FILE',
      { path: draft, reason: `only ${good} of its ${sizeBytes} bytes are right` },
      `${draft} is not what ${path} is: only the first ${good} of ${sizeBytes} bytes are right; run the same command again`,
    )
  }
  await showDraft(draft, local, { overwrite })
  return resumedAt > 0 ? { path, local, bytes: sizeBytes, resumedAt } : { path, local, bytes: sizeBytes }
}

/** How many bytes of a draft are those of the file: whole partitions, the rest is cut off. */
async function goodBytes(draft: string, partitions: readonly PartitionPlace[]): Promise<number> {
  const size = await stat(draft).then(
    found => found.size,
    () => undefined,
  )
  if (size === undefined) return 0
  const whole = partitions.filter(({ offset, bytes }) => offset + bytes <= size)
  const { bytes } = await readLocal(draft)
  const good = await matchingBytes(bytes, whole)
  if (good < size)
    await truncate(draft, good).catch((error: unknown) => Promise.reject(localFailure(draft, 'write', error)))
  return good
}

/** Length of the longest run of partitions, from the first, that the bytes begin with. */
export async function matchingBytes(
  source: AsyncIterable<Uint8Array>,
  partitions: readonly { bytes: number; sha256: string }[],
): Promise<number> {
  const pending = partitions.filter(({ bytes }) => bytes > 0)
  let matched = 0
  let next = pending.shift()
  let hash = createHash('sha256')
  let missing = next?.bytes ?? 0
  if (next === undefined) return 0
  for await (const chunk of source) {
    let at = 0
    while (at < chunk.length) {
      const piece = chunk.subarray(at, at + missing)
      hash.update(piece)
      at += piece.length
      missing -= piece.length
      if (missing > 0) continue
      if (hash.digest('hex') !== next.sha256) return matched
      matched += next.bytes
      next = pending.shift()
      if (next === undefined) return matched
      hash = createHash('sha256')
      missing = next.bytes
    }
  }
  return matched
}

export interface TreeDownloadOptions extends DownloadOptions {
  /** Files under way at a time. @default 8 */
  parallel?: number
  /** Told of each file that is there; and of each that failed for a reason of its own, after which the others go on. */
  onFile?: (file: Downloaded) => void
  onFailed?: (path: string, error: unknown) => void
}

/** Copies a directory of the mesh with all in it into a local folder, which is made. */
export async function downloadTree(
  files: FileClient,
  directory: string,
  local: string,
  options: TreeDownloadOptions = {},
): Promise<void> {
  const { parallel = 8, onFile, onFailed, signal, ...rest } = options
  const root = await files.stat(directory, { signal })
  const prefix = root.path === '/' ? 1 : root.path.length + 1
  const localOf = (entry: FileEntry): string => join(local, entry.path.slice(prefix))
  await makeFolder(local)
  // Folders come before what is in them, and are made before the next entry is asked for.
  const found = async function* (): AsyncGenerator<FileEntry> {
    for await (const entry of walkTree(files, directory, { ...rest, signal })) {
      if (entry.type === 'directory') await makeFolder(localOf(entry))
      else yield entry
    }
  }
  await inParallel(found(), parallel, signal, async (entry, stop) => {
    try {
      const target = localOf(entry)
      await makeFolder(dirname(target))
      const got = await downloadFile(files, entry.path, target, { ...rest, signal: stop })
      onFile?.(got)
    } catch (error) {
      if (stop.aborted || onFailed === undefined || !isOfOneFile(error)) throw error
      onFailed(entry.path, error)
    }
  })
}

async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true }).catch((error: unknown) =>
    Promise.reject(localFailure(path, 'write', error)),
  )
}

const ONE_FILE: ReadonlySet<string> = new Set([
  'LOCAL_FILE',
  'ALREADY_EXISTS',
  'NOT_FOUND',
  'NOT_A_DIRECTORY',
  'IS_A_DIRECTORY',
  'INVALID_PATH',
  'BLOCK_UNAVAILABLE',
  'CORRUPT_REPLICA',
  'WRITE_CONFLICT',
])

/** The next file may do well although this one did not. */
export function isOfOneFile(error: unknown): boolean {
  return error instanceof ShoalError && ONE_FILE.has(error.code)
}

export async function* counted(
  source: AsyncIterable<Uint8Array>,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of source) {
    onBytes(chunk.length)
    yield chunk
  }
}
