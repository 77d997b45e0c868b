import type { AbortOptions } from '../../base/index.ts'
import { invalidPath, type FileClient, type FileEntry, type PutReply } from '../../dht/index.ts'
import { inParallel } from './parallel.ts'
import { walkTree } from './tree.ts'

export interface TreeCopyOptions extends AbortOptions {
  /** Replace files that are there. @default false: ALREADY_EXISTS */
  overwrite?: boolean
  /** Files under way at a time. @default 16 */
  parallel?: number
  onBytes?: (bytes: number) => void
  onFile?: (copy: PutReply) => void
}

/** The bytes of each pass through here. */
const COPIES_PARALLEL = 16

type Copier = Pick<FileClient, 'ls' | 'stat' | 'mkdir'> & {
  cp: (
    from: string,
    to: string,
    options: Omit<TreeCopyOptions, 'parallel' | 'onFile'> & { parents: true },
  ) => Promise<PutReply>
}

/**
 * Copies a directory with all in it to another path of the mesh, which is made.
 * @throws INVALID_PATH for a copy into itself, and as `cp` does
 */
export async function copyTree(
  files: Copier,
  from: string,
  to: string,
  options: TreeCopyOptions = {},
): Promise<void> {
  const { parallel = COPIES_PARALLEL, onFile, signal, ...rest } = options
  const { path: root } = await files.stat(from, { signal })
  if (root === '/' || `${to}/`.startsWith(`${root}/`))
    throw invalidPath(to, `it lies inside ${root}, and a directory cannot be copied into itself`)
  await files.mkdir(to, { parents: true, signal })
  const pathOf = (entry: FileEntry): string => to + entry.path.slice(root.length)
  const found = async function* (): AsyncGenerator<FileEntry> {
    for await (const entry of walkTree(files, root, { signal })) {
      if (entry.type === 'file') yield entry
      else if (entry.children === 0) await files.mkdir(pathOf(entry), { parents: true, signal })
    }
  }
  await inParallel(found(), parallel, signal, async (entry, stop) => {
    const copy = await files.cp(entry.path, pathOf(entry), { ...rest, parents: true, signal: stop })
    onFile?.(copy)
  })
}
