/** Values kept; with more than these the table starts anew. */
const VALUES_MAX = 4_096

/** One object for all equal plain values: most files of a mesh have one of a few shapes. */
export class Interner<Value extends object> {
  readonly #known = new Map<string, Value>()

  of(value: Value): Value {
    const key = JSON.stringify(value)
    const known = this.#known.get(key)
    if (known !== undefined) return known
    if (this.#known.size >= VALUES_MAX) this.#known.clear()
    this.#known.set(key, Object.freeze(value))
    return value
  }
}
