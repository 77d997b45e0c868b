import type { Mesh } from '../../node/index.ts'
import { RDD } from '../../rdd/index.ts'

export type Completions = [matches: string[], part: string]

/** A mesh that does not answer at once does not hold up the keyboard. */
const PATHS_TIMEOUT_MS = 500
/** A path in quotes that is not closed yet. */
const OPEN_PATH = /["'`](\/[^"'`]*)$/
/** `mesh.ra`, `words.filter(isLong).ma`, `con`; what calls hold in their parentheses may be anything. */
const MEMBER = /((?:[\w$]+(?:\(.*\))?\??\.)*)([\w$]*)$/
/** Operators whose result is another RDD, and what makes one. */
const LAZY = new Set(
  (
    'map filter flatMap mapPartitions mapPartitionsWithIndex glom keyBy keys values mapValues flatMapValues union distinct ' +
    'repartition coalesce sortBy sortByKey partitionBy groupBy groupByKey reduceByKey combineByKey aggregateByKey foldByKey join ' +
    'leftOuterJoin rightOuterJoin fullOuterJoin cogroup cache persist unpersist setName parallelize range textFile emptyRDD'
  ).split(' '),
)

/** What may follow: paths of the mesh in quotes, members of what is known, else names. Runs nothing that was typed. */
export async function complete(line: string, mesh: Mesh): Promise<Completions> {
  const path = OPEN_PATH.exec(line)?.[1]
  if (path !== undefined) return await completePath(path, mesh)
  const [, chain = '', part = ''] = MEMBER.exec(line) ?? []
  const names = chain === '' ? globalNames() : membersOf(valueOf(chain.replace(/\??\.$/, '')))
  return [names.filter(name => name.startsWith(part)).sort(), part]
}

async function completePath(path: string, mesh: Mesh): Promise<Completions> {
  const cut = path.lastIndexOf('/') + 1
  const signal = AbortSignal.timeout(PATHS_TIMEOUT_MS)
  try {
    const entries = await mesh.fs.ls(path.slice(0, cut), { consistency: 'stale', signal })
    const found = entries.map(
      entry => path.slice(0, cut) + entry.name + (entry.type === 'directory' ? '/' : ''),
    )
    return [found.filter(each => each.startsWith(path)), path]
  } catch {
    return [[], path]
  }
}

function globalNames(): string[] {
  return [...membersOf(globalThis), ...KEYWORDS]
}

const KEYWORDS = [
  'await',
  'async',
  'const',
  'let',
  'function',
  'class',
  'return',
  'import',
  'typeof',
  'undefined',
  'null',
]

/** What a chain stands for; of calls only that datasets give datasets is known. */
function valueOf(chain: string): unknown {
  const head = /^([\w$]+)(\(.*\))?/.exec(chain)
  if (head === null || head[2] !== undefined) return undefined
  let value: unknown = Reflect.get(globalThis, head[1]!)
  let rest = chain.slice(head[0].length)
  while (rest !== '') {
    const step = /^\??\.([\w$]+)/.exec(rest)
    if (step === null || value === undefined || value === null) return undefined
    const name = step[1]!
    rest = rest.slice(step[0].length)
    if (rest.startsWith('(')) {
      if (!LAZY.has(name)) return undefined
      value = RDD.prototype
      rest = afterCall(rest)
    } else value = ownOrInherited(value, name)
  }
  return value
}

/** A getter may do anything: it is not run. */
function ownOrInherited(value: unknown, name: string): unknown {
  for (
    let at = Object(value) as object | null;
    at !== null;
    at = Object.getPrototypeOf(at) as object | null
  ) {
    const property = Object.getOwnPropertyDescriptor(at, name)
    if (property !== undefined) return property.value
  }
  return undefined
}

/** Behind the parenthesis that closes the first one. Quotes do not matter enough to be read. */
function afterCall(text: string): string {
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++
    if (text[i] === ')' && --depth === 0) return text.slice(i + 1)
  }
  return ''
}

function membersOf(value: unknown): string[] {
  if (value === undefined || value === null) return []
  const names = new Set<string>()
  for (let at = Object(value) as object | null; at !== null && at !== Object.prototype;) {
    for (const name of Object.getOwnPropertyNames(at)) {
      if (/^[A-Za-z$][\w$]*$/.test(name) && name !== 'constructor') names.add(name)
    }
    at = Object.getPrototypeOf(at) as object | null
  }
  return [...names]
}
