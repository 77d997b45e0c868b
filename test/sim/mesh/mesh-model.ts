import { namespaceModel } from '../../../src/chaos/index.ts'
import type { Operation } from '../../../src/chaos/index.ts'

type Files = ReadonlyMap<string, string>

/** In front of a path: what the trash has of it, as a list of contents, the oldest first. */
const TRASH = '\0trash '

/**
 * The model of files, and besides:
 *
 * - `append` content → null, or NOT_FOUND
 * - `trash` → null, or NOT_FOUND
 * - `undelete` → null, or NOT_FOUND (nothing of it in the trash), or ALREADY_EXISTS; nothing ends in the trash by itself
 * - `setrep` → null, or NOT_FOUND
 */
export const meshModel: typeof namespaceModel = {
  ...namespaceModel,
  name: 'files of a simulated mesh',
  operations: [...namespaceModel.operations, 'append', 'trash', 'undelete', 'setrep'],
  step(files, operation) {
    const { op, key, input, output } = operation
    const content = files.get(key)
    const failed = output !== null && 'error' in output
    switch (op) {
      case 'append':
        if (failed) return namespaceModel.step(files, { ...operation, op: 'stat' })
        return content === undefined ? undefined : withChange(files, key, `${content}${input as string}`)
      case 'setrep':
        return namespaceModel.step(files, { ...operation, op: 'stat', output: failed ? output : null })
      case 'trash':
        if (failed) return namespaceModel.step(files, { ...operation, op: 'delete' })
        if (content === undefined) return undefined
        return withTrash(withChange(files, key, undefined), key, [...trashOf(files, key), content])
      case 'undelete':
        return undeleted(files, operation)
      default:
        return namespaceModel.step(files, operation)
    }
  },
}

function undeleted(files: Files, { key, output }: Operation): Files | undefined {
  const removed = trashOf(files, key)
  const last = removed.at(-1)
  const error = output !== null && 'error' in output ? output.error : undefined
  if (error === 'NOT_FOUND') return last === undefined ? files : undefined
  if (error === 'ALREADY_EXISTS') return files.has(key) ? files : undefined
  if (error !== undefined) return files
  if (last === undefined || files.has(key)) return undefined
  return withTrash(withChange(files, key, last), key, removed.slice(0, -1))
}

function trashOf(files: Files, key: string): string[] {
  return JSON.parse(files.get(TRASH + key) ?? '[]') as string[]
}

function withTrash(files: Files, key: string, removed: readonly string[]): Files {
  return withChange(files, TRASH + key, removed.length === 0 ? undefined : JSON.stringify(removed))
}

function withChange(files: Files, key: string, content: string | undefined): Files {
  const next = new Map(files)
  if (content === undefined) next.delete(key)
  else next.set(key, content)
  return next
}
