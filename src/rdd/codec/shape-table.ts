interface Shape {
  names: readonly string[]
  number: number
}

/** The lists of names that records of the batch have had, numbered as they come. */
export class ShapeTable {
  /** By a text that most lists have to themselves. */
  readonly #shapes = new Map<string, Shape[]>()
  #size = 0

  get size(): number {
    return this.#size
  }

  find(names: readonly string[]): number | undefined {
    return this.#shapes.get(names.join())?.find(shape => isSame(shape.names, names))?.number
  }

  add(names: readonly string[]): number {
    const key = names.join()
    const shape = { names, number: this.#size++ }
    const alike = this.#shapes.get(key)
    if (alike === undefined) this.#shapes.set(key, [shape])
    else alike.push(shape)
    return shape.number
  }

  /** Forgets what has come since there were `size`. */
  cut(size: number): void {
    for (const [key, alike] of this.#shapes) {
      this.#shapes.set(
        key,
        alike.filter(shape => shape.number < size),
      )
    }
    this.#size = size
  }
}

export function isSame(names: readonly string[], others: readonly string[]): boolean {
  if (names.length !== others.length) return false
  for (let i = 0; i < names.length; i++) if (names[i] !== others[i]) return false
  return true
}
