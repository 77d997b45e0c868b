import { cyclicParts } from './cyclic-parts.ts'

/** Which objects of a cyclic row are written again, and which only named. */
export class CycleWriter {
  readonly #parts: ReadonlyMap<object, number>
  /** Objects begun so far; the reader counts the same. */
  #begun = 0
  /** Of each object that is being written: the part it lies in, and the numbers of that part's objects. */
  readonly #scopes: { part: number | undefined; numbers: Map<object, number> }[] = []

  constructor(row: object) {
    this.#parts = cyclicParts(row)
  }

  /**
   * The number of an object that was written within the same turn through its part; else it begins now. What enters a
   * part from outside writes it anew, because whether two outsiders share it is not the same in each attempt.
   */
  enter(value: object): number | undefined {
    const part = this.#parts.get(value)
    const outer = this.#scopes.at(-1)
    const scope =
      part !== undefined && outer?.part === part ? outer : { part, numbers: new Map<object, number>() }
    const known = scope.numbers.get(value)
    if (known !== undefined) return known
    scope.numbers.set(value, this.#begun)
    this.#begun += 1
    this.#scopes.push(scope)
    return undefined
  }

  leave(): void {
    this.#scopes.pop()
  }
}
