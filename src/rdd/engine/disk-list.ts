import type { TaskSpill } from './task-spill.ts'
import { SpilledRows } from './spilled-rows.ts'

/**
 * The values of one key when they are too many for memory: appended to a file, and shown to the user's functions as an
 * ordinary array that reads them as they are asked for. It can be gone through, indexed, mapped and reduced like any
 * array, not changed.
 */
export class DiskList {
  readonly #rows: SpilledRows
  #first = 0
  #near: ArrayLike<unknown> = []

  constructor(spill: TaskSpill, values: Iterable<unknown> = []) {
    this.#rows = new SpilledRows(spill.open(), spill)
    for (const value of values) this.#rows.push(value)
  }

  get length(): number {
    return this.#rows.length
  }

  push(value: unknown): void {
    this.#rows.push(value)
  }

  at(index: number): unknown {
    const place = index - this.#first
    if (place >= 0 && place < this.#near.length) return this.#near[place]
    const { first, rows } = this.#rows.around(index)
    this.#first = first
    this.#near = rows
    return rows[index - first]
  }

  asArray(): unknown[] {
    // What waits in memory is written; from here on nothing is appended.
    this.#rows.flush()
    const indexOf = (name: string | symbol): number => {
      if (typeof name === 'symbol') return -1
      const index = Number(name)
      return Number.isInteger(index) && index >= 0 && index < this.length && String(index) === name
        ? index
        : -1
    }
    const refuse = (): never => {
      throw new TypeError(
        `the ${this.length} values of this key are on disk and cannot be changed in place: copy what you change`,
      )
    }
    const own = (index: number): PropertyDescriptor => ({
      value: this.at(index),
      writable: true,
      enumerable: true,
      configurable: true,
    })
    return new Proxy<unknown[]>([], {
      get: (target, name) => {
        if (name === 'length') return this.length
        const index = indexOf(name)
        return index < 0 ? Reflect.get(target, name) : this.at(index)
      },
      has: (target, name) => indexOf(name) >= 0 || Reflect.has(target, name),
      getOwnPropertyDescriptor: (target, name) => {
        const index = indexOf(name)
        return index < 0 ? Reflect.getOwnPropertyDescriptor(target, name) : own(index)
      },
      ownKeys: () => [...Array.from({ length: this.length }, (_, i) => String(i)), 'length'],
      set: refuse,
      defineProperty: refuse,
      deleteProperty: refuse,
    })
  }
}
