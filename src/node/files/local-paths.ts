import { glob, readdir, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { ShoalError } from '../../base/index.ts'
import { isPattern, unescaped } from './glob.ts'
import { localFailure } from './local-file.ts'

/** One version of a file of this machine. */
export interface LocalVersion {
  /** Absolute. */
  path: string
  sizeBytes: number
  /** Changes whenever the content may have changed. */
  version: string
}

/** Whether a path of a source means this machine: `file:///abs`, `file:/abs` or `file:relative`. */
export function isLocalPath(path: string): boolean {
  return /^file:/i.test(path)
}

/**
 * The files that a `file:` path stands for, in the order of their names: the file itself, the visible files of a directory
 * (but for `_…` and `.…`), or both for what a pattern matches.
 * @throws LOCAL_FILE
 */
export async function localFiles(path: string): Promise<LocalVersion[]> {
  const pattern = onThisMachine(path)
  const named = isPattern(pattern) ? await matching(pattern) : [resolve(unescaped(pattern))]
  if (named.length === 0) throw refused(path, 'nothing here matches it')
  const files = await Promise.all(named.map(filesAt))
  return files.flat()
}

/** As of now. @throws LOCAL_FILE when it is no file any more */
export async function localVersion(path: string): Promise<LocalVersion> {
  const [file] = await filesAt(path)
  if (file === undefined || file.path !== path) throw refused(path, 'it is a directory now')
  return file
}

/** The path or pattern of a `file:` path; of a URL (`file://`) without its escapes. */
function onThisMachine(path: string): string {
  const rest = path.slice('file:'.length)
  if (!rest.startsWith('//')) return rest
  const local = rest.slice(2).replace(/^localhost(?=\/)/i, '')
  if (!local.startsWith('/')) {
    throw refused(
      path,
      'it names another machine; three slashes stand before a path of this one: file:///a.txt',
    )
  }
  try {
    return decodeURIComponent(local)
  } catch (error) {
    throw localFailure(
      path,
      'read',
      new Error('a % in a file:// URL begins an escape such as %20', { cause: error }),
    )
  }
}

async function matching(pattern: string): Promise<string[]> {
  const found: string[] = []
  for await (const path of glob(pattern)) found.push(resolve(path))
  return found.filter(path => isVisible(basename(path))).sort()
}

async function filesAt(path: string): Promise<LocalVersion[]> {
  try {
    const found = await stat(path)
    if (found.isFile()) {
      const version = `${found.dev}.${found.ino} ${found.size} ${found.mtimeMs}`
      return [{ path, sizeBytes: found.size, version }]
    }
    if (!found.isDirectory()) throw new Error('it is neither a file nor a directory')
    const below = await readdir(path, { withFileTypes: true })
    const names = below.filter(entry => !entry.isDirectory() && isVisible(entry.name)).map(({ name }) => name)
    const files = await Promise.all(names.sort().map(name => filesAt(join(path, name))))
    return files.flat()
  } catch (error) {
    throw localFailure(path, 'read', error)
  }
}

function isVisible(name: string): boolean {
  return !/^[._]/.test(name)
}

function refused(path: string, reason: string): ShoalError {
  return new ShoalError('LOCAL_FILE', { path, reason }, `cannot read ${path}: ${reason}`)
}
