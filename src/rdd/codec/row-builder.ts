import { generateFunction } from './generated-function.ts'

/**
 * Functions that put columns together to rows, generated with an object or array literal per shape: one hidden class
 * per shape, and type feedback that other shapes do not spoil.
 */

/** `columns` hold `count` values each; returns the rows. */
export type RowBuilder = (columns: readonly ArrayLike<unknown>[], count: number) => unknown[]

/** Shapes remembered per thread; at the bound all are forgotten, a shape is rebuilt in microseconds. */
const SHAPES_MAX = 512
const builders = new Map<string, RowBuilder>()

/** @param kinds Kinds of the columns: columns of other types get a builder of their own. */
export function tupleBuilder(kinds: string): RowBuilder {
  const shape = `tuple ${kinds}`
  return remembered(shape, () => generate(kinds.length, values => `[${values.join(',')}]`, shape))
}

export function objectBuilder(names: readonly string[], kinds: string): RowBuilder {
  const shape = `object ${kinds} ${JSON.stringify(names)}`
  // A computed name makes `__proto__` an ordinary property.
  const property = (value: string, i: number): string => `[${literal(names[i]!)}]:${value}`
  return remembered(shape, () =>
    generate(names.length, values => `{${values.map(property).join(',')}}`, kinds),
  )
}

function remembered(shape: string, make: () => RowBuilder): RowBuilder {
  const known = builders.get(shape)
  if (known !== undefined) return known
  if (builders.size >= SHAPES_MAX) builders.clear()
  const made = make()
  builders.set(shape, made)
  return made
}

function generate(arity: number, row: (values: string[]) => string, shape: string): RowBuilder {
  const indices = Array.from({ length: arity }, (_, i) => i)
  const columns = indices.map(i => `const c${i}=columns[${i}];`).join('')
  const literal = row(indices.map(i => `c${i}[i]`))
  const body = `'use strict';${columns}const rows=new Array(count);for(let i=0;i<count;i++)rows[i]=${literal};return rows//${shape}`
  return generateFunction(['columns', 'count'], body, 'rows') as RowBuilder
}

/** A string literal that is safe in any script. JSON leaves no quote, backslash or line end unescaped. */
function literal(name: string): string {
  return JSON.stringify(name)
}
