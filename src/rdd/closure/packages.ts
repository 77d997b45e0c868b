import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ShoalError } from '../../base/index.ts'
import { moduleExports, type PackageName } from './package-exports.ts'
import { entryFile, findPackage, packageName } from './package-files.ts'

/** A package that closures name. */
export interface PackageNeed {
  name: string
  /** Of the package where the closure was captured; undefined when it is not there. */
  version?: string
}

/** A package that a peer lacks, or has in a version that will not do. */
export interface PackageLack {
  name: string
  wanted?: string
  /** The version that is there instead. */
  have?: string
}

export interface PackageCheck {
  missing: PackageLack[]
  /** Other versions that ought to do, as ready text without the peer's name. */
  warnings: string[]
}

/** The packages that a peer can name: those that Node would find from one directory. */
export class Packages {
  readonly directory: string

  /** @param directory its `node_modules`, and those of the directories above. @default the working directory */
  constructor(directory = '.') {
    this.directory = resolve(directory)
  }

  check(needs: readonly PackageNeed[]): PackageCheck {
    const missing: PackageLack[] = []
    const warnings: string[] = []
    for (const { name, version } of needs) {
      const have = findPackage(name, this.directory)?.manifest.version
      const wanted = version === undefined ? {} : { wanted: version }
      if (have === undefined) missing.push({ name, ...wanted })
      else if (version === undefined || have === version) continue
      else if (isCompatible(version, have)) {
        warnings.push(`has ${name} ${have}; the closure was captured with ${version}`)
      } else missing.push({ name, ...wanted, have })
    }
    return { missing, warnings }
  }

  /** The value itself, of this process. @throws PACKAGE_MISSING */
  named({ package: name, version, subpath, as, path }: PackageName): unknown {
    const found = findPackage(name, this.directory)
    if (found === undefined) throw packageMissing({ name, wanted: version }, this.directory)
    const what = `${name}${subpath.slice(1)}`
    const lacks = (cause?: unknown): ShoalError =>
      new ShoalError(
        'PACKAGE_MISSING',
        { package: name, peer: '', wanted: version, have: found.manifest.version },
        `version ${found.manifest.version} of ${name} in ${found.root} has no ${[what, ...path].join('.')}, ` +
          `which version ${version} has: install that`,
        cause === undefined ? undefined : { cause },
      )
    const file = entryFile(found.root, found.manifest, subpath, as)
    if (file === undefined) throw lacks()
    let value: unknown
    try {
      value = moduleExports(file)
    } catch (error) {
      throw lacks(error)
    }
    for (const member of path) {
      const holder = value as Record<string, unknown> | null | undefined
      if (holder === null || holder === undefined || !(member in Object(holder))) throw lacks()
      value = holder[member]
    }
    return value
  }

  /** `import(specifier)` of a closure: of a package, a module of Node, an absolute path. It has no file to be relative to. */
  async import(specifier: string): Promise<unknown> {
    if (/^(node|data):/.test(specifier) || process.getBuiltinModule(specifier) !== undefined) {
      return await import(specifier)
    }
    if (specifier.startsWith('/')) return await import(pathToFileURL(specifier).href)
    if (specifier.startsWith('file:')) return await import(specifier)
    const name = packageName(specifier)
    if (name === undefined) {
      throw new ShoalError(
        'CLOSURE_REFUSED',
        { variable: '', reason: `import(${JSON.stringify(specifier)})` },
        `import(${JSON.stringify(specifier)}) names a file of the requester; import it at the top of the program and capture what it exports`,
      )
    }
    const found = findPackage(name, this.directory)
    const file = found && entryFile(found.root, found.manifest, `.${specifier.slice(name.length)}`, 'import')
    if (file === undefined) throw packageMissing({ name }, this.directory)
    return await import(pathToFileURL(file).href)
  }
}

let here: Packages | undefined

/** Those of this thread, for the closures that it revives. */
export function packagesHere(): Packages {
  return (here ??= new Packages())
}

/** @param directory instead of the working directory */
export function usePackagesOf(directory: string): void {
  here = new Packages(directory)
}

/** @param peer its name, for people; '' when the executor adds it */
export function packageMissing(
  { name, wanted, have }: PackageLack,
  directory: string,
  peer: { id: string; name: string } = { id: '', name: '' },
): ShoalError<'PACKAGE_MISSING'> {
  const who = peer.name === '' ? 'this peer' : `peer ${peer.name}`
  const exact = wanted === undefined || wanted === '' ? name : `${name}@${wanted}`
  const lack =
    have === undefined
      ? `has no package "${name}" in ${directory} or above${wanted === undefined ? '' : ` (the closure was captured with ${wanted})`}`
      : `has "${name}" ${have} in ${directory} or above, but the closure was captured with ${wanted}`
  return new ShoalError(
    'PACKAGE_MISSING',
    {
      package: name,
      peer: peer.id,
      ...(wanted === undefined ? {} : { wanted }),
      ...(have === undefined ? {} : { have }),
    },
    `${who} ${lack}: npm install ${exact} there, or start the peer with --packages DIR`,
  )
}

/** As npm's caret has it: nothing left of the first digit that counts may differ. */
function isCompatible(wanted: string, have: string): boolean {
  const [a, b] = [wanted, have].map(version => /^(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number))
  if (a === undefined || b === undefined) return false
  const counts = a.findIndex(part => part > 0)
  return a.slice(0, (counts < 0 ? 2 : counts) + 1).every((part, i) => part === b[i])
}
