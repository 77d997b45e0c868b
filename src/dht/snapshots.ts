import { invariant, ShoalError } from '../base/index.ts'
import {
  upwards,
  type Attributes,
  type DirectoryNode,
  type DirectoryVersion,
  type FileNode,
  type SnapshotRecord,
  type TreeNode,
} from './namespace-nodes.ts'

/** What `rm` takes away lies here for a while, under its log time and the path it had: `/.trash/1760000000000/books/a.txt`. */
export const TRASH_NAME = '.trash'
/** Under this name a directory's snapshots can be read; nothing may be called so. */
export const SNAPSHOT_NAME = '.snapshot'

/**
 * What directories were when snapshots of them were made. Making one costs nothing; later each directory below it remembers,
 * at its first change, what the changed name meant before.
 *
 * A directory is within a snapshot when it, or one above it, has the snapshot, or when it was moved out from there (pins).
 */
export class Snapshots {
  #lastSeq = 0
  /** Where each snapshot is. */
  readonly #roots = new Map<number, DirectoryNode>()
  /** Directories with a version for the snapshot. */
  readonly #versioned = new Map<number, Set<DirectoryNode>>()

  get lastSeq(): number {
    return this.#lastSeq
  }

  get size(): number {
    return this.#roots.size
  }

  roots(): Iterable<DirectoryNode> {
    return this.#roots.values()
  }

