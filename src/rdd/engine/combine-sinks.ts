import type { CombineSpec, FunctionRef } from '../plan.ts'
import type { SinkCode, UserFunction } from './fused-loop.ts'
import { combineSink, groupSink } from './sinks.ts'

/** What each combining of a shuffle does on its two sides. A null stands for pairs that pass as they are. */

type Resolve = (ref: FunctionRef) => UserFunction
type MakeSink = (() => SinkCode) | null

export function mapSideSink(combine: CombineSpec, operator: string, resolve: Resolve): MakeSink {
  if (combine.kind === 'reduce') return () => combineSink(null, resolve(combine.fn), operator)
  if (combine.kind !== 'aggregate' || !combine.mapSide) return null
  return () => combineSink(resolve(combine.create), resolve(combine.mergeValue), operator)
}

export function reduceSideSink(combine: CombineSpec, operator: string, resolve: Resolve): MakeSink {
  switch (combine.kind) {
    case 'none':
      return null
    case 'group':
      return () => groupSink(operator)
    case 'reduce':
      return () => combineSink(null, resolve(combine.fn), operator)
    case 'aggregate':
      break
  }
  if (combine.mapSide) return () => combineSink(null, resolve(combine.mergeCombiners), operator)
  return () => combineSink(resolve(combine.create), resolve(combine.mergeValue), operator)
}
