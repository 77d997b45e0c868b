import { createRequire } from 'node:module'
import { types } from 'node:util'
import { isLoaded } from './function-inspector.ts'
import { entryFile, entrySubpaths, readManifest, subpathOf, type LoadedAs } from './package-files.ts'

/** How a value is found in a package on any peer. */
export interface PackageName {
  package: string
  /** Of the package here. */
  version: string
  /** '.' or './fp', as in `exports` of its package.json. */
  subpath: string
  as: LoadedAs
  /** Names from the module's exports to the value; none for `module.exports` itself. */
  path: string[]
}

type Index = Map<object, string[]>

/** Names looked through from an export to a value: `lib.fp.map` is three. */
const DEPTH_MAX = 3
/** Values of one module that are given a name; far beyond what any library exports by hand. */
const INDEX_MAX = 20_000
/** Modules that are loaded to look for a value, when none of those loaded already exports it. */
const LOADS_MAX = 64

const indexes = new Map<string, Index>()
const load = createRequire(import.meta.url)

const found = new WeakMap<object, PackageName>()

/** The public name of a function of a package; undefined when the package exports it under none. */
export function packageExport(
  value: object,
  file: string,
  name: string,
  root: string,
): PackageName | undefined {
  const known = found.get(value) ?? search(value, file, name, root)
  if (known !== undefined) found.set(value, known)
  return known
}

function search(value: object, file: string, name: string, root: string): PackageName | undefined {
  const manifest = readManifest(root)
  if (manifest === undefined) return undefined
  const entries = new Map<string, Pick<PackageName, 'subpath' | 'as'>>()
  const add = (subpath: string | undefined, as: LoadedAs): void => {
    const entry = subpath === undefined ? undefined : entryFile(root, manifest, subpath, as)
    if (entry !== undefined && !entries.has(entry)) entries.set(entry, { subpath: subpath!, as })
  }
  for (const subpath of entrySubpaths(manifest)) {
    add(subpath, 'import')
    add(subpath, 'require')
  }
  for (const as of ['import', 'require'] as const) add(subpathOf(root, manifest, file, as), as)
  // What the program has loaded first: to load a module runs it.
  const loaded = [...entries.keys()].filter(isLoaded)
  const others = [...entries.keys()].filter(entry => !loaded.includes(entry)).slice(0, LOADS_MAX)
  for (const entry of [...loaded, ...others]) {
    const path = indexOf(entry).get(value)
    if (path === undefined) continue
    return { package: name, version: manifest.version, ...entries.get(entry)!, path }
  }
  return undefined
}

/** Exports of a module, loaded as `require` does: the very objects that `import` gives, for a module that is one. */
export function moduleExports(file: string): unknown {
  return load(file)
}

function indexOf(file: string): Index {
  const known = indexes.get(file)
  if (known !== undefined) return known
  const index: Index = new Map()
  try {
    fill(index, moduleExports(file))
  } catch {
    // A module that waits at its top level cannot be had at once; one that fails has no exports.
  }
  indexes.set(file, index)
  return index
}

/** Breadth first, so that the shortest name wins; the first of equally short ones. */
function fill(index: Index, exports: unknown): void {
  let level: [value: unknown, path: string[]][] = [[exports, []]]
  for (let depth = 0; depth <= DEPTH_MAX && level.length > 0; depth++) {
    const next: [unknown, string[]][] = []
    for (const [value, path] of level) {
      if (!isObject(value) || types.isProxy(value) || index.has(value) || index.size >= INDEX_MAX) continue
      index.set(value, path)
      for (const [name, member] of membersOf(value, depth === 0)) next.push([member, [...path, name]])
    }
    level = next
  }
}

function* membersOf(value: object, isModule: boolean): Generator<[string, unknown]> {
  for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(value))) {
    if (name === 'module.exports' || name === 'caller' || name === 'arguments') continue
    if ('value' in descriptor) yield [name, descriptor.value]
    else if (isModule) {
      // Compilers write `export … from` as getters of the module's exports.
      try {
        yield [name, Reflect.get(value, name)]
      } catch {
        // An export that has no value yet.
      }
    }
  }
}

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}
