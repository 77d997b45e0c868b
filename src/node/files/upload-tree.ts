import { hasCode, ShoalError } from '../../base/index.ts'
import { joinNames, pathNames, type FileClient, type FileEntry } from '../../dht/index.ts'
import { isOfOneFile } from './download.ts'
import { readLocal } from './local-file.ts'
import type { LocalEntry, LocalTree } from './local-tree.ts'
import { inParallel } from './parallel.ts'
import { uploadFile, type Uploaded, type UploadOptions } from './upload.ts'

export interface TreeUploadOptions extends UploadOptions {
  /** Files under way at a time, large ones no more than four. @default 64: small ones wait for the log and for disks, which take many at once */
  parallel?: number
  /** Told of each file that is stored; and of each that failed for a reason of its own, after which the others go on. */
  onFile?: (file: Uploaded) => void
  onFailed?: (local: string, error: unknown) => void
}

const UPLOADS_PARALLEL = 64
/** Each keeps queues of a few MiB at the peer that takes it, and a few fill the network. */
const LARGE_PARALLEL = 4
const LARGE_BYTES = 2 ** 20

/**
 * Stores what was found under local paths. One goes to the very path, or into it when that is a directory or ends with a slash; several go
 * into it. A directory that is there already is added to.
 * @throws NOT_FOUND, NOT_A_DIRECTORY for the target, and what ends them all
 */
export async function uploadTrees(
  files: FileClient,
  trees: readonly LocalTree[],
  target: string,
  options: TreeUploadOptions = {},
): Promise<void> {
  const { parallel = UPLOADS_PARALLEL, onFile, onFailed, ...put } = options
  const { signal } = put
  const into = await isInto(files, trees, target, put)
  const jobs: { local: string; path: string; isLarge: boolean; isNested: boolean }[] = []
  for (const tree of trees) {
    const root = into ? under(target, tree.name) : joinNames(pathNames(target))
    const pathOf = (entry: LocalEntry): string => under(root, entry.relative.slice(tree.name.length + 1))
    if (!tree.isFolder) jobs.push({ ...jobOf(tree.files[0]!), path: root, isNested: false })
    else {
      await makeRoot(files, root, put)
      for (const file of tree.files) jobs.push({ ...jobOf(file), path: pathOf(file), isNested: true })
      await makeEmptyFolders(files, tree, pathOf, parallel, signal)
    }
  }
  const store = async (
    { local, path, isNested }: (typeof jobs)[number],
    stop: AbortSignal,
  ): Promise<void> => {
    try {
      const source = await readLocal(local)
      const parents = isNested || into ? { parents: true } : {}
      const stored = await uploadFile(files, source, path, { ...put, ...parents, signal: stop })
      onFile?.(stored)
    } catch (error) {
      if (stop.aborted || onFailed === undefined || !isOfOneFile(error)) throw error
      onFailed(local, error)
    }
  }
  const large = jobs.filter(({ isLarge }) => isLarge)
  const small = jobs.filter(({ isLarge }) => !isLarge)
  await inParallel(large, Math.min(parallel, LARGE_PARALLEL), signal, store)
  await inParallel(small, parallel, signal, store)
}

function jobOf({ local, sizeBytes }: LocalTree['files'][number]): { local: string; isLarge: boolean } {
  return { local, isLarge: sizeBytes >= LARGE_BYTES }
}

async function isInto(
  files: FileClient,
  trees: readonly LocalTree[],
  target: string,
  { signal, parents = false }: UploadOptions,
): Promise<boolean> {
  const there = await statOr(files, target, signal)
  if (there?.type === 'directory') return true
  if (trees.length === 1 && !target.endsWith('/')) return false
  if (there !== undefined)
    throw new ShoalError(
      'NOT_A_DIRECTORY',
      { path: target },
      `${target} is a file, and ${trees.length === 1 ? 'the slash at its end asks for a directory' : 'several files go into a directory'}`,
    )
  if (!parents)
    throw new ShoalError('NOT_FOUND', { path: target }, `${target} does not exist and is to be a directory`)
  await files.mkdir(target, { parents: true, signal })
  return true
}

async function makeRoot(
  files: FileClient,
  root: string,
  { signal, parents = false }: UploadOptions,
): Promise<void> {
  const there = await statOr(files, root, signal)
  if (there?.type === 'file')
    throw new ShoalError(
      'NOT_A_DIRECTORY',
      { path: root },
      `${root} is a file; a directory cannot replace it`,
    )
  if (there === undefined) await files.mkdir(root, { parents, signal })
}

/** The others come with their files. */
async function makeEmptyFolders(
  files: FileClient,
  tree: LocalTree,
  pathOf: (entry: LocalEntry) => string,
  parallel: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const used = new Set(
    [...tree.files, ...tree.folders].map(({ relative }) => relative.replace(/\/[^/]*$/, '')),
  )
  const empty = tree.folders.slice(1).filter(({ relative }) => !used.has(relative))
  await inParallel(empty, parallel, signal, async (folder, stop) => {
    await files.mkdir(pathOf(folder), { parents: true, signal: stop })
  })
}

async function statOr(
  files: FileClient,
  path: string,
  signal: AbortSignal | undefined,
): Promise<FileEntry | undefined> {
  try {
    return await files.stat(path, { signal })
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return undefined
    throw error
  }
}

/** Names are taken as they are: only the mesh says which of them will do. */
function under(directory: string, relative: string): string {
  const base = directory.replace(/\/+$/, '')
  return relative === '' ? (base === '' ? '/' : base) : `${base}/${relative}`
}
