import {
  addToSketch,
  estimateDistinct,
  mergeSketches,
  newSketch,
  type DistinctSketch,
} from './distinct-sketch.ts'
import type { BuiltinMaker } from './shared-builtins.ts'

/** Builtins that count distinct values. */
export const SKETCH_BUILTINS: Record<string, BuiltinMaker> = {
  /** Action `partition`: the sketch of all elements. */
  sketchAll: (precision: number) => (elements: Iterable<unknown>) => {
    const sketch = newSketch(precision)
    for (const element of elements) addToSketch(sketch, precision, element)
    return sketch
  },
  sketchOf: (precision: number) => (value: unknown) => {
    const sketch = newSketch(precision)
    addToSketch(sketch, precision, value)
    return sketch
  },
  sketchAdd: (precision: number) => (sketch: DistinctSketch, value: unknown) => {
    addToSketch(sketch, precision, value)
    return sketch
  },
  sketchMerge: () => mergeSketches,
  sketchEstimate: () => estimateDistinct,
}
