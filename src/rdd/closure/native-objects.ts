import { types } from 'node:util'
import type { Primitive } from './closure-graph.ts'
import { isObject } from './value-shape.ts'

/** How an object with state inside the engine is described by plain arguments, and made again from them. */
interface Rebuild {
  matches(value: object): boolean
  describe(value: object): Primitive[]
  /** Must stand any arguments: they come off the wire. Throws what the constructor throws. */
  build(args: readonly Primitive[]): object
}

type Options = Record<string, Primitive>

/** The only things that a decoded graph can construct by name. */
export const rebuildable: ReadonlyMap<string, Rebuild> = new Map<string, Rebuild>([
  [
    'Date',
    {
      matches: types.isDate,
      describe: value => [Date.prototype.getTime.call(value)],
      build: ([time]) => new Date(Number(time)),
    },
  ],
  [
    'RegExp',
    {
      matches: types.isRegExp,
      describe: value => {
        const pattern = value as RegExp
        return [pattern.source, pattern.flags, pattern.lastIndex]
      },
      build: ([source, flags, lastIndex]) =>
        Object.assign(new RegExp(String(source), String(flags)), { lastIndex: Number(lastIndex) }),
    },
  ],
  [
    'Boxed',
    {
      matches: value => types.isBoxedPrimitive(value) && !types.isSymbolObject(value),
      describe: value => [(value as { valueOf(): Primitive }).valueOf()],
      build: ([value]) => Object(value) as object,
    },
  ],
  [
    'URL',
    {
      matches: value => value instanceof URL,
      describe: value => [(value as URL).href],
      build: ([href]) => new URL(String(href)),
    },
  ],
  [
    'URLSearchParams',
    {
      matches: value => value instanceof URLSearchParams,
      describe: value => [(value as URLSearchParams).toString()],
      build: ([query]) => new URLSearchParams(String(query)),
    },
  ],
  [
    'TextEncoder',
    { matches: value => value instanceof TextEncoder, describe: () => [], build: () => new TextEncoder() },
  ],
  [
    'TextDecoder',
    {
      matches: value => value instanceof TextDecoder,
      describe: value => {
        const { encoding, fatal, ignoreBOM } = value as InstanceType<typeof TextDecoder>
        return [encoding, fatal, ignoreBOM]
      },
      build: ([encoding, fatal, ignoreBOM]) =>
        new TextDecoder(String(encoding), { fatal: fatal === true, ignoreBOM: ignoreBOM === true }),
    },
  ],
  intl('Collator', Intl.Collator),
  intl('DateTimeFormat', Intl.DateTimeFormat),
  intl('ListFormat', Intl.ListFormat),
  intl('NumberFormat', Intl.NumberFormat),
  intl('PluralRules', Intl.PluralRules),
  intl('RelativeTimeFormat', Intl.RelativeTimeFormat),
  intl('Segmenter', Intl.Segmenter),
])

interface IntlFormat {
  resolvedOptions(): object
}

function intl(
  name: string,
  format: { new (locale: string, options: object): IntlFormat; prototype: IntlFormat },
): [string, Rebuild] {
  return [
    `Intl.${name}`,
    {
      matches: value => value instanceof format,
      describe: value => {
        const { locale, ...options } = (value as IntlFormat).resolvedOptions() as Options
        // Lists among them (pluralCategories) are answers, not options.
        return [locale, ...Object.entries(options).flatMap(option => (isObject(option[1]) ? [] : option))]
      },
      build: ([locale, ...options]) => {
        const pairs = options.flatMap((key, i) => (i % 2 === 0 ? [[String(key), options[i + 1]]] : []))
        return new format(String(locale), Object.fromEntries(pairs) as Options)
      },
    },
  ]
}

/** What an object is, in a word for people, when no copy of it can work elsewhere; undefined when one can. */
export function unshippable(value: object): { what: string; advice: string } | undefined {
  if (types.isProxy(value)) return { what: 'a Proxy', advice: 'capture the values you need from it instead' }
  if (types.isPromise(value)) return { what: 'a Promise', advice: 'await it before and capture its result' }
  if (types.isGeneratorObject(value)) {
    return {
      what: 'a generator object',
      advice: 'capture its values, as in [...generator], or the generator function',
    }
  }
  if (types.isWeakMap(value)) return { what: 'a WeakMap', advice: 'use a Map' }
  if (types.isWeakSet(value)) return { what: 'a WeakSet', advice: 'use a Set' }
  if (value instanceof WeakRef) return { what: 'a WeakRef', advice: 'capture what it refers to' }
  if (types.isMapIterator(value) || types.isSetIterator(value)) {
    return { what: 'an iterator', advice: 'capture its values, as in [...iterator]' }
  }
  if (types.isSharedArrayBuffer(value)) {
    return { what: 'shared memory', advice: 'peers share none; copy it into an ordinary array first' }
  }
  if (types.isExternal(value)) return { what: 'a native handle', advice: 'open it inside the function' }
  if (types.isArgumentsObject(value))
    return { what: 'an arguments object', advice: 'copy it, as in [...arguments]' }
  return undefined
}

/** "a Socket", "an Agent": for instances of what is not the user's own. */
export function instanceName(value: object): string {
  const prototype = Object.getPrototypeOf(value) as object | null
  const constructor: unknown = prototype === null ? undefined : Reflect.get(prototype, 'constructor')
  const tag: unknown = prototype === null ? undefined : Reflect.get(prototype, Symbol.toStringTag)
  const name = typeof constructor === 'function' && constructor.name !== '' ? constructor.name : undefined
  const known = name ?? (typeof tag === 'string' ? tag : 'native object')
  return `${/^[AEIOU]/i.test(known) ? 'an' : 'a'} ${known}`
}
