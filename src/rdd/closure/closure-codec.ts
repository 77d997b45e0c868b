import { ShoalError } from '../../base/index.ts'
import { ByteReader, ByteWriter } from './byte-stream.ts'
import type {
  Capture,
  CapturedClosure,
  FunctionNode,
  Node,
  ObjectParts,
  Primitive,
  Property,
  SourceLocation,
  SymbolValue,
  Value,
} from './closure-graph.ts'
import { packageName } from './package-files.ts'

/**
 * The bytes of a captured closure: a version, the root, the nodes; each value a tag and its content. Written by hand
 * because equal captures must give equal bytes (they are named by their hash): v8.serialize writes the same string or
 * number differently depending on how the engine happens to hold it, and msgpack loses -0 and lone surrogates.
 */
const VERSION = 1

const VALUE_TAGS = [
  'undefined',
  'null',
  'true',
  'false',
  'number',
  'string',
  'bigint',
  'node',
  'global',
  'builtin',
  'symbol',
  'hole',
] as const
const NODE_TAGS = [
  'object',
  'array',
  'map',
  'set',
  'error',
  'native',
  'bytes',
  'prototype-of',
  'bound',
  'function',
  'shared',
  'package',
  'declared',
] as const

type ValueTag = (typeof VALUE_TAGS)[number]

export function encodeClosure(closure: Pick<CapturedClosure, 'root' | 'nodes'>): Uint8Array {
  const writer = new ByteWriter()
  writer.byte(VERSION)
  writer.count(closure.nodes.length)
  writeValue(writer, closure.root)
  for (const node of closure.nodes) writeNode(writer, node)
  return writer.bytes()
}

/** What encodeClosure wrote, without the warnings. @throws BAD_MESSAGE for any other bytes. */
export function decodeClosure(bytes: Uint8Array): Pick<CapturedClosure, 'root' | 'nodes'> {
  try {
    const reader = new ByteReader(bytes)
    const version = reader.byte()
    if (version !== VERSION) throw new RangeError(`version ${version} instead of ${VERSION}`)
    const count = reader.count()
    const root = readValue(reader, count)
    const nodes: Node[] = []
    for (let i = 0; i < count; i++) nodes.push(readNode(reader, count))
    reader.end()
    return { root, nodes }
  } catch (error) {
    throw badClosure(error)
  }
}

export function badClosure(error: unknown): ShoalError<'BAD_MESSAGE'> {
  const reason = error instanceof Error ? error.message : String(error)
  return new ShoalError(
    'BAD_MESSAGE',
    { type: 'closure', reason },
    `these bytes are no closure that can be rebuilt here: ${reason}`,
    { cause: error },
  )
}

function writeValue(writer: ByteWriter, value: Value): void {
  const tag = (name: ValueTag): void => writer.byte(VALUE_TAGS.indexOf(name))
  switch (value.kind) {
    case 'primitive':
      writePrimitive(writer, value.value, tag)
      return
    case 'node':
      tag('node')
      writer.count(value.id)
      return
    case 'global':
      tag('global')
      writer.list(value.path, name => writer.string(name))
      return
    case 'builtin':
      tag('builtin')
      writer.string(value.module)
      writer.list(value.path, name => writer.string(name))
      return
    case 'symbol':
      tag('symbol')
      writeSymbol(writer, value)
      return
    case 'hole':
      tag('hole')
  }
}

function writePrimitive(writer: ByteWriter, value: Primitive, tag: (name: ValueTag) => void): void {
  if (typeof value === 'number') {
    tag('number')
    writer.number(value)
  } else if (typeof value === 'string') {
    tag('string')
    writer.string(value)
  } else if (typeof value === 'bigint') {
    tag('bigint')
    writer.string(value.toString(16))
  } else if (typeof value === 'boolean') tag(value ? 'true' : 'false')
  else tag(value === null ? 'null' : 'undefined')
}

