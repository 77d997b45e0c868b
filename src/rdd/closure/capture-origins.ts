import { types } from 'node:util'
import { builtinReference, type Reference } from './builtin-references.ts'
import type { CaptureTrail } from './capture-trail.ts'
import { locateFunction, scriptFile } from './function-inspector.ts'
import { functionSource, type FunctionSource } from './function-source.ts'
import { instanceName } from './native-objects.ts'
import { packageExport, type PackageName } from './package-exports.ts'
import { packagesOf } from './package-files.ts'
import { obstacleReasons } from './refusal.ts'
import { isEnginePrototype, isNativeText, ownConstructor, textOf } from './value-shape.ts'

/**
 * Where functions and classes come from, and which of them cannot be copied because of that: those of the engine and of
 * Node go by name or not at all, those of packages and instances with #private state are refused.
 */
export class CaptureOrigins {
  readonly #trail: CaptureTrail
  /** Global objects of other contexts met on the way; their intrinsics are ours by name. */
  readonly #realms = new Set<object>()

  constructor(trail: CaptureTrail) {
    this.#trail = trail
  }

  addRealm(globals: object): void {
    this.#realms.add(globals)
  }

  /** The name under which every peer has it, if it has one. */
  reference(value: object): Reference | undefined {
    return types.isProxy(value) ? undefined : builtinReference(value, this.#realms)
  }

  /** "Map" of Map.prototype in any realm; undefined for prototypes of the user's own. */
  builtinPrototype(proto: object): string | undefined {
    const reference = this.reference(proto)
    if (reference !== undefined)
      return reference.path.findLast(part => part !== 'prototype') ?? reference.kind
    const constructor = ownConstructor(proto)
    if (constructor === undefined) return isEnginePrototype(proto) ? 'native object' : undefined
    return isNativeText(textOf(constructor)) ? constructor.name : undefined
  }

  /** Refuses instances of classes of which something cannot be copied: of Node's, of packages, with #private state. */
  checkClasses(value: object, proto: object, usual: string): void {
    for (let p: object | null = proto; p !== null; p = Object.getPrototypeOf(p) as object | null) {
      const name = this.builtinPrototype(p)
      if (name !== undefined) {
        if (name === 'Object' || isUsual(name, usual) || (usual === 'Error' && name.endsWith('Error')))
          continue
        this.refuseInstance(value)
      }
      const constructor = ownConstructor(p)
      if (constructor === undefined) continue
      const url = locateFunction(constructor)?.url ?? ''
      if (isNodeScript(url)) this.refuseInstance(value)
      const text = textOf(constructor)
      // What is no class has no #private state, and a package's may be sloppy: it travels by name.
      const packaged = this.packaged(constructor, url)
      if (packaged !== undefined && usual === 'Object') this.#refuseHidden(value, packaged.package)
      if (packaged !== undefined && !text.startsWith('class')) continue
      if (this.parse(constructor, text).privateInstances) {
        this.#trail.refuse(
          `it is an instance of ${constructor.name}, whose #private state cannot be copied; ` +
            'capture the values it is made from and make it inside the function',
        )
      }
    }
  }

  /** A library that hides its state from enumeration would find it missing in a copy. */
  #refuseHidden(value: object, from: string): void {
    for (const [name, { enumerable }] of Object.entries(Object.getOwnPropertyDescriptors(value))) {
      if (enumerable === true) continue
      this.#trail.refuse(
        `it was made by the package "${from}", which keeps something hidden in it (${name}) that cannot be copied; ` +
          'make it inside the function, as in mapPartitions()',
      )
    }
  }

  refuseInstance(value: object): never {
    return this.#trail.refuse(
      `it is ${instanceName(value)}, which lives only in this process; ` +
        'make it inside the function, or capture the plain values you need from it',
    )
  }

  /**
   * The name of a function that comes with a package; undefined for one of the user's own.
   * @param url of the script it is from
   * @throws CLOSURE_REFUSED when it is of a package or of Node and nobody else can name it
   */
  packaged(fn: Function, url: string): PackageName | undefined {
    if (isNodeScript(url)) {
      this.#trail.refuse(
        'it is a function inside Node that other peers cannot find by name; wrap it in one of your own',
      )
    }
    if (!url.includes('/node_modules/')) return undefined
    const file = scriptFile(url)
    const folders = packagesOf(file)
    for (const { name, root } of folders) {
      const found = packageExport(fn, file, name, root)
      if (found !== undefined) return found
    }
    const owner = folders.at(-1)?.name
    if (owner === undefined) return undefined
    this.#trail.refuse(
      `it is a function of the package "${owner}" that is none of its exports, so no other peer can find it; ` +
        'make it inside the function from what the package exports, or use what it computes',
    )
  }

  /** Everything is shipped as a strict-mode module: what is sloppy in the user's file cannot run there. */
  parse(fn: Function, text: string): FunctionSource {
    try {
      return functionSource(text)
    } catch (error) {
      if (/^(async\s*)?\*?\s*#/.test(text)) this.#trail.refuse(obstacleReasons.private)
      return this.#trail.refuse(
        `the text of ${fn.name || 'the function'} is no strict JavaScript: ${String(error)}`,
        error,
      )
    }
  }
}

/** "Map" for a Map, "Collator" for an Intl.Collator, the four kinds of boxed values. */
export function isUsual(name: string, usual: string): boolean {
  if (usual === 'Boxed') return /^(Number|String|Boolean|BigInt)$/.test(name)
  return name === usual.slice(usual.lastIndexOf('.') + 1)
}

function isNodeScript(url: string): boolean {
  return /^(node:|internal\/)/.test(url)
}
