import { builtinModules } from 'node:module'
import vm from 'node:vm'
import type { Value } from './closure-graph.ts'

/** A value that every peer has under the same name. */
export type Reference = Extract<Value, { kind: 'global' | 'builtin' }>

/** Touching these prints a warning, starts something, or drags in what no closure needs. */
const SKIPPED_MODULES = /^(_|node:|sys$|punycode$|inspector|trace_events$|wasi$|cluster$|repl$|domain$)/

/** Global accessors whose value is worth a name; others (localStorage…) warn when they are read. */
const READ_ACCESSORS = new Set(['process', 'Buffer', 'performance', 'crypto', 'navigator'])

type Index = Map<object, Reference>

/** By global object: functions of a `node:vm` context have the intrinsics of their own realm. */
const globalIndexes = new WeakMap<object, Index>()
let moduleIndex: Index | undefined

/** How an object of Node or of the language is called on any peer; undefined for everything else. */
export function builtinReference(value: object, globals: Iterable<object>): Reference | undefined {
  for (const global of [globalThis, ...globals]) {
    const found = indexOfGlobal(global).get(value)
    if (found !== undefined) return found
  }
  moduleIndex ??= indexModules()
  return moduleIndex.get(value)
}

/** @throws when this peer has nothing of that name. */
export function resolveReference(reference: Reference): unknown {
  let value: unknown = globalThis
  if (reference.kind === 'builtin') {
    value = process.getBuiltinModule(reference.module)
    if (value === undefined) throw new Error(`this peer has no module node:${reference.module}`)
  }
  for (const name of reference.path) {
    const holder = value as Record<string, unknown> | null | undefined
    if (holder === null || holder === undefined || !(name in Object(holder))) {
      throw new Error(`this peer has nothing called ${[...reference.path].join('.')}`)
    }
    value = holder[name]
  }
  return value
}

let standardNames: Set<string> | undefined

/** Global names that every peer has, even where a value cannot be recognised (a wrapped fetch, an own console). */
export function isStandardGlobal(name: string): boolean {
  standardNames ??= new Set([
    ...(vm.runInNewContext('Object.getOwnPropertyNames(globalThis)') as string[]),
    ...HOST_NAMES.split(' '),
  ])
  return standardNames.has(name)
}

const HOST_NAMES =
  'process global Buffer clearImmediate setImmediate URL URLSearchParams URLPattern DOMException AbortController ' +
  'AbortSignal Event EventTarget CustomEvent TextEncoder TextDecoder TransformStream WritableStream ReadableStream ' +
  'TextEncoderStream TextDecoderStream CompressionStream DecompressionStream clearInterval clearTimeout setInterval ' +
  'setTimeout queueMicrotask structuredClone atob btoa BroadcastChannel MessageChannel MessagePort Blob File ' +
  'Performance PerformanceObserver performance fetch FormData Headers Request Response WebSocket crypto Crypto ' +
  'CryptoKey SubtleCrypto navigator console'

function indexOfGlobal(global: object): Index {
  const known = globalIndexes.get(global)
  if (known !== undefined) return known
  const index: Index = new Map()
  index.set(global, { kind: 'global', path: [] })
  for (const name of Object.getOwnPropertyNames(global)) {
    // Only what the language or Node defines: a user's own globals are captured by value.
    if (!isStandardGlobal(name)) continue
    const value = ownValue(global, name, global === globalThis && READ_ACCESSORS.has(name))
    if (!isObject(value)) continue
    if (name === 'globalThis' || name === 'global') {
      // In a REPL's context this is another object than the context's own global, with the same variables.
      add(index, value, { kind: 'global', path: [] })
      continue
    }
    add(index, value, { kind: 'global', path: [name] })
    addMembers(index, value, path => ({ kind: 'global', path: [name, ...path] }))
  }
  // As in `process.env.HOME`: the executing peer's environment, never a copy of this one with its secrets.
  if (global === globalThis) add(index, process.env, { kind: 'global', path: ['process', 'env'] })
  globalIndexes.set(global, index)
  return index
}

function indexModules(): Index {
  const index: Index = new Map()
  for (const module of builtinModules) {
    if (SKIPPED_MODULES.test(module)) continue
    const value: unknown = process.getBuiltinModule(module)
    if (!isObject(value)) continue
    add(index, value, { kind: 'builtin', module, path: [] })
    for (const name of Object.keys(value)) {
      const member = ownValue(value, name, false)
      if (!isObject(member)) continue
      add(index, member, { kind: 'builtin', module, path: [name] })
      if (typeof member === 'function') {
        addMembers(index, member, path => ({ kind: 'builtin', module, path: [name, ...path] }))
      }
    }
  }
  return index
}

/** Functions found directly on a value, its prototype object, and the functions on that. */
function addMembers(index: Index, value: object, reference: (path: string[]) => Reference): void {
  addFunctions(index, value, name => reference([name]))
  const prototype = typeof value === 'function' ? ownValue(value, 'prototype', false) : undefined
  if (!isObject(prototype)) return
  add(index, prototype, reference(['prototype']))
  addFunctions(index, prototype, name => reference(['prototype', name]))
}

function addFunctions(index: Index, holder: object, reference: (name: string) => Reference): void {
  for (const name of Object.getOwnPropertyNames(holder)) {
    const member = ownValue(holder, name, false)
    if (typeof member === 'function') add(index, member, reference(name))
  }
}

function add(index: Index, value: object, reference: Reference): void {
  if (!index.has(value)) index.set(value, reference)
}

function ownValue(holder: object, name: string, readAccessor: boolean): unknown {
  const descriptor = Object.getOwnPropertyDescriptor(holder, name)
  if (descriptor === undefined) return undefined
  return 'value' in descriptor ? descriptor.value : readAccessor ? Reflect.get(holder, name) : undefined
}

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}
