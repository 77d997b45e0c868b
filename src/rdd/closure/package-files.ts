import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, sep } from 'node:path'

/** The parts of package.json that say which file a specifier stands for. */
export interface Manifest {
  name: string
  version: string
  exports: unknown
}

export interface PackageFolder {
  name: string
  /** Absolute. */
  root: string
}

/** Conditions under which `exports` are looked up: those of `import` statements, or of `require`. */
export type LoadedAs = 'import' | 'require'

const CONDITIONS: Record<LoadedAs, ReadonlySet<string>> = {
  import: new Set(['node', 'import', 'module-sync', 'node-addons', 'default']),
  require: new Set(['node', 'require', 'module-sync', 'node-addons', 'default']),
}

/** Lists of alternatives inside each other in `exports`. */
const TARGET_DEPTH_MAX = 16

const NODE_MODULES = `${sep}node_modules${sep}`

/** The packages that a file belongs to, the outermost first; folders of package managers (`.pnpm`) are none. */
export function packagesOf(file: string): PackageFolder[] {
  const folders: PackageFolder[] = []
  for (let at = file.indexOf(NODE_MODULES); at >= 0; at = file.indexOf(NODE_MODULES, at + 1)) {
    const start = at + NODE_MODULES.length
    const [scope = '', inner = '', ...rest] = file.slice(start).split(sep)
    const isScoped = scope.startsWith('@')
    if (scope.startsWith('.') || (isScoped ? rest.length === 0 : inner === '')) continue
    const name = isScoped ? `${scope}/${inner}` : scope
    folders.push({ name, root: file.slice(0, start) + name.replaceAll('/', sep) })
  }
  return folders
}

/** "lodash" of "lodash/fp", "@scope/name" of "@scope/name/x"; undefined for paths, URLs and `node:` modules. */
export function packageName(specifier: string): string | undefined {
  return /^(?:@[\w.~-]+\/)?[\w~-][\w.~-]*(?=\/|$)/.exec(specifier)?.[0]
}

/** undefined when there is none that can be read. */
export function readManifest(root: string): Manifest | undefined {
  try {
    const { name, version, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<
      string,
      unknown
    >
    return {
      name: typeof name === 'string' ? name : '',
      version: typeof version === 'string' ? version : '',
      exports: exports ?? undefined,
    }
  } catch {
    return undefined
  }
}

/** Where Node finds a package from a directory: in its `node_modules`, or in those of the directories above. */
export function findPackage(
  name: string,
  directory: string,
): { root: string; manifest: Manifest } | undefined {
  for (let from = directory; ; from = dirname(from)) {
    const root = join(from, 'node_modules', ...name.split('/'))
    const manifest = readManifest(root)
    if (manifest !== undefined) return { root, manifest }
    if (dirname(from) === from) return undefined
  }
}

/**
 * The file that `name/subpath` stands for, as Node resolves it. @param subpath '.' or './…'
 * @returns undefined when the package does not export it
 */
export function entryFile(
  root: string,
  { exports }: Manifest,
  subpath: string,
  as: LoadedAs,
): string | undefined {
  if (exports === undefined) return legacyEntry(root, subpath)
  const map = exportMap(exports)
  const exact = Object.hasOwn(map, subpath) && !subpath.includes('*') ? map[subpath] : undefined
  const target =
    exact === undefined ? patternTarget(map, subpath, as) : resolved(exact, as, '', TARGET_DEPTH_MAX)
  // `exports` may name nothing outside of its package.
  return target?.startsWith('./') === true && !/(^|\/)\.\.(\/|$)/.test(target)
    ? join(root, target)
    : undefined
}

/** The subpaths that the package names one by one, '.' first. */
export function entrySubpaths({ exports }: Manifest): string[] {
  const named = exports === undefined ? [] : Object.keys(exportMap(exports)).filter(key => !key.includes('*'))
  return ['.', ...named.filter(subpath => subpath !== '.')]
}

/** A subpath that stands for this very file, if there is one: through a pattern, or because nothing is hidden. */
export function subpathOf(root: string, manifest: Manifest, file: string, as: LoadedAs): string | undefined {
  const target = `.${file.slice(root.length).replaceAll(sep, '/')}`
  if (manifest.exports === undefined) return target
  for (const [key, value] of Object.entries(exportMap(manifest.exports))) {
    if (!key.includes('*')) continue
    const pattern = resolved(value, as, '*', TARGET_DEPTH_MAX)
    const star = pattern?.indexOf('*') ?? -1
    if (pattern === undefined || star < 0) continue
    const [before, after] = [pattern.slice(0, star), pattern.slice(star + 1)]
    if (!target.startsWith(before) || !target.endsWith(after)) continue
    if (target.length < before.length + after.length) continue
    const subpath = key.replace('*', target.slice(before.length, target.length - after.length))
    if (entryFile(root, manifest, subpath, as) === file) return subpath
  }
  return undefined
}

function exportMap(exports: unknown): Record<string, unknown> {
  const isMap = typeof exports === 'object' && exports !== null && !Array.isArray(exports)
  const isBySubpath = isMap && Object.keys(exports).some(key => key.startsWith('.'))
  return isBySubpath ? (exports as Record<string, unknown>) : { '.': exports }
}

/** Of several patterns that fit, the one with the longest beginning. */
function patternTarget(map: Record<string, unknown>, subpath: string, as: LoadedAs): string | undefined {
  let best: { key: string; star: string } | undefined
  for (const key of Object.keys(map)) {
    const at = key.indexOf('*')
    if (at < 0) continue
    const [before, after] = [key.slice(0, at), key.slice(at + 1)]
    if (!subpath.startsWith(before) || !subpath.endsWith(after)) continue
    if (subpath.length < before.length + after.length + 1) continue
    if (best !== undefined && best.key.indexOf('*') >= at) continue
    best = { key, star: subpath.slice(before.length, subpath.length - after.length) }
  }
  return best && resolved(map[best.key], as, best.star, TARGET_DEPTH_MAX)
}

function resolved(target: unknown, as: LoadedAs, star: string, depth: number): string | undefined {
  if (typeof target === 'string') return target.replaceAll('*', () => star)
  if (typeof target !== 'object' || target === null || depth === 0) return undefined
  const choices = Array.isArray(target)
    ? target
    : Object.entries(target).flatMap(([condition, value]) => (CONDITIONS[as].has(condition) ? [value] : []))
  for (const choice of choices) {
    const found = resolved(choice, as, star, depth - 1)
    if (found !== undefined) return found
  }
  return undefined
}

/** Without `exports` every file of a package may be named, its ending left out. */
function legacyEntry(root: string, subpath: string): string | undefined {
  try {
    return createRequire(join(root, 'package.json')).resolve(subpath === '.' ? root : join(root, subpath))
  } catch {
    return undefined
  }
}
