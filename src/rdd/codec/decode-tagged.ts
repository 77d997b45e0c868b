import type { BatchReader } from './batch-reader.ts'
import { malformed } from './batch-format.ts'
import { declaredPrototype } from './declared-classes.ts'
import { ERROR_HAS, ERROR_NAMES, TAG, VIEW_NAMES, type ViewName } from './tagged-format.ts'

/** Reads `count` values of mixed types. Throws BAD_MESSAGE for whatever no encoder writes. */
export function readTagged(reader: BatchReader, count: number): unknown[] {
  const decoder = new TaggedDecoder(reader)
  const values: unknown[] = []
  try {
    for (let i = 0; i < count; i++) decoder.into(values, i)
  } catch (error) {
    // Nested deeper than this thread's stack, or a text that is no regular expression.
    if (error instanceof RangeError || error instanceof SyntaxError) {
      throw malformed(`a value that cannot be made: ${error.message}`)
    }
    throw error
  }
  values.length = count
  return values
}

interface Shape {
  names: readonly string[]
  /** `__proto__` among them: an assignment would not make it a property. */
  isOdd: boolean
}

class TaggedDecoder {
  readonly #reader: BatchReader
  readonly #shapes: Shape[] = []
  readonly #classes: string[] = []
  /** What a cyclic row can refer to. */
  #begun: object[] | undefined

  constructor(reader: BatchReader) {
    this.#reader = reader
  }

  /** Reads the value of one place, and nothing where there is none. */
  into(values: unknown[], index: number): void {
    const tag = this.#reader.byte()
    if (tag === TAG.hole) return
    if (tag !== TAG.cyclic) {
      values[index] = this.#tagged(tag)
      return
    }
    this.#begun = []
    values[index] = this.#value()
    this.#begun = undefined
  }

