import { randomBytes } from 'node:crypto'
import { link, open, readFile, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ShoalError } from '../../base/index.ts'

/** Bytes of a key or seed; the file holds them in hexadecimal. */
export const SECRET_BYTES = 32

/**
 * Creates a file that only its owner may read, durable and whole or not at all, in a directory that is there.
 * @returns false when there is one already: it is left as it is.
 * @throws DATA_DIR_INVALID when it cannot be written.
 */
export async function createSecretFile(path: string, secret: Uint8Array): Promise<boolean> {
  const directory = dirname(path)
  const draft = join(directory, `.${basename(path)}.${randomBytes(6).toString('hex')}`)
  try {
    const file = await open(draft, 'wx', 0o600)
    try {
      await file.writeFile(`${Buffer.from(secret).toString('hex')}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    try {
      // Unlike a rename, a link never replaces a key that somebody else made meanwhile.
      await link(draft, path)
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return false
      throw error
    } finally {
      await unlink(draft)
    }
    await syncDirectory(directory)
    return true
  } catch (error) {
    throw invalid(directory, `cannot write ${basename(path)}: ${textOf(error)}`, error)
  }
}

/** @returns undefined when there is no such file. @throws DATA_DIR_INVALID when it holds anything but 64 hexadecimal digits. */
export async function readSecretFile(path: string): Promise<Uint8Array | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined
    throw invalid(dirname(path), `cannot read ${basename(path)}: ${textOf(error)}`, error)
  }
  const digits = text.trim()
  if (/^[0-9a-f]{64}$/.test(digits)) return Buffer.from(digits, 'hex')
  throw invalid(
    dirname(path),
    `${basename(path)} does not hold ${SECRET_BYTES * 2} hexadecimal digits`,
    undefined,
  )
}

/** Makes the names in a directory durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function invalid(directory: string, reason: string, cause: unknown): ShoalError {
  return new ShoalError('DATA_DIR_INVALID', { directory, reason }, `data directory ${directory}: ${reason}`, {
    cause,
  })
}
