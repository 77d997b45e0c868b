/**
 * Functions of the engine over a whole partition: `fn(iterator, partitionIndex)`. Steps `mapPartitions` take the
 * iterable they return as the new partition; action `partition` takes what they return as its one row.
 */

/** Gets functions, then plain arguments; returns the function to run. */
export type BuiltinMaker = (...parts: never[]) => (...values: never[]) => unknown

type Elements = Iterable<unknown>

export const PARTITION_BUILTINS: Record<string, BuiltinMaker> = {
  glom: () => (elements: Elements) => [[...elements]],
  /** mapPartitions: the user's function takes the iterator alone. */
  elementsOnly: (fn: (elements: Elements) => unknown) => (elements: Elements) => fn(elements),
  /** mapPartitionsWithIndex: the index comes first. */
  indexFirst: (fn: (index: number, elements: Elements) => unknown) => (elements: Elements, index: number) =>
    fn(index, elements),
}
