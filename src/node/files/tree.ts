import { hasCode, ShoalError } from '../../base/index.ts'
import { pathNames, type FileClient, type FileEntry, type ReadOptions } from '../../dht/index.ts'
import { isPattern, nameMatcher, spellings, unescaped } from './glob.ts'

type Reader = Pick<FileClient, 'ls' | 'stat'>

/**
 * What a path with `*`, `?`, `[…]` or `{…}` stands for, in the order of the paths, each once. A path without is looked up as it is.
 * @throws NOT_FOUND when there is nothing, INVALID_PATH
 */
export async function expandPattern(
  files: Reader,
  pattern: string,
  options: ReadOptions = {},
): Promise<FileEntry[]> {
  if (!isPattern(pattern)) return [await files.stat(unescaped(pattern), options)]
  const found = new Map<string, FileEntry>()
  for (const spelling of spellings(pattern)) {
    for await (const entry of matches(files, spelling, options)) found.set(entry.path, entry)
  }
  if (found.size === 0) throw new ShoalError('NOT_FOUND', { path: pattern }, `nothing matches ${pattern}`)
  return [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
}

async function* matches(files: Reader, pattern: string, options: ReadOptions): AsyncGenerator<FileEntry> {
  const names = pathNames(pattern)
  const first = names.findIndex(isPattern)
  if (first === -1) {
    const entry = await found(files.stat(unescaped(pattern), options))
    if (entry !== undefined) yield entry
    return
  }
  const directory = unescaped(`/${names.slice(0, first).join('/')}`)
  const fits = nameMatcher(names[first]!)
  const rest = names.slice(first + 1)
  const status = await found(files.stat(directory, options))
  if (status?.type !== 'directory') return
  for (const entry of (await found(files.ls(directory, options))) ?? []) {
    if (!fits(entry.name)) continue
    if (rest.length === 0) yield entry
    else if (entry.type === 'directory')
      yield* matches(files, `${escaped(entry.path)}/${rest.join('/')}`, options)
  }
}

/** Undefined when it is not there, or was removed a moment ago. */
async function found<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND') || hasCode(error, 'NOT_A_DIRECTORY')) return undefined
    throw error
  }
}

export function escaped(path: string): string {
  return path.replaceAll(/[\\*?[\]{}]/g, '\\$&')
}

/** All below a directory, each directory before what is in it, by name; of a file nothing. What goes meanwhile is left out. */
export async function* walkTree(
  files: Reader,
  path: string,
  options: ReadOptions = {},
): AsyncGenerator<FileEntry, void> {
  const root = await files.stat(path, options)
  const pending = root.type === 'directory' ? await files.ls(path, options) : []
  pending.reverse()
  for (let entry = pending.pop(); entry !== undefined; entry = pending.pop()) {
    yield entry
    if (entry.type !== 'directory') continue
    const below = (await found(files.ls(entry.path, options))) ?? []
    for (const each of below.reverse()) pending.push(each)
  }
}
