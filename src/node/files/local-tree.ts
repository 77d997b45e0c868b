import { lstat, readdir, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import type { Stats } from 'node:fs'
import { localFailure } from './local-file.ts'

/** One thing below a local folder; `relative` has slashes and begins with the folder's own name. */
export interface LocalEntry {
  local: string
  relative: string
}

export interface LocalTree {
  /** A folder, or a single file? */
  isFolder: boolean
  name: string
  files: (LocalEntry & { sizeBytes: number })[]
  /** Each before what is in it; the folder itself is the first. */
  folders: LocalEntry[]
  /** What has no bytes to store: links, sockets, pipes, devices. */
  skipped: { local: string; what: string }[]
  sizeBytes: number
}

/**
 * What there is to store under a local path, looked through before anything is asked of the mesh. A link is followed when it is
 * the path itself, not inside a folder, where it could lead anywhere.
 * @throws LOCAL_FILE
 */
export async function scanLocal(path: string, options: { signal?: AbortSignal } = {}): Promise<LocalTree> {
  const root = await stat(path).catch((error: unknown) => Promise.reject(localFailure(path, 'read', error)))
  // Of `.` and `..` too the folder's own name.
  const name = basename(resolve(path))
  const tree: LocalTree = {
    isFolder: root.isDirectory(),
    name,
    files: [],
    folders: [],
    skipped: [],
    sizeBytes: 0,
  }
  if (!root.isDirectory()) {
    // A pipe or a device given by name is wanted: `put <(zcat x.gz) /x` is one.
    add(tree, { local: path, relative: name }, root.isFile() ? root.size : 0)
    return tree
  }
  const pending: LocalEntry[] = [{ local: path, relative: name }]
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    options.signal?.throwIfAborted()
    tree.folders.push(folder)
    const names = await readdir(folder.local).catch((error: unknown) =>
      Promise.reject(localFailure(folder.local, 'read', error)),
    )
    const below: LocalEntry[] = []
    for (const each of names.sort()) {
      const entry = { local: join(folder.local, each), relative: `${folder.relative}/${each}` }
      const found = await lstat(entry.local).catch((error: unknown) =>
        Promise.reject(localFailure(entry.local, 'read', error)),
      )
      if (found.isDirectory()) below.push(entry)
      else if (found.isFile()) add(tree, entry, found.size)
      else tree.skipped.push({ local: entry.local, what: whatItIs(found) })
    }
    pending.push(...below.reverse())
  }
  return tree
}

function add(tree: LocalTree, entry: LocalEntry, sizeBytes: number): void {
  tree.files.push({ ...entry, sizeBytes })
  tree.sizeBytes += sizeBytes
}

function whatItIs(found: Stats): string {
  if (found.isSymbolicLink()) return 'a link'
  if (found.isSocket()) return 'a socket'
  if (found.isFIFO()) return 'a pipe'
  return 'a device'
}
