import type { FileEntry } from '../../dht/index.ts'
import type { Mesh } from '../../node/index.ts'
import { isPattern, unescaped } from '../../node/files/glob.ts'
import type { Settings } from '../settings.ts'

/** When asked to, or without waiting, a read answers what the attached peer has. */
export function consistency({ stale }: Settings): { consistency?: 'stale' } {
  return stale ? { consistency: 'stale' } : {}
}

/** What the given paths and patterns stand for, in the order given. @throws NOT_FOUND for one that stands for nothing */
export async function expandAll(
  mesh: Mesh,
  patterns: readonly string[],
  signal: AbortSignal,
  settings: Settings,
): Promise<FileEntry[]> {
  const entries: FileEntry[] = []
  for (const pattern of patterns)
    entries.push(...(await mesh.fs.glob(pattern, { signal, ...consistency(settings) })))
  return entries
}

/** The same when only the paths are wanted: what is no pattern is not looked up. */
export async function expandPaths(
  mesh: Mesh,
  patterns: readonly string[],
  signal: AbortSignal,
  settings: Settings,
): Promise<string[]> {
  const paths: string[] = []
  for (const pattern of patterns) {
    if (!isPattern(pattern)) paths.push(unescaped(pattern))
    else paths.push(...(await expandAll(mesh, [pattern], signal, settings)).map(({ path }) => path))
  }
  return paths
}