function readValue(reader: ByteReader, nodes: number): Value {
  const tag = VALUE_TAGS[reader.byte()]
  switch (tag) {
    case 'undefined':
      return { kind: 'primitive', value: undefined }
    case 'null':
      return { kind: 'primitive', value: null }
    case 'true':
      return { kind: 'primitive', value: true }
    case 'false':
      return { kind: 'primitive', value: false }
    case 'number':
      return { kind: 'primitive', value: reader.number() }
    case 'string':
      return { kind: 'primitive', value: reader.string() }
    case 'bigint':
      return { kind: 'primitive', value: readBigint(reader) }
    case 'node': {
      const id = reader.count()
      if (id >= nodes) throw new RangeError(`node ${id} of ${nodes}`)
      return { kind: 'node', id }
    }
    case 'global':
      return { kind: 'global', path: reader.list(() => reader.string()) }
    case 'builtin':
      return { kind: 'builtin', module: reader.string(), path: reader.list(() => reader.string()) }
    case 'symbol':
      return readSymbol(reader)
    case 'hole':
      return { kind: 'hole' }
    case undefined:
      break
  }
  throw new RangeError('a value of unknown kind')
}

function readBigint(reader: ByteReader): bigint {
  const digits = reader.string()
  if (!/^-?[0-9a-f]+$/.test(digits)) throw new RangeError('a bigint without digits')
  return digits.startsWith('-') ? -BigInt(`0x${digits.slice(1)}`) : BigInt(`0x${digits}`)
}

function writeSymbol(writer: ByteWriter, symbol: SymbolValue): void {
  writer.boolean(symbol.wellKnown)
  writer.string(symbol.key)
}

function readSymbol(reader: ByteReader): SymbolValue {
  const wellKnown = reader.boolean()
  return { kind: 'symbol', key: reader.string(), wellKnown }
}

function writeProperty(writer: ByteWriter, { key, value }: Property): void {
  writer.boolean(typeof key === 'string')
  if (typeof key === 'string') writer.string(key)
  else writeSymbol(writer, key)
  writeValue(writer, value)
}

function readProperty(reader: ByteReader, nodes: number): Property {
  const key = reader.boolean() ? reader.string() : readSymbol(reader)
  return { key, value: readValue(reader, nodes) }
}

function writeParts(writer: ByteWriter, { proto, properties }: ObjectParts): void {
  writeOptional(writer, proto, value => writeValue(writer, value))
  writer.list(properties, property => writeProperty(writer, property))
}

function readParts(reader: ByteReader, nodes: number): ObjectParts {
  const proto = readOptional(reader, () => readValue(reader, nodes))
  const properties = reader.list(() => readProperty(reader, nodes))
  return proto === undefined ? { properties } : { proto, properties }
}

function writeOptional<T>(writer: ByteWriter, value: T | undefined, write: (value: T) => void): void {
  writer.boolean(value !== undefined)
  if (value !== undefined) write(value)
}

function readOptional<T>(reader: ByteReader, read: () => T): T | undefined {
  return reader.boolean() ? read() : undefined
}

function writeNode(writer: ByteWriter, node: Node): void {
  const value = (item: Value): void => writeValue(writer, item)
  writer.byte(NODE_TAGS.indexOf(node.kind))
  switch (node.kind) {
    case 'object':
    case 'error':
      writeParts(writer, node)
      return
    case 'array':
    case 'set':
      writer.list(node.items, value)
      writeParts(writer, node)
      return
    case 'map':
      writer.list(node.entries, ([key, item]) => {
        value(key)
        value(item)
      })
      writeParts(writer, node)
      return
    case 'native':
      writer.string(node.constructor)
      writer.list(node.args, arg => writeValue(writer, { kind: 'primitive', value: arg }))
      writeParts(writer, node)
      return
    case 'bytes':
      writer.string(node.view)
      writer.blob(node.bytes)
      return
    case 'prototype-of':
      value(node.constructor)
      return
    case 'bound':
      value(node.target)
      value(node.thisArg)
      writer.list(node.args, value)
      return
    case 'shared':
      writer.boolean(node.what === 'broadcast')
      writer.string(node.id)
      value(node.of)
      return
    case 'function':
      writeFunction(writer, node)
      return
    case 'declared':
      writer.string(node.id)
      return
    case 'package':
      for (const text of [node.package, node.version, node.subpath]) writer.string(text)
      writer.boolean(node.as === 'require')
      writer.list(node.path, name => writer.string(name))
  }
}