  create(directory: DirectoryNode, name: string, createdMs: number): SnapshotRecord {
    const record = { seq: ++this.#lastSeq, name, createdMs }
    directory.snapshots = [...(directory.snapshots ?? []), record]
    this.#roots.set(record.seq, directory)
    return record
  }

  /** Answers the files that nothing shows any more. */
  delete(directory: DirectoryNode, { seq }: SnapshotRecord): FileNode[] {
    const freed: FileNode[] = []
    for (const holder of this.#versioned.get(seq) ?? []) this.#forget(holder, seq, freed)
    this.#versioned.delete(seq)
    this.#roots.delete(seq)
    const left = directory.snapshots?.filter(record => record.seq !== seq)
    directory.snapshots = left?.length === 0 ? undefined : left
    return freed
  }

  /** Living snapshots that the directory is within. */
  covering(directory: DirectoryNode): number[] {
    if (this.#roots.size === 0) return []
    const seqs = new Set<number>()
    for (const above of upwards(directory)) {
      for (const { seq } of above.snapshots ?? []) seqs.add(seq)
      for (const seq of above.pins ?? []) if (this.#roots.has(seq)) seqs.add(seq)
      if (isTrash(above.parent, above.name)) break
    }
    return [...seqs].sort((a, b) => a - b)
  }

  /** Call before anything of a directory changes. */
  preserve(directory: DirectoryNode): void {
    const needed = this.covering(directory).filter(seq => seq > directory.savedSeq)
    directory.savedSeq = this.#lastSeq
    if (needed.length === 0) return
    const { modifiedMs, attributes } = directory
    this.restoreVersion(directory, { needed, entries: new Map(), modifiedMs, attributes })
  }

  /** Call before a name changes. True when a snapshot goes on showing `old` under it. */
  record(directory: DirectoryNode, name: string, old: TreeNode | null): boolean {
    this.preserve(directory)
    const entries = directory.versions?.at(-1)?.entries
    if (entries === undefined || entries.has(name)) return false
    entries.set(name, old)
    return old !== null
  }

  /** Call before a directory moves: the snapshots that it was within go on showing it. */
  pin(directory: DirectoryNode): void {
    const seqs = this.covering(directory)
    directory.pins = seqs.length === 0 ? undefined : seqs
  }

  /** What a name in a directory meant for a snapshot. */
  childAt(directory: DirectoryNode, name: string, seq: number): TreeNode | undefined {
    if (isTrash(directory, name)) return undefined
    for (const version of versionsSince(directory, seq)) {
      const then = version.entries.get(name)
      if (then !== undefined) return then ?? undefined
    }
    return directory.entries.get(name)
  }

  entriesAt(directory: DirectoryNode, seq: number): ReadonlyMap<string, TreeNode> {
    const changed = versionsSince(directory, seq)
    if (changed.length === 0 && !directory.entries.has(TRASH_NAME)) return directory.entries
    const entries = new Map(directory.entries)
    for (const version of changed.toReversed()) {
      for (const [name, then] of version.entries) {
        if (then === null) entries.delete(name)
        else entries.set(name, then)
      }
    }
    if (isTrash(directory, TRASH_NAME)) entries.delete(TRASH_NAME)
    return entries
  }

  attributesAt(
    directory: DirectoryNode,
    seq: number,
  ): { modifiedMs: number; attributes: Attributes | undefined } {
    return versionsSince(directory, seq)[0] ?? directory
  }

  /** A version made now, or one out of a snapshot of the log. */
  restoreVersion(directory: DirectoryNode, version: DirectoryVersion): void {
    directory.versions = [...(directory.versions ?? []), version]
    for (const seq of version.needed) {
      const versioned = this.#versioned.get(seq)
      if (versioned === undefined) this.#versioned.set(seq, new Set([directory]))
      else versioned.add(directory)
    }
  }

  restore(lastSeq: number): void {
    this.#lastSeq = lastSeq
    this.#roots.clear()
    this.#versioned.clear()
  }

  restoreRoot(directory: DirectoryNode, records: SnapshotRecord[]): void {
    directory.snapshots = records
    for (const { seq } of records) this.#roots.set(seq, directory)
  }

  /** @param directories all there are, those that only snapshots show included. */
  assertInvariants(directories: ReadonlySet<DirectoryNode>): void {
    let records = 0
    for (const directory of directories) {
      for (const { seq } of directory.snapshots ?? []) {
        records++
        invariant(this.#roots.get(seq) === directory, `snapshot ${seq} is found`)
      }
      invariant(directory.savedSeq <= this.#lastSeq, 'no directory knows snapshots to come')
      let last = 0
      for (const { needed } of directory.versions ?? []) {
        invariant(needed.length > 0, 'a version is needed')
        for (const seq of needed) {
          invariant(seq > last, 'versions are in order')
          invariant(this.#roots.has(seq), 'a version is for a living snapshot')
          invariant(this.#versioned.get(seq)?.has(directory) === true, 'a version is found by its snapshot')
          last = seq
        }
      }
    }
    invariant(records === this.#roots.size, 'every snapshot lies in a directory')
    for (const [seq, versioned] of this.#versioned) {
      for (const directory of versioned) {
        const listed = directory.versions?.some(({ needed }) => needed.includes(seq))
        invariant(listed === true, 'a directory that is listed for a snapshot has a version for it')
      }
    }
  }

  #forget(directory: DirectoryNode, seq: number, freed: FileNode[]): void {
    const versions = directory.versions ?? []
    const at = versions.findIndex(({ needed }) => needed.includes(seq))
    const version = versions[at]
    invariant(version !== undefined, 'a directory that is listed for a snapshot has a version for it')
    version.needed = version.needed.filter(each => each !== seq)
    if (version.needed.length > 0) return
    const earlier = versions[at - 1]
    for (const [name, then] of version.entries) {
      // The version before counts on what this one said, where it says nothing itself.
      if (earlier !== undefined && !earlier.entries.has(name)) earlier.entries.set(name, then)
      else if (then?.kind === 'file') freed.push(then)
    }
    const left = versions.toSpliced(at, 1)
    directory.versions = left.length === 0 ? undefined : left
  }
}

/** The version that the snapshot shows and the later ones; none when nothing changed since. */
function versionsSince({ versions = [] }: DirectoryNode, seq: number): readonly DirectoryVersion[] {
  const at = versions.findIndex(({ needed }) => needed.includes(seq))
  return at === -1 ? [] : versions.slice(at)
}

/** The trash is in no snapshot: what is emptied out of it must go. */
function isTrash(directory: DirectoryNode | undefined, name: string): boolean {
  return name === TRASH_NAME && directory?.name === ''
}

export function readOnly(path: string): ShoalError<'READ_ONLY'> {
  return new ShoalError(
    'READ_ONLY',
    { path },
    `${path} is in a snapshot (${SNAPSHOT_NAME}), which cannot be changed`,
  )
}
