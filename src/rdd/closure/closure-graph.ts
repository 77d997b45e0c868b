import type { SharedHandle, ShippedHandle } from './shared-handle.ts'

import type { PackageName } from './package-exports.ts'
import type { PackageNeed } from './packages.ts'

/**
 * A captured closure as plain data: a table of nodes, and values that point into it. Functions are nodes of their own
 * kind that only capture makes, so no value of the user's, whatever its shape, can turn into code.
 */
export interface CapturedClosure {
  root: Value
  nodes: Node[]
  /** Packages that it names, by their names. */
  packages: PackageNeed[]
  /** What works, but perhaps not as meant; in the order found, for people to read. */
  warnings: string[]
  /** Estimate of the encoded size that the limit was checked against. */
  sizeBytes: number
  /** Broadcasts and accumulators that it refers to. */
  shared: readonly SharedHandle[]
}

export type Primitive = undefined | null | boolean | number | string | bigint

export type Value =
  | { kind: 'primitive'; value: Primitive }
  /** Index in the table of nodes. */
  | { kind: 'node'; id: number }
  /** Found by name on the executing peer: `['Math', 'max']`, or `[]` for the global object itself. */
  | { kind: 'global'; path: string[] }
  /** A module of Node, or what is found under it by name. */
  | { kind: 'builtin'; module: string; path: string[] }
  /** `Symbol.for(key)`, or `Symbol[key]` when well known. */
  | SymbolValue
  /** A hole in an array. */
  | { kind: 'hole' }

export interface SymbolValue {
  kind: 'symbol'
  key: string
  wellKnown: boolean
}

export interface Property {
  key: string | SymbolValue
  value: Value
}

/** What any object may have besides its content. */
export interface ObjectParts {
  /** Absent: the usual prototype of its kind. */
  proto?: Value
  properties: Property[]
}

export type Node =
  | ({ kind: 'object' } & ObjectParts)
  | ({ kind: 'array'; items: Value[] } & ObjectParts)
  | ({ kind: 'map'; entries: [Value, Value][] } & ObjectParts)
  | ({ kind: 'set'; items: Value[] } & ObjectParts)
  | ({ kind: 'error' } & ObjectParts)
  /** Made again by `new constructor(...args)`; only constructors of `rebuildable` (see native-objects.ts). */
  | ({ kind: 'native'; constructor: string; args: Primitive[] } & ObjectParts)
  /** Raw bytes under a typed array, a Buffer, a DataView or an ArrayBuffer; each gets its own copy. */
  | { kind: 'bytes'; view: string; bytes: Uint8Array }
  | { kind: 'prototype-of'; constructor: Value }
  /** A shared variable by its id; `of` is what its task must know of it. */
  | { kind: 'shared'; what: ShippedHandle['what']; id: string; of: Value }
  | { kind: 'bound'; target: Value; thisArg: Value; args: Value[] }
  | FunctionNode
  /** A class that the user declared, by its id: the executing thread has made it before. */
  | { kind: 'declared'; id: string }
  /** Found by name on the executing peer, in a package that is installed there. */
  | ({ kind: 'package' } & PackageName)

export interface Capture {
  name: string
  value: Value
  /** The function assigns it, so it is rebuilt as `let`. */
  assigned: boolean
  /** Read while the function is being defined (`extends`, computed keys): must be whole before. */
  early: boolean
}

export interface FunctionNode {
  kind: 'function'
  /** Text as its author wrote it; a class without the static state that `properties` carries. */
  source: string
  /** 'method' is only an expression inside an object literal. */
  form: 'expression' | 'method'
  /** Name to give an anonymous function; undefined when the text names it. */
  name: string | undefined
  captures: Capture[]
  /** Own enumerable properties, static fields among them. */
  properties: Property[]
  /** What was added to, or put in the place of, the function's prototype object. */
  prototype: { kind: 'extended'; parts: ObjectParts } | { kind: 'replaced'; value: Value } | undefined
  /** Where the text starts in the user's file. */
  location: SourceLocation | undefined
}

export interface SourceLocation {
  /** A path, or the pseudo name of a line typed into a REPL ("REPL1"). */
  file: string
  /** From 1. */
  line: number
  /** From 1. */
  column: number
}
