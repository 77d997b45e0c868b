import { types } from 'node:util'
import type { ByteWriter } from './byte-writer.ts'
import { CycleWriter } from './cycle-writer.ts'
import { classOf } from './declared-classes.ts'
import { isRecord } from './record-value.ts'
import { isSame, ShapeTable } from './shape-table.ts'
import {
  ERROR_HAS,
  ERROR_NAMES,
  HOLES_MAX,
  SPARSE_SHARE,
  TAG,
  VIEW_NAMES,
  type ViewName,
} from './tagged-format.ts'

/** What a value that cannot travel is refused with, until somebody knows which row it is in. */
class Untold extends TypeError {}
/** Thrown out of a row that turns out to hold a cycle. */
const CYCLE = new Error('the row holds a cycle')

/** Writes values of mixed types (tagged-format.ts). Throws what structured clone would throw, and RangeError where values are nested too deep. */
export function writeTagged(writer: ByteWriter, values: readonly unknown[], count: number): void {
  const encoder = new TaggedEncoder(writer)
  for (let i = 0; i < count; i++) encoder.row(values, i)
}

class TaggedEncoder {
  readonly #writer: ByteWriter
  readonly #shapes = new ShapeTable()
  /** Ids of declared classes, each as a shape of one name. */
  readonly #classes = new ShapeTable()
  /** The names of the record before: its shape is mostly that of the next one. */
  #names: readonly string[] = []
  #shape = -1
  /** The objects that the value is in. */
  readonly #path: object[] = []
  #cycles: CycleWriter | undefined

  constructor(writer: ByteWriter) {
    this.#writer = writer
  }

  row(values: readonly unknown[], index: number): void {
    const value = values[index]
    if (value === undefined && !(index in values)) return this.#writer.byte(TAG.hole)
    if (typeof value !== 'object' || value === null) return this.#value(value)
    const start = this.#writer.length
    const shapes = this.#shapes.size
    const classes = this.#classes.size
    try {
      this.#value(value)
    } catch (error) {
      this.#path.length = 0
      if (error !== CYCLE) throw error
      this.#writer.rewind(start)
      this.#shapes.cut(shapes)
      this.#classes.cut(classes)
      this.#shape = -1
      this.#cyclicRow(value)
    }
  }

