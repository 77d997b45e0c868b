import { randomBytes } from 'node:crypto'
import { open, rename, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { ShoalError } from '../../base/errors.ts'

/** Bytes read at once. */
const CHUNK_BYTES = 256 * 1024

/** A file of this machine, opened before anything is asked of the mesh. @throws LOCAL_FILE */
export async function readLocal(
  path: string,
): Promise<{ source: AsyncIterable<Uint8Array>; sizeBytes?: number }> {
  if (path === '-') return { source: localBytes('standard input', process.stdin) }
  try {
    const file = await open(path)
    const { size, isFile, isFolder } = await file.stat().then(found => ({
      size: found.size,
      isFile: found.isFile(),
      isFolder: found.isDirectory(),
    }))
    if (isFolder) {
      await file.close()
      throw new Error('it is a directory; put its files one by one')
    }
    const source = localBytes(path, file.createReadStream({ highWaterMark: CHUNK_BYTES }))
    return isFile ? { source, sizeBytes: size } : { source }
  } catch (error) {
    throw localFailure(path, 'read', error)
  }
}

async function* localBytes(path: string, stream: AsyncIterable<unknown>): AsyncGenerator<Uint8Array, void> {
  try {
    for await (const chunk of stream) yield chunk as Uint8Array
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
  if (!options.overwrite && (await isThere(path))) throw existsAlready(path)
  const draft = `${path}.${randomBytes(4).toString('hex')}.part`
  let bytes = 0
  try {
    const file = await open(draft, 'wx').catch((error: unknown) =>
      Promise.reject(localFailure(path, 'write', error)),
    )
    try {
      for await (const chunk of source) {
        await file
          .writeFile(chunk)
          .catch((error: unknown) => Promise.reject(localFailure(path, 'write', error)))
        bytes += chunk.byteLength
      }
    } finally {
      await file.close()
    }
    if (!options.overwrite && (await isThere(path))) throw existsAlready(path)
    await rename(draft, path).catch((error: unknown) => Promise.reject(localFailure(path, 'write', error)))
    return bytes
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

/** Where a file goes: into a folder under its own name, else to the very path. */
export async function targetIn(local: string, name: string): Promise<string> {
  const isFolder = await stat(local).then(
    found => found.isDirectory(),
    () => local.endsWith('/'),
  )
  return isFolder ? join(local, basename(name)) : local
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  )
}

function existsAlready(path: string): ShoalError {
  return new ShoalError(
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
}

export function localFailure(path: string, verb: 'read' | 'write', error: unknown): ShoalError {
  if (error instanceof ShoalError) return error
  const { code, message } = error as NodeJS.ErrnoException
  const reason = REASONS[code ?? ''] ?? message
  return new ShoalError('LOCAL_FILE', { path, reason }, `cannot ${verb} the local file ${path}: ${reason}`, {
    cause: error,
  })
}
