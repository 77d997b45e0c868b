import { generateFunction } from '../codec/generated-function.ts'
import type { Block, SourceShape } from './block.ts'
import { chunked } from './chunked-iterable.ts'
import { ENGINE } from './config.ts'

/**
 * One loop for a whole chain of narrow operators, from source to sink, generated as text (engine.md section 1):
 *
 *     return function(block,p,state){const a=block.a;…;for(;i<e;i++){const x0=a[i];if(f0(x0)){const x1=f1(x0);n++;}}…}
 *
 * User functions are called by reference. The text ends with a comment that no other loop has, because V8 shares the
 * type feedback of equal texts: a loop polluted by other jobs runs at a third of its speed.
 */

export type UserFunction = (...values: never[]) => unknown

export interface FusedStep {
  op: 'map' | 'filter' | 'flatMap'
  fn: UserFunction
}

/** The inlined end of a loop. `State` lives as long as the task; each call copies what it needs into locals. */
export interface SinkCode {
  /** Statements before the loop: locals from `state`. */
  open: string
  /** Takes the element in variable `x`; `stop` are statements that end the whole loop. */
  body(x: string, stop: string): string
  /** Statements after the loop: locals back to `state`. */
  close: string
  /** Values that the text names. */
  parts: Record<string, unknown>
  /** Runs instead of `body` as long as `while` holds: a loop of its own, so that the main one has no such test. */
  first?: { while: string; body(x: string): string }
}

/**
 * Takes up to 1024 elements of the block from position `p`.
 * @returns The position to go on from, or -1 when the sink wants no more.
 */
export type Loop<State> = (block: Block, position: number, state: State) => number

export interface LoopSpec {
  source: SourceShape
  steps: readonly FusedStep[]
  sink: SinkCode
  /** Unique among all loops of the thread. */
  name: string
}

export function compileLoop<State>(spec: LoopSpec): Loop<State> {
  const parts: Record<string, unknown> = { ...spec.sink.parts, chunked }
  for (const [i, { fn }] of spec.steps.entries()) parts[`f${i}`] = fn
  const make = generateFunction(
    Object.keys(parts).map(part => `$${part}`),
    loopText(spec, Object.keys(parts)),
    spec.name,
  )
  return (make as (...values: unknown[]) => Loop<State>)(...Object.values(parts))
}

function loopText({ source, steps, sink, name }: LoopSpec, parts: readonly string[]): string {
  const shape = SHAPES[source.kind]
  const element = source.kind === 'range' ? rangeElement(source) : shape.element
  const chain = (body: (x: string, stop: string) => string): string =>
    `{${element}${nest(steps, 0, [], (x, closers) => body(x, `${closers}${shape.close}${sink.close}return -1;`))}${shape.next}}`
  const first = sink.first
  const loops =
    (first === undefined ? '' : shape.loop(` && ${first.while}`) + chain(x => first.body(x))) +
    shape.loop('') +
    chain((x, stop) => sink.body(x, stop))
  const constants = parts.map(part => `${part}=$${part}`).join(',')
  return (
    `'use strict';const ${constants};` +
    `return function(block,p,state){${shape.open}${sink.open}${loops}${shape.close}${sink.close}return i}` +
    `//${name.replaceAll(/[\r\n\u2028\u2029]/g, ' ')}`
  )
}

interface ShapeText {
  open: string
  loop(condition: string): string
  element: string
  next: string
  close: string
}

const COUNTED = {
  open: `let i=p;const e=Math.min(p+${ENGINE.sliceElements},block.end);`,
  loop: (condition: string) => `for(;i<e${condition};i++)`,
  next: '',
  close: '',
}

const SHAPES: Record<SourceShape['kind'], ShapeText> = {
  rows: { ...COUNTED, open: `${COUNTED.open}const a=block.a;`, element: 'const x0=a[i];' },
  pairs: { ...COUNTED, open: `${COUNTED.open}const a=block.a,b=block.b;`, element: 'const x0=[a[i],b[i]];' },
  range: { ...COUNTED, element: '' },
  // A trailing carriage return belongs to the line end. The last line may lack its newline.
  lines: {
    open: `let i=p,k=0;const t=block.text,e=block.end;`,
    loop: condition => `while(i<e && k<${ENGINE.sliceElements}${condition})`,
    element:
      `let j=t.indexOf('\\n',i);if(j<0)j=e;k++;` +
      `const x0=t.slice(i,j>i&&t.charCodeAt(j-1)===13?j-1:j);i=j+1;`,
    next: '',
    close: 'block.lines+=k;',
  },
}

function rangeElement({ first, step }: { first: number; step: number }): string {
  return first === 0 && step === 1 ? 'const x0=i;' : `const x0=${number(first)}+i*${number(step)};`
}

/** A number as text that reads back exactly. */
function number(value: number): string {
  return Object.is(value, -0) ? '(-0)' : `(${String(value)})`
}

function nest(
  steps: readonly FusedStep[],
  at: number,
  closers: readonly string[],
  innermost: (x: string, closers: string) => string,
): string {
  const step = steps[at]
  const x = `x${at}`
  const y = `x${at + 1}`
  const inside = (more: readonly string[]): string => nest(steps, at + 1, more, innermost)
  if (step === undefined) return innermost(x, closers.join(''))
  if (step.op === 'map') return `const ${y}=f${at}(${x});${inside(closers)}`
  if (step.op === 'filter') return `if(f${at}(${x})){const ${y}=${x};${inside(closers)}}`
  const [list, more, j] = [`l${at}`, `m${at}`, `j${at}`]
  return (
    `let ${list}=f${at}(${x}),${more}=null;` +
    `if(!Array.isArray(${list})){${more}=chunked(${list});${list}=${more}.next();}` +
    `do{for(let ${j}=0;${j}<${list}.length;${j}++){const ${y}=${list}[${j}];` +
    inside([...closers, `if(${more}!==null)${more}.close();`]) +
    `}}while(${more}!==null&&(${list}=${more}.next()).length>0);`
  )
}
