import { estimateBytes } from '../codec/index.ts'
import type { PairEncoder, RowEncoder } from '../codec/index.ts'
import { MISSED, type AggregationTable } from './aggregation-table.ts'
import { ENGINE } from './config.ts'
import type { SinkCode, UserFunction } from './fused-loop.ts'
import { bucketOf, hashKey, hashString } from './hashing.ts'
import type { PartitionOf } from './partition-function.ts'
import { retained } from './retained-string.ts'
import type { SpillingTable } from './spilling-table.ts'

/**
 * The ends of loops, as text that is inlined into them, each with the state that it works on. A new sink is one
 * function here; its state is made per task by whoever runs the loop.
 */

export interface CountState {
  count: number
}

export const countSink: SinkCode = {
  open: 'let n=state.count;',
  body: () => 'n++;',
  close: 'state.count=n;',
  parts: {},
}

export interface EncoderState {
  encoder: RowEncoder
}

export const encoderSink: SinkCode = {
  open: 'const encoder=state.encoder;',
  body: x => `encoder.append(${x});`,
  close: '',
  parts: {},
}

/** Elements as they are, for what needs them as an array: sort, iterators of mapPartitions. */
export interface RowsState {
  rows: unknown[]
}

export const rowsSink: SinkCode = {
  open: 'const rows=state.rows;',
  body: x => `rows.push(${x});`,
  close: '',
  parts: {},
}

export interface TakeState {
  encoder: RowEncoder
  count: number
}

export const takeSink: SinkCode = {
  open: 'const encoder=state.encoder,count=state.count;',
  body: (x, stop) => `encoder.append(${x});if(encoder.rows>=count){${stop}}`,
  close: '',
  parts: {},
}

export interface FoldState {
  value: unknown
  /** False until the first element, which a reduce takes as it is. */
  started: boolean
}

export function foldSink(fn: UserFunction): SinkCode {
  return {
    open: 'let value=state.value,started=state.started;',
    body: x => `value=fold(value,${x});`,
    close: 'state.value=value;state.started=started;',
    parts: { fold: fn },
    first: {
      while: '!started',
      body: x => `if(started)value=fold(value,${x});else{value=${x};started=true;}`,
    },
  }
}

export function forEachSink(fn: UserFunction): SinkCode {
  return { open: '', body: x => `each(${x});`, close: '', parts: { each: fn } }
}

export interface TextState {
  text: string
  /** Chunks to be written before the next slice. */
  chunks: Uint8Array[]
  bytes: number
  /** Elements, where each is a line. */
  lines: number
}

export const textSink: SinkCode = {
  open: 'let text=state.text,lines=0;',
  body: x =>
    `lines++;text+=String(${x})+'\\n';if(text.length>=${ENGINE.saveChunkChars}){cutText(state,text);text='';}`,
  close: 'state.text=text;state.lines+=lines;',
  parts: { cutText },
}

export const bytesSink: SinkCode = {
  open: '',
  body: x => `takeBytes(state,${x});`,
  close: '',
  parts: { takeBytes },
}

function takeBytes(state: TextState, bytes: Uint8Array): void {
  state.bytes += bytes.length
  state.chunks.push(bytes)
}

export function cutText(state: TextState, text: string): void {
  if (text === '') return
  const chunk = Buffer.from(text, 'utf8')
  state.bytes += chunk.length
  state.chunks.push(chunk)
}

/** Where the pairs of a shuffle without map-side combining go. */
export interface BucketState {
  buckets: PairEncoder[]
}

/** @param partitionOf Null for hash partitioning, which is inlined. */
export function bucketSink(partitions: number, partitionOf: PartitionOf | null, operator: string): SinkCode {
  const bucket =
    partitionOf === null
      ? `bucketOf(typeof k==='string'?hashString(k):hashKey(k),${partitions})`
      : 'partitionOf(k)'
  return {
    open: 'const buckets=state.buckets;',
    body: x => `{${checkPair(x)}const k=${x}[0];buckets[${bucket}].append(k,${x}[1]);}`,
    close: '',
    parts: { bucketOf, hashKey, hashString, partitionOf, notPair: notPair(operator) },
  }
}

export interface TableState {
  table: AggregationTable
  /** Where pairs go that the table has no room for; null for a table that takes all. */
  spilling: SpillingTable | null
}

/**
 * Combines values per key.
 * @param create Makes the first combined value of a key; null takes the value itself.
 */
export function combineSink(create: UserFunction | null, merge: UserFunction, operator: string): SinkCode {
  const made = (value: string): string => (create === null ? `retained(${value})` : `create(${value})`)
  return {
    open: 'const table=state.table,values=table.values;',
    body: x =>
      `{${checkPair(x)}const k=${x}[0],v=${x}[1];${LOCATE}` +
      `if(q>=0)values[q]=merge(values[q],v);else if(q===${MISSED})state.spilling.defer(k,v,0);` +
      `else values.push(${made('v')});}`,
    close: '',
    parts: { create, merge, retained, notPair: notPair(operator) },
  }
}

/** Values of one key in one array, or in the `side`-th of several arrays (cogroup). */
export interface GroupState extends TableState {
  /** Estimated bytes of the values. */
  valueBytes: number
  /** Values seen; one in 16 is measured. */
  seen: number
}

export function groupSink(operator: string): SinkCode {
  return collectingSink(operator, 0, 'values[q].push(w)', 'values.push([w])')
}

export function cogroupSink(side: number, sides: number, operator: string): SinkCode {
  const made = Array.from({ length: sides }, (_, i) => (i === side ? '[w]' : '[]')).join(',')
  return collectingSink(operator, side, `values[q][${side}].push(w)`, `values.push([${made}])`)
}

function collectingSink(operator: string, side: number, known: string, made: string): SinkCode {
  return {
    open: 'const table=state.table,values=table.values;let seen=state.seen,bytes=0;',
    body: x =>
      `{${checkPair(x)}const k=${x}[0],w=retained(${x}[1]);${LOCATE}` +
      `if(q===${MISSED})state.spilling.defer(k,w,${side});` +
      `else{if(q>=0)${known};else ${made};if((seen++&15)===0)bytes+=16*estimateBytes(w);}}`,
    close: 'state.seen=seen;state.valueBytes+=bytes;',
    parts: { retained, estimateBytes, notPair: notPair(operator) },
  }
}

const LOCATE = `const q=typeof k==='string'?table.locateString(k):table.locate(k);`

function checkPair(x: string): string {
  return `if(!Array.isArray(${x}))notPair(${x});`
}

function notPair(operator: string): (value: unknown) => never {
  return value => {
    const what =
      typeof value === 'object' && value !== null ? 'an object that is no array' : JSON.stringify(value)
    throw new TypeError(`${operator} works on [key, value] pairs, but an element is ${what ?? typeof value}`)
  }
}
