/**
 * Classes whose instances stay instances when rows travel, of this thread: where jobs are called, the user's own; where
 * tasks run, those that were built from what travelled. The id says what a class is, so one means the same in all jobs.
 */
const ids = new WeakMap<object, string>()
const prototypes = new Map<string, object>()

/** From now on; a class of the same id that was declared before is still written, and no longer made. */
export function declareClass(id: string, type: Function): void {
  const prototype: unknown = type.prototype
  if (typeof prototype !== 'object' || prototype === null)
    throw new TypeError(`${type.name} has no prototype`)
  ids.set(prototype, id)
  prototypes.set(id, prototype)
}

export function isDeclared(id: string): boolean {
  return prototypes.has(id)
}

/** Of the class whose prototype this is; undefined for all that are not declared. */
export function declaredId(prototype: object): string | undefined {
  return prototypes.size === 0 ? undefined : ids.get(prototype)
}

/** undefined where nobody declared it: its instances are plain objects there. */
export function declaredPrototype(id: string): object | undefined {
  return prototypes.get(id)
}

/** Whether it is an instance of a declared class itself, not of one derived from it. */
export function classOf(value: object): string | undefined {
  if (prototypes.size === 0) return undefined
  const prototype = Object.getPrototypeOf(value) as object | null
  return prototype === null ? undefined : ids.get(prototype)
}
