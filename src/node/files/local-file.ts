import { randomBytes } from 'node:crypto'
import { open, rename, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { ShoalError } from '../../base/index.ts'

/** Bytes read at once. */
const CHUNK_BYTES = 256 * 1024

/** Bytes of this machine on their way into the mesh. */
export interface LocalSource {
  /** For people: the file's path, or 'standard input'. */
  label: string
  /** Absent when nobody knows before the end: standard input, pipes. */
  sizeBytes?: number
  modifiedMs?: number
  /** Undefined for what can be read only once. */
  openAt: ((start: number) => AsyncIterable<Uint8Array>) | undefined
  /** From the beginning; once. */
  bytes: AsyncIterable<Uint8Array>
}

/** A file of this machine (or `-`, standard input), looked at before anything is asked of the mesh. @throws LOCAL_FILE */
export async function readLocal(path: string): Promise<LocalSource> {
  if (path === '-') {
    const label = 'standard input'
    return { label, openAt: undefined, bytes: localBytes(label, () => process.stdin) }
  }
  try {
    const file = await open(path)
    const found = await file.stat()
    if (found.isDirectory()) {
      await file.close()
      throw new Error('it is a directory, and one file is wanted here')
    }
    if (!found.isFile()) {
      const stream = file.createReadStream({ highWaterMark: CHUNK_BYTES })
      return { label: path, openAt: undefined, bytes: localBytes(path, () => stream) }
    }
    await file.close()
    const openAt = (start: number): AsyncIterable<Uint8Array> =>
      localBytes(path, async () => (await open(path)).createReadStream({ start, highWaterMark: CHUNK_BYTES }))
    return {
      label: path,
      sizeBytes: found.size,
      modifiedMs: Math.floor(found.mtimeMs),
      openAt,
      bytes: openAt(0),
    }
  } catch (error) {
    throw localFailure(path, 'read', error)
  }
}

async function* localBytes(
  path: string,
  open: () => AsyncIterable<unknown> | Promise<AsyncIterable<unknown>>,
): AsyncGenerator<Uint8Array, void> {
  try {
    for await (const chunk of await open()) yield chunk as Uint8Array
  } catch (error) {
    throw localFailure(path, 'read', error)
  }
}

/**
 * Writes bytes to a local file that is seen whole or not at all.
 * @throws LOCAL_FILE when it is there and must not be replaced, or cannot be written.
 */
export async function writeLocal(
  path: string,
  source: AsyncIterable<Uint8Array>,
  options: { overwrite: boolean },
): Promise<number> {
  await refuseExisting(path, options)
  const draft = `${path}.${randomBytes(4).toString('hex')}.part`
  try {
    const bytes = await appendLocal(draft, source, 'wx')
    await showDraft(draft, path, options)
    return bytes
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

/** Writes behind what is there. @returns the bytes written @throws LOCAL_FILE */
export async function appendLocal(
  path: string,
  source: AsyncIterable<Uint8Array>,
  flags: 'a' | 'wx' = 'a',
): Promise<number> {
  const file = await written(path, open(path, flags))
  let bytes = 0
  try {
    for await (const chunk of source) {
      await written(path, file.writeFile(chunk))
      bytes += chunk.byteLength
    }
    return bytes
  } finally {
    await file.close()
  }
}

/** What the disk says is about the local file; what the source says is not. */
async function written<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw localFailure(path, 'write', error)
  }
}

/** The finished draft takes the name. @throws LOCAL_FILE */
export async function showDraft(draft: string, path: string, options: { overwrite: boolean }): Promise<void> {
  await refuseExisting(path, options)
  await written(path, rename(draft, path))
}

/** Where a file goes: into a folder under its own name, else to the very path. */
export async function targetIn(local: string, name: string): Promise<string> {
  const isFolder = await stat(local).then(
    found => found.isDirectory(),
    () => local.endsWith('/'),
  )
  return isFolder ? join(local, basename(name)) : local
}

/** @throws LOCAL_FILE when it is there, unless it may be replaced */
export async function refuseExisting(path: string, options: { overwrite: boolean }): Promise<void> {
  if (options.overwrite) return
  const isThere = await stat(path).then(
    () => true,
    () => false,
  )
  if (isThere)
    throw new ShoalError(
      'LOCAL_FILE',
      { path, reason: 'it exists already' },
      `the local file ${path} exists already: choose another name, or replace it with --overwrite`,
    )
}

const REASONS: Record<string, string> = {
  ENOENT: 'no such file or folder',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of the path is no folder',
  ENOSPC: 'the disk is full',
  ELOOP: 'its links lead in a circle',
  EMFILE: 'too many files are open',
}

export function localFailure(path: string, verb: 'read' | 'write', error: unknown): ShoalError {
  if (error instanceof ShoalError) return error
  const { code, message } = error as NodeJS.ErrnoException
  const reason = REASONS[code ?? ''] ?? message
  return new ShoalError('LOCAL_FILE', { path, reason }, `cannot ${verb} the local file ${path}: ${reason}`, {
    cause: error,
  })
}