  #cyclicRow(row: object): void {
    this.#writer.byte(TAG.cyclic)
    this.#cycles = new CycleWriter(row)
    this.#value(row)
    this.#cycles = undefined
  }

  #value(value: unknown): void {
    const writer = this.#writer
    switch (typeof value) {
      case 'string':
        writer.byte(TAG.text)
        writer.countedText(value)
        return
      case 'number':
        this.#number(value)
        return
      case 'boolean':
        writer.byte(value ? TAG.true : TAG.false)
        return
      case 'undefined':
        writer.byte(TAG.undefined)
        return
      case 'bigint':
        this.#bigint(value)
        return
      case 'object':
        if (value === null) writer.byte(TAG.null)
        else this.#object(value)
        return
      default:
        throw new Untold(`a ${typeof value} cannot travel`)
    }
  }

  #number(value: number): void {
    const whole = value | 0
    if (whole === value && (whole !== 0 || !Object.is(value, -0))) {
      this.#writer.byte(TAG.int)
      this.#writer.count(((whole << 1) ^ (whole >> 31)) >>> 0)
      return
    }
    this.#writer.byte(TAG.float)
    // There are many NaN, and which one an operation gives depends on who compiled it.
    this.#writer.float64(Number.isNaN(value) ? Number.NaN : value)
  }

  #bigint(value: bigint): void {
    const digits = (value < 0n ? -value : value).toString(16)
    const magnitude = Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex')
    this.#writer.byte(TAG.bigint)
    this.#writer.byte(value < 0n ? 1 : 0)
    this.#writer.count(magnitude.length)
    this.#writer.bytes(magnitude)
  }

  #object(value: object): void {
    if (Array.isArray(value)) {
      if (!this.#enter(value)) return
      this.#array(value)
    } else if (isRecord(value)) {
      if (!this.#enter(value)) return
      this.#record(value as Record<string, unknown>)
    } else if (classOf(value) !== undefined) {
      if (!this.#enter(value)) return
      this.#instance(value as Record<string, unknown>, classOf(value)!)
    } else if (types.isMap(value)) {
      if (!this.#enter(value)) return
      this.#map(value)
    } else if (types.isSet(value)) {
      if (!this.#enter(value)) return
      this.#set(value)
    } else if (types.isNativeError(value)) {
      if (!this.#enter(value)) return
      this.#error(value)
    } else return this.#native(value)
    this.#leave()
  }

  /** False when the object has been written already, in a cyclic row. */
  #enter(value: object): boolean {
    if (this.#cycles !== undefined) {
      const known = this.#cycles.enter(value)
      if (known === undefined) return true
      this.#writer.byte(TAG.again)
      this.#writer.count(known)
      return false
    }
    const path = this.#path
    for (let i = path.length - 1; i >= 0; i--) if (path[i] === value) throw CYCLE
    path.push(value)
    return true
  }

  #leave(): void {
    if (this.#cycles === undefined) this.#path.pop()
    else this.#cycles.leave()
  }

  #array(values: readonly unknown[]): void {
    const { length } = values
    let holes = 0
    for (let i = 0; i < length; i++) {
      if (values[i] !== undefined || i in values) continue
      holes += 1
      if (holes > HOLES_MAX && holes > i * SPARSE_SHARE) return this.#sparse(values)
    }
    this.#writer.byte(TAG.array)
    this.#writer.count(length)
    for (let i = 0; i < length; i++) {
      const value = values[i]
      if (holes > 0 && value === undefined && !(i in values)) this.#writer.byte(TAG.hole)
      else this.#value(value)
    }
  }

  #sparse(values: readonly unknown[]): void {
    const indices: number[] = []
    // Indices come first and in order; other names of an array do not travel.
    for (const name of Object.keys(values)) {
      const index = Number(name)
      if (String(index >>> 0) !== name || index >= values.length) break
      indices.push(index)
    }
    this.#writer.byte(TAG.sparse)
    this.#writer.count(values.length)
    this.#writer.count(indices.length)
    for (const index of indices) {
      this.#writer.count(index)
      this.#value(values[index])
    }
  }

  #record(value: Record<string, unknown>): void {
    const names = Object.keys(value)
    this.#writer.byte(TAG.record)
    if (this.#shape < 0 || !isSame(names, this.#names)) this.#changeShape(names)
    else this.#writer.count(this.#shape)
    for (let i = 0; i < names.length; i++) this.#value(value[names[i]!])
  }

  #instance(value: Record<string, unknown>, id: string): void {
    this.#writer.byte(TAG.instance)
    const known = this.#classes.find([id])
    this.#writer.count(known ?? this.#classes.add([id]))
    if (known === undefined) this.#writer.countedText(id)
    this.#record(value)
  }

  #changeShape(names: readonly string[]): void {
    const known = this.#shapes.find(names)
    this.#names = names
    this.#shape = known ?? this.#shapes.add(names)
    this.#writer.count(this.#shape)
    if (known !== undefined) return
    this.#writer.count(names.length)
    for (const name of names) this.#writer.countedText(name)
  }

  #map(value: ReadonlyMap<unknown, unknown>): void {
    this.#writer.byte(TAG.map)
    this.#writer.count(value.size)
    for (const [key, item] of value) {
      this.#value(key)
      this.#value(item)
    }
  }

  #set(value: ReadonlySet<unknown>): void {
    this.#writer.byte(TAG.set)
    this.#writer.count(value.size)
    for (const member of value) this.#value(member)
  }

  /** Without its stack: that tells which way the engine took, and on which machine. */
  #error(value: Error): void {
    const message = typeof value.message === 'string' && value.message !== '' ? value.message : undefined
    const hasCause = Object.hasOwn(value, 'cause')
    const type = (ERROR_NAMES as readonly string[]).indexOf(value.name)
    this.#writer.byte(TAG.error)
    this.#writer.byte(Math.max(type, 0))
    this.#writer.byte((message === undefined ? 0 : ERROR_HAS.message) | (hasCause ? ERROR_HAS.cause : 0))
    if (message !== undefined) this.#writer.countedText(message)
    if (hasCause) this.#value(value.cause)
  }

  /** What has nothing of the row inside it. */
  #native(value: object): void {
    const writer = this.#writer
    if (types.isDate(value)) {
      writer.byte(TAG.date)
      this.#number(Date.prototype.getTime.call(value))
    } else if (ArrayBuffer.isView(value) || types.isArrayBuffer(value)) {
      const name = viewName(value)
      const bytes = sameNaNs(name, bytesOf(value))
      writer.byte(TAG.bytes)
      writer.byte(VIEW_NAMES.indexOf(name))
      writer.count(bytes.length)
      writer.bytes(bytes)
    } else if (types.isRegExp(value)) {
      writer.byte(TAG.regexp)
      writer.countedText(value.source)
      writer.countedText(value.flags)
    } else if (types.isBoxedPrimitive(value) && !types.isSymbolObject(value)) {
      writer.byte(TAG.boxed)
      this.#value(value.valueOf())
    } else throw new Untold('no plain data')
  }
}

function viewName(value: ArrayBufferView | ArrayBuffer): ViewName {
  if (Buffer.isBuffer(value)) return 'Buffer'
  const name = Object.prototype.toString.call(value).slice('[object '.length, -1)
  const known = VIEW_NAMES.find(each => each === name)
  if (known === undefined) throw new Untold(`a ${name} cannot travel`)
  return known
}

function bytesOf(value: ArrayBufferView | ArrayBuffer): Uint8Array {
  return ArrayBuffer.isView(value)
    ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    : new Uint8Array(value)
}

/** A copy of numbers with one kind of NaN. */
function sameNaNs(name: ViewName, bytes: Uint8Array): Uint8Array {
  if (name !== 'Float64Array' && name !== 'Float32Array') return bytes
  const copy = Uint8Array.from(bytes).buffer
  const numbers = name === 'Float64Array' ? new Float64Array(copy) : new Float32Array(copy)
  for (let i = 0; i < numbers.length; i++) if (Number.isNaN(numbers[i])) numbers[i] = Number.NaN
  return new Uint8Array(copy)
}
