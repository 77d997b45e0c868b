import { ShoalError } from '../../base/errors.ts'
import type { FileEntry } from '../../dht/index.ts'
import { nameMatcher } from '../../node/files/glob.ts'

export type Test = (entry: FileEntry) => boolean

const UNITS: Record<string, number> = {
  c: 1,
  b: 512,
  k: 1024,
  M: 1024 ** 2,
  G: 1024 ** 3,
  T: 1024 ** 4,
}

export interface FindExpression {
  paths: string[]
  tests: Test[]
  /** `-newer`: a path whose time is not known yet. */
  newerThan: string[]
}

/**
 * The words behind `find`: paths first, then tests that must all hold. As in HDFS and Unix: `-name` and `-iname` with a pattern, `-type f|d`, `-size
 * [+-]N[ckMGT]`, `-newer PATH`, `-print`; two dashes do as well as one.
 * @throws CONFIG_INVALID
 */
export function parseFind(words: readonly string[]): FindExpression {
  const found: FindExpression = { paths: [], tests: [], newerThan: [] }
  const rest = [...words]
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (!word.startsWith('-')) {
      found.paths.push(word)
      continue
    }
    const name = word.replace(/^--?/, '')
    if (name === 'print') continue
    const value = rest.shift()
    if (value === undefined) throw wrong(word, 'a value must follow it')
    if (name === 'newer') found.newerThan.push(value)
    else found.tests.push(testOf(word, name, value))
  }
  if (found.paths.length === 0) found.paths.push('/')
  return found
}

function testOf(word: string, name: string, value: string): Test {
  switch (name) {
    case 'name': {
      const fits = nameMatcher(value)
      return entry => fits(entry.name)
    }
    case 'iname': {
      const fits = nameMatcher(value.toLowerCase())
      return entry => fits(entry.name.toLowerCase())
    }
    case 'type': {
      if (value !== 'f' && value !== 'd') throw wrong(word, `it is f (file) or d (directory), not ${value}`)
      const type = value === 'f' ? 'file' : 'directory'
      return entry => entry.type === type
    }
    case 'size':
      return sizeTest(word, value)
  }
  throw wrong(word, 'find knows -name, -iname, -type, -size, -newer and -print')
}

/** '+10M': larger; '-10M': smaller; '10M': rounded up to whole units it is 10. Directories have no size. */
function sizeTest(word: string, value: string): Test {
  const [, sign = '', digits = '', unit = 'c'] = /^([+-]?)(\d+)([cbkMGT]?)$/.exec(value) ?? []
  if (digits === '') throw wrong(word, `it is a number such as 100, +10M or -1k, not ${value}`)
  const unitBytes = UNITS[unit === '' ? 'c' : unit] ?? 1
  const wanted = Number(digits)
  return ({ type, sizeBytes }) => {
    if (type !== 'file') return false
    if (sign === '+') return sizeBytes > wanted * unitBytes
    if (sign === '-') return sizeBytes < wanted * unitBytes
    return Math.ceil(sizeBytes / unitBytes) === wanted
  }
}

function wrong(option: string, reason: string): ShoalError {
  return new ShoalError('CONFIG_INVALID', { option, reason }, `${option}: ${reason}`)
}