function readNode(reader: ByteReader, nodes: number): Node {
  const value = (): Value => readValue(reader, nodes)
  const kind = NODE_TAGS[reader.byte()]
  switch (kind) {
    case 'object':
    case 'error':
      return { kind, ...readParts(reader, nodes) }
    case 'array':
    case 'set': {
      const items = reader.list(value)
      return { kind, items, ...readParts(reader, nodes) }
    }
    case 'map': {
      const entries = reader.list((): [Value, Value] => [value(), value()])
      return { kind, entries, ...readParts(reader, nodes) }
    }
    case 'native': {
      const constructor = reader.string()
      const args = reader.list(() => {
        const arg = value()
        if (arg.kind !== 'primitive') throw new RangeError('an argument that is no primitive')
        return arg.value
      })
      return { kind, constructor, args, ...readParts(reader, nodes) }
    }
    case 'bytes':
      return { kind, view: reader.string(), bytes: reader.blob() }
    case 'prototype-of':
      return { kind, constructor: value() }
    case 'bound':
      return { kind, target: value(), thisArg: value(), args: reader.list(value) }
    case 'shared': {
      const what = reader.boolean() ? 'broadcast' : 'accumulator'
      return { kind, what, id: reader.string(), of: value() }
    }
    case 'function':
      return readFunction(reader, nodes)
    case 'declared':
      return { kind, id: reader.string() }
    case 'package':
      return readPackage(reader)
    case undefined:
      break
  }
  throw new RangeError('a node of unknown kind')
}

/** The name is looked up below `node_modules`: nothing but the name of a package may stand there. */
function readPackage(reader: ByteReader): Node {
  const [name, version, subpath] = [reader.string(), reader.string(), reader.string()]
  if (packageName(name) !== name) throw new RangeError(`a package called ${name}`)
  if (!/^\.(\/|$)/.test(subpath) || /(^|\/)\.\.(\/|$)/.test(subpath))
    throw new RangeError(`a part ${subpath} of a package`)
  const as = reader.boolean() ? 'require' : 'import'
  return { kind: 'package', package: name, version, subpath, as, path: reader.list(() => reader.string()) }
}

function writeFunction(writer: ByteWriter, node: FunctionNode): void {
  writer.string(node.source)
  writer.boolean(node.form === 'method')
  writeOptional(writer, node.name, name => writer.string(name))
  writer.list(node.captures, ({ name, value, assigned, early }) => {
    writer.string(name)
    writeValue(writer, value)
    writer.boolean(assigned)
    writer.boolean(early)
  })
  writer.list(node.properties, property => writeProperty(writer, property))
  writeOptional(writer, node.prototype, prototype => {
    writer.boolean(prototype.kind === 'extended')
    if (prototype.kind === 'extended') writeParts(writer, prototype.parts)
    else writeValue(writer, prototype.value)
  })
  writeOptional(writer, node.location, location => {
    writer.string(location.file)
    writer.number(location.line)
    writer.number(location.column)
  })
}

function readFunction(reader: ByteReader, nodes: number): FunctionNode {
  return {
    kind: 'function',
    source: reader.string(),
    form: reader.boolean() ? 'method' : 'expression',
    name: readOptional(reader, () => reader.string()),
    captures: reader.list((): Capture => readCapture(reader, nodes)),
    properties: reader.list(() => readProperty(reader, nodes)),
    prototype: readOptional(reader, () =>
      reader.boolean()
        ? { kind: 'extended', parts: readParts(reader, nodes) }
        : { kind: 'replaced', value: readValue(reader, nodes) },
    ),
    location: readOptional(reader, () => readLocation(reader)),
  }
}

function readCapture(reader: ByteReader, nodes: number): Capture {
  const name = reader.string()
  // It becomes part of the text that is compiled: nothing but a name may stand there.
  if (!/^[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*$/u.test(name))
    throw new RangeError(`a variable called ${name}`)
  return { name, value: readValue(reader, nodes), assigned: reader.boolean(), early: reader.boolean() }
}

function readLocation(reader: ByteReader): SourceLocation {
  const location = { file: reader.string(), line: reader.number(), column: reader.number() }
  if (!isPosition(location.line) || !isPosition(location.column))
    throw new RangeError('a place outside of any file')
  return location
}

/** Lines and columns that V8 can take as 32-bit offsets. */
function isPosition(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value < 0x4000_0000
}