  #value(): unknown {
    return this.#tagged(this.#reader.byte())
  }

  #tagged(tag: number): unknown {
    const reader = this.#reader
    switch (tag) {
      case TAG.undefined:
        return undefined
      case TAG.null:
        return null
      case TAG.false:
        return false
      case TAG.true:
        return true
      case TAG.int: {
        const value = reader.count()
        return (value >>> 1) ^ -(value & 1)
      }
      case TAG.float:
        return reader.float64()
      case TAG.text:
        return reader.countedText()
      case TAG.bigint:
        return this.#bigint()
      case TAG.array:
        return this.#array()
      case TAG.sparse:
        return this.#sparse()
      case TAG.record:
        return this.#record()
      case TAG.instance:
        return this.#instance()
      case TAG.map:
        return this.#map()
      case TAG.set:
        return this.#set()
      case TAG.date:
        return new Date(this.#number())
      case TAG.regexp:
        return new RegExp(reader.countedText(), reader.countedText())
      case TAG.error:
        return this.#error()
      case TAG.boxed:
        return this.#boxed()
      case TAG.bytes:
        return this.#bytes()
      case TAG.again:
        return this.#again()
      default:
        throw malformed(`a value with the unknown tag ${tag}`)
    }
  }

  #number(): number {
    const value = this.#value()
    if (typeof value !== 'number') throw malformed('a date without a number')
    return value
  }

  #bigint(): bigint {
    const isNegative = this.#reader.byte() === 1
    const digits = this.#reader.copy(this.#reader.countOfRest()).toString('hex')
    const magnitude = BigInt(`0x0${digits}`)
    return isNegative ? -magnitude : magnitude
  }

  #array(): unknown[] {
    const length = this.#reader.countOfRest()
    const values: unknown[] = []
    this.#begin(values)
    for (let i = 0; i < length; i++) {
      const tag = this.#reader.byte()
      if (tag !== TAG.hole) values[i] = this.#tagged(tag)
    }
    if (values.length !== length) values.length = length
    return values
  }

  #sparse(): unknown[] {
    const length = this.#reader.count()
    const count = this.#reader.countOfRest()
    const values: unknown[] = []
    // A length that is none throws RangeError.
    values.length = length
    this.#begin(values)
    for (let i = 0; i < count; i++) {
      const index = this.#reader.count()
      if (index >= length) throw malformed(`element ${index} of ${length}`)
      values[index] = this.#value()
    }
    return values
  }

  #instance(): object {
    const index = this.#reader.count()
    if (index > this.#classes.length) throw malformed(`class ${index} of ${this.#classes.length}`)
    const id = (this.#classes[index] ??= this.#reader.countedText())
    if (this.#reader.byte() !== TAG.record) throw malformed('an instance without fields')
    return this.#record(declaredPrototype(id))
  }

  #record(prototype?: object): object {
    const { names, isOdd } = this.#readShape()
    const record: Record<string, unknown> = prototype === undefined ? {} : Object.create(prototype)
    this.#begin(record)
    for (let i = 0; i < names.length; i++) {
      const value = this.#value()
      // Of an instance an assignment could call a setter.
      if (isOdd || prototype !== undefined) Object.defineProperty(record, names[i]!, { value, ...ORDINARY })
      else record[names[i]!] = value
    }
    return record
  }

  #readShape(): Shape {
    const index = this.#reader.count()
    const known = this.#shapes[index]
    if (known !== undefined) return known
    if (index !== this.#shapes.length) throw malformed(`shape ${index} of ${this.#shapes.length}`)
    const names = Array.from({ length: this.#reader.countOfRest() }, () => this.#reader.countedText())
    const shape = { names, isOdd: names.includes('__proto__') }
    this.#shapes.push(shape)
    return shape
  }

  #map(): Map<unknown, unknown> {
    const size = this.#reader.countOfRest()
    const map = new Map<unknown, unknown>()
    this.#begin(map)
    for (let i = 0; i < size; i++) {
      const key = this.#value()
      map.set(key, this.#value())
    }
    return map
  }

  #set(): Set<unknown> {
    const size = this.#reader.countOfRest()
    const set = new Set<unknown>()
    this.#begin(set)
    for (let i = 0; i < size; i++) set.add(this.#value())
    return set
  }

  #error(): Error {
    const name = ERROR_NAMES[this.#reader.byte()]
    if (name === undefined) throw malformed('an error of an unknown type')
    const flags = this.#reader.byte()
    const error = makeError(name, flags & ERROR_HAS.message ? this.#reader.countedText() : undefined)
    this.#begin(error)
    if (flags & ERROR_HAS.cause)
      Object.defineProperty(error, 'cause', { value: this.#value(), ...ORDINARY, enumerable: false })
    return error
  }

  #boxed(): object {
    const value = this.#value()
    if (value === undefined || (typeof value === 'object' && value === null))
      throw malformed('nothing in a box')
    return Object(value) as object
  }

  #bytes(): object {
    const name = VIEW_NAMES[this.#reader.byte()]
    if (name === undefined) throw malformed('bytes of an unknown type')
    const bytes = this.#reader.copy(this.#reader.countOfRest())
    if (name === 'Buffer') return bytes
    return makeView(name, new Uint8Array(bytes).buffer)
  }

  #begin(value: object): void {
    this.#begun?.push(value)
  }

  #again(): object {
    const index = this.#reader.count()
    const value = this.#begun?.[index]
    if (value === undefined) throw malformed(`object ${index}, which has not begun`)
    return value
  }
}

const ORDINARY = { writable: true, enumerable: true, configurable: true } as const

/** The frames of the decoder would only mislead. */
function makeError(name: (typeof ERROR_NAMES)[number], message: string | undefined): Error {
  const error = new globalThis[name](message)
  error.stack = message === undefined || message === '' ? name : `${name}: ${message}`
  return error
}

/** Throws RangeError when the bytes are not whole numbers of that kind. */
function makeView(name: Exclude<ViewName, 'Buffer'>, buffer: ArrayBuffer): object {
  if (name === 'ArrayBuffer') return buffer
  const make: new (buffer: ArrayBuffer) => object = globalThis[name]
  return new make(buffer)
}
