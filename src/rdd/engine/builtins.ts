import { compileFunction } from 'node:vm'
import { ShoalError } from '../../base/errors.ts'
import type { FunctionRef } from '../plan.ts'
import { FILE_READERS } from './file-readers.ts'
import { FILE_WRITERS } from './file-writers.ts'
import { SAMPLING_BUILTINS } from './sampling-builtins.ts'
import { type BuiltinMaker, SHARED_BUILTINS } from './shared-builtins.ts'
import { SKETCH_BUILTINS } from './sketch-builtins.ts'
import { STREAM_BUILTINS } from './stream-builtins.ts'

/**
 * The engine's own functions, by the name that plans call them. An operator that needs a new one adds its maker here,
 * or to shared-builtins.ts (sampling-, sketch-, stream-builtins.ts) when it takes a whole partition or needs the
 * engine's order, equality or codec; nothing else.
 *
 * A maker gets the functions the builtin is built around, then its plain arguments, and returns the function to run.
 * Makers in this file name nothing but their parameters and standard globals: each is rebuilt from its own text for
 * every stage, because a shared function carries the type feedback of all earlier jobs and runs up to three times slower.
 */

type Fn = ReturnType<BuiltinMaker>
type Unary = (value: unknown) => unknown
type Binary = (left: unknown, right: unknown) => unknown
type Pair = readonly [unknown, unknown]
/** A row of a cogroup: the key and the values of each parent. */
type Grouped = readonly [unknown, readonly (readonly unknown[])[]]

const RECORD_BUILTINS: Record<string, BuiltinMaker> = {
  identity: () => (value: unknown) => value,
  first: () => (left: unknown) => left,
  second: () => (_left: unknown, right: unknown) => right,
  compose: (inner: Unary, outer: Unary) => (value: unknown) => outer(inner(value)),
  not: (fn: Unary) => (value: unknown) => !fn(value),
  add: () => (left: number, right: number) => left + right,

  // Pairs
  pairKey: () => (pair: Pair) => pair[0],
  pairValue: () => (pair: Pair) => pair[1],
  swap: () => (pair: Pair) => [pair[1], pair[0]],
  keyBy: (key: Unary) => (value: unknown) => [key(value), value],
  keyByPairKey: (key: Unary) => (pair: Pair) => [key(pair[0]), pair],
  withNull: () => (value: unknown) => [value, null],
  mapValues: (fn: Unary) => (pair: Pair) => [pair[0], fn(pair[1])],
  flatMapValues: (fn: (value: unknown) => Iterable<unknown>) => (pair: Pair) => {
    const out: unknown[] = []
    for (const value of fn(pair[1])) out.push([pair[0], value])
    return out
  },

  // Rows of a cogroup
  groupedValues: () => (row: Grouped) => [row[0], row[1][0]],
  reduceGrouped: (fn: Binary) => (row: Grouped) => {
    const values = row[1][0]!
    let result = values[0]
    for (let i = 1; i < values.length; i++) result = fn(result, values[i])
    return [row[0], result]
  },
  aggregateGrouped: (create: Unary, mergeValue: Binary) => (row: Grouped) => {
    const values = row[1][0]!
    let result = create(values[0])
    for (let i = 1; i < values.length; i++) result = mergeValue(result, values[i])
    return [row[0], result]
  },
  inAllGroups: () => (row: Grouped) => {
    for (const values of row[1]) if (values.length === 0) return false
    return true
  },
  /** Pairs of the left whose key the right has, or (false) has not. */
  leftOfGrouped: (isPresent: boolean) => (row: Grouped) => {
    const out: unknown[] = []
    if (row[1][1]!.length > 0 === isPresent) for (const value of row[1][0]!) out.push([row[0], value])
    return out
  },
  /** Every left value with every right one; a side that must not miss gives null for the missing other. */
  joinGrouped: (keepLeft: boolean, keepRight: boolean) => (row: Grouped) => {
    const lefts = row[1][0]!.length === 0 && keepRight ? [null] : row[1][0]!
    const rights = row[1][1]!.length === 0 && keepLeft ? [null] : row[1][1]!
    // Of a key with very many values on both sides the pairs are made as they are asked for.
    if (lefts.length * rights.length > 10_000) {
      return (function* () {
        for (const left of lefts) for (const right of rights) yield [row[0], [left, right]]
      })()
    }
    const out: unknown[] = []
    for (const left of lefts) for (const right of rights) out.push([row[0], [left, right]])
    return out
  },
}

const SHARED: Record<string, BuiltinMaker> = {
  ...SHARED_BUILTINS,
  ...SAMPLING_BUILTINS,
  ...SKETCH_BUILTINS,
  ...STREAM_BUILTINS,
  ...FILE_READERS,
  ...FILE_WRITERS,
}

/**
 * The function a plan refers to.
 * @param revive Gives the function of a captured closure; each call may give a fresh one.
 * @param scope Distinguishes the text of rebuilt builtins, `job:stage`, so that they share no type feedback.
 */
export function resolveFunction(ref: FunctionRef, revive: (closure: number) => Fn, scope: string): Fn {
  if (ref.kind === 'closure') return revive(ref.id)
  const parts = [...(ref.fns ?? []).map(part => resolveFunction(part, revive, scope)), ...(ref.args ?? [])]
  const record = Object.hasOwn(RECORD_BUILTINS, ref.name) ? RECORD_BUILTINS[ref.name] : undefined
  if (record !== undefined) return call(rebuilt(record, `${scope}:${ref.name}`), parts)
  const shared = Object.hasOwn(SHARED, ref.name) ? SHARED[ref.name] : undefined
  if (shared !== undefined) return call(shared, parts)
  const reason = `the plan names the builtin function "${ref.name}", which this peer does not have`
  throw new ShoalError('PLAN_INVALID', { reason }, `${reason}: it was made by another version of Shoal`)
}

function rebuilt(maker: BuiltinMaker, comment: string): BuiltinMaker {
  const text = `'use strict'\nreturn (${String(maker)})\n//${comment.replaceAll(/[\r\n\u2028\u2029]/g, ' ')}`
  return (compileFunction(text) as () => BuiltinMaker)()
}

function call(maker: BuiltinMaker, parts: readonly unknown[]): Fn {
  return (maker as (...parts: readonly unknown[]) => Fn)(...parts)
}
