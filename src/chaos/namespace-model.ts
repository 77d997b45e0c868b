import type { Model } from './model.ts'
import type { Operation } from './operation.ts'

/** Content of each file by its path. */
type Files = ReadonlyMap<string, string>

/**
 * Files with small contents, none at first; directories are taken for granted. Each operation names its file as `key`:
 *
 * - `create` content → null, or ALREADY_EXISTS
 * - `overwrite` content → null
 * - `delete` → null, or NOT_FOUND
 * - `rename` path → null, or NOT_FOUND, or ALREADY_EXISTS
 * - `read` → content, or NOT_FOUND
 * - `stat` → bytes of the content, or NOT_FOUND
 * - `list` of a directory → names of the files in it, or NOT_FOUND, which is like none
 *
 * Any other error says that nothing was changed, and nothing more. Files that a rename connects are checked together, all
 * others one by one. A list is checked against each such part by what it says about the part's files: that all parts
 * were so at one moment is not checked.
 */
export const namespaceModel: Model<Files> = {
  name: 'namespace',
  operations: ['create', 'overwrite', 'delete', 'rename', 'read', 'stat', 'list'],
  init: () => new Map(),
  step(files, operation) {
    const { op, key, input, output } = operation
    const content = files.get(key)
    const error = output !== null && 'error' in output ? output.error : undefined
    if (error === 'NOT_FOUND' && op !== 'create' && op !== 'overwrite' && op !== 'list') {
      return content === undefined ? files : undefined
    }
    if (error === 'ALREADY_EXISTS') {
      const target = op === 'rename' ? textOf(input) : key
      return files.has(target) ? files : undefined
    }
    if (error !== undefined && op !== 'list') return files
    switch (op) {
      case 'create':
        return content === undefined ? changed(files, key, textOf(input)) : undefined
      case 'overwrite':
        return changed(files, key, textOf(input))
      case 'delete':
        return content === undefined ? undefined : changed(files, key, undefined)
      case 'rename': {
        const to = textOf(input)
        if (content === undefined || files.has(to)) return undefined
        return changed(changed(files, key, undefined), to, content)
      }
      case 'list':
        return lists(files, operation) ? files : undefined
      default:
        return observes(op, content, output) ? files : undefined
    }
  },
  fingerprint: files => JSON.stringify([...files].sort(([a], [b]) => (a < b ? -1 : 1))),
  split,
}

function changed(files: Files, key: string, content: string | undefined): Files {
  const next = new Map(files)
  if (content === undefined) next.delete(key)
  else next.set(key, content)
  return next
}

function observes(op: string, content: string | undefined, output: Operation['output']): boolean {
  // A question without an answer says nothing.
  if (output === null || 'error' in output) return true
  if (content === undefined) return false
  return output.ok === (op === 'stat' ? new TextEncoder().encode(content).length : content)
}

/** After `split`: `input` has the paths it speaks about, and its answer only those of them that it saw. */
function lists(files: Files, { input, output }: Operation): boolean {
  if (output === null || !Array.isArray(input)) return true
  if ('error' in output) return output.error !== 'NOT_FOUND' || !input.some(path => files.has(textOf(path)))
  const seen = new Set(Array.isArray(output.ok) ? output.ok : [])
  return input.every(path => files.has(textOf(path)) === seen.has(path))
}

function split(history: readonly Operation[]): Map<string, Operation[]> {
  const groups = new Groups()
  for (const { op, key, input, output } of history) {
    if (op === 'rename') groups.join(key, textOf(input))
    else if (op !== 'list') groups.add(key)
    // Also files that nobody ever wrote: then the list is wrong.
    else for (const name of namesIn(output)) groups.add(pathOf(key, name))
  }
  const parts = new Map<string, Operation[]>()
  const seen = contentsSeen(history)
  for (const members of groups.all()) {
    const inPart = new Set(members)
    const operations: Operation[] = []
    for (const operation of history) {
      if (operation.op !== 'list') {
        if (inPart.has(operation.key)) operations.push(plain(operation, seen))
        continue
      }
      const about = members.filter(path => parentOf(path) === operation.key)
      if (about.length > 0 && operation.output !== null) operations.push(projected(operation, about))
    }
    parts.set(members.join(' '), operations)
  }
  return parts
}

function contentsSeen(history: readonly Operation[]): Set<string> {
  const seen = new Set<string>()
  for (const { op, output } of history) {
    if (op === 'read' && output !== null && 'ok' in output) seen.add(textOf(output.ok))
  }
  return seen
}

/**
 * A write of unknown outcome whose content nobody ever read is like any other such write of that many bytes: made the
 * same, so that the checker need not try each in the place of each.
 */
function plain(operation: Operation, seen: ReadonlySet<string>): Operation {
  const { op, input, output } = operation
  if (output !== null || (op !== 'create' && op !== 'overwrite') || seen.has(textOf(input))) return operation
  return { ...operation, input: '\0'.repeat(new TextEncoder().encode(textOf(input)).length) }
}

function projected(list: Operation, about: string[]): Operation {
  const { key, output } = list
  if (output === null || 'error' in output) return { ...list, input: about }
  const seen = new Set(namesIn(output).map(name => pathOf(key, name)))
  return { ...list, input: about, output: { ok: about.filter(path => seen.has(path)) } }
}

function textOf(value: Operation['input']): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function namesIn(output: Operation['output']): string[] {
  return output !== null && 'ok' in output && Array.isArray(output.ok) ? output.ok.map(textOf) : []
}

function pathOf(directory: string, name: string): string {
  return directory === '/' ? `/${name}` : `${directory}/${name}`
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/'
}

/** Paths, and which belong together (union–find). */
class Groups {
  readonly #parent = new Map<string, string>()

  add(path: string): void {
    if (!this.#parent.has(path)) this.#parent.set(path, path)
  }

  join(a: string, b: string): void {
    this.add(a)
    this.add(b)
    this.#parent.set(this.#root(a), this.#root(b))
  }

  all(): string[][] {
    return [...Map.groupBy(this.#parent.keys(), path => this.#root(path)).values()]
  }

  #root(path: string): string {
    let at = path
    for (let up = this.#parent.get(at)!; up !== at; up = this.#parent.get(at)!) at = up
    return at
  }
}
