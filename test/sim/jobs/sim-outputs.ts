import { asFileId, type FileId } from '../../../src/base/index.ts'
import { Namespace, type NamespaceResult } from '../../../src/dht/index.ts'
import { check } from '../check.ts'

const LEASE_MS = 3_600_000

/** The files of the mesh as saved datasets see them: the real namespace behind a log that never fails. A part is a number. */
export class SimOutputs {
  readonly #namespace = new Namespace({ slotCount: 4 })
  readonly #values: number[] = []
  #index = 0

  /** A part file that nobody sees yet; its number. */
  write(nowMs: number, value: number): number {
    const part = this.#values.push(value) - 1
    const begun = this.#apply(
      {
        type: 'begin-file',
        path: `/unseen/${part}`,
        fileId: fileIdOf(part),
        leaseMs: LEASE_MS,
        parents: true,
      },
      nowMs,
    )
    check(begun.ok, `part ${part} cannot be written: ${begun.ok ? '' : begun.error.message}`)
    return part
  }

  /** A part of a detached job, visible at once; the first one stays. */
  keep(directory: string, partition: number, value: number, nowMs: number): void {
    const path = `${directory}/part-${String(partition).padStart(5, '0')}`
    const fileId = fileIdOf(this.#values.push(value) - 1)
    const begun = this.#apply({ type: 'begin-file', path, fileId, leaseMs: LEASE_MS, parents: true }, nowMs)
    if (begun.ok) this.#apply({ type: 'commit-file', fileId, blockCount: 0 }, nowMs)
  }

  /** Partitions of which a detached job has kept a part. */
  kept(directory: string): number[] {
    if (!this.#namespace.exists(directory)) return []
    return this.#namespace.list(directory).map(({ name }) => Number(name.slice('part-'.length)))
  }

  /** All parts at once, out of the directory in which they were kept. */
  gather(path: string, winner: string, directory: string, files: number, nowMs: number): NamespaceResult {
    return this.#apply(
      { type: 'commit-output', path, winner, parts: [], gathered: { directory, files } },
      nowMs,
    )
  }

  /** What is written in a part. */
  valueOf(part: number): number | undefined {
    return this.#values[part]
  }

  commit(path: string, winner: string, parts: readonly number[], nowMs: number): NamespaceResult {
    const files = parts.map(part => ({ fileId: fileIdOf(part), blockCount: 0 }))
    return this.#apply({ type: 'commit-output', path, winner, parts: files }, nowMs)
  }

  /** What the files of a saved dataset say, in order; undefined when there is none. */
  read(path: string): (number | undefined)[] | undefined {
    if (!this.#namespace.exists(path)) return undefined
    const parts = this.#namespace.list(path).map(({ fileId }) => Number.parseInt(String(fileId), 16))
    return parts.map(part => this.#values[part])
  }

  #apply(command: Parameters<Namespace['apply']>[0], nowMs: number): NamespaceResult {
    const result = this.#namespace.apply(command, { index: ++this.#index, term: 1, timeMs: 1 + nowMs })
    this.#namespace.assertInvariants()
    return result
  }
}

function fileIdOf(part: number): FileId {
  return asFileId(part.toString(16).padStart(32, '0'))
}
