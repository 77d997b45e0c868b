import fs from 'node:fs'
import vm from 'node:vm'
import { afterAll, expect, test } from 'vitest'
import { capture, encodeClosure, functionLocation, reviveClosure } from '../../../../src/rdd/closure/index.ts'
import { RemotePeer } from './fixtures/in-worker.ts'

const remote = new RemotePeer()
afterAll(() => remote[Symbol.asyncDispose]())

const file = import.meta.filename
const lines = fs.readFileSync(file, 'utf8').split('\n')

/** Line and column (from 1) of a mark in this file. */
function at(mark: string): { line: number; column: number } {
  const index = lines.findIndex(line => line.includes(mark))
  return { line: index + 1, column: lines[index]!.indexOf(mark) + 1 }
}

/** File, line and column of the first frame of a stack. */
function firstFrame(error: unknown): string | undefined {
  return /\n\s+at .*?\(?(\/[^)\n]+)\)?/.exec(error instanceof Error ? String(error.stack) : '')?.[1]
}

type Row = { deep: { value: number } }
const bare = {} as Row
const factor = 2

const oneLine = (row: Row): number => row.deep./* one line */value * factor // prettier-ignore
const lower = (row: Row): number => {
  const scale = factor
  return row.deep./* lower */value * scale // prettier-ignore
}
function declared(row: Row): number { return row.deep./* declared */value * factor } // prettier-ignore
function
  // a comment ( before the parameters
  split (row: Row): number { return row.deep./* split */value * factor } // prettier-ignore
const holder = {
  method(row: Row): number { return row.deep./* method */value * factor }, // prettier-ignore
  async later(row: Row) { return row.deep./* later */value * factor }, // prettier-ignore
  get live() { return (row: Row) => row.deep./* live */value }, // prettier-ignore
}
class Reader {
  factor = 1

  constructor(factor: number) {
    this.factor = factor
  }
  read(row: Row): number { return row.deep./* class */value * this.factor } // prettier-ignore
}
class Plain { read(row: Row): number { return row.deep./* plain */value * factor } } // prettier-ignore
const fib = (n: number, row: Row): number => (n > 0 ? fib(n - 1, row) : row.deep./* recursive */value) // prettier-ignore
const viaHelper = (row: Row): number => declared(row)
const viaClass = (row: Row): number => new Reader(2).read(row)
const viaPlain = (row: Row): number => new Plain().read(row)

const throwing: [fn: Function, mark: string, ...args: unknown[]][] = [
  [oneLine, 'one line', bare],
  [lower, 'lower', bare],
  [declared, 'declared', bare],
  [split, 'split', bare],
  [Reflect.get(holder, 'method'), 'method', bare],
  [Reflect.get(holder, 'later'), 'later', bare],
  [holder.live, 'live', bare],
  [(row: Row) => fib(3, row), 'recursive', bare],
  [viaHelper, 'declared', bare],
  [viaClass, 'class', bare],
  [viaPlain, 'plain', bare],
]

test.each(throwing)(
  'an error on another peer shows the place in the user file: %s at %s',
  async (fn, mark, ...args) => {
    const place = at(`/* ${mark} */`)
    const failure: unknown = await remote.call(fn, ...args).catch((error: unknown) => error)
    const column = place.column + `/* ${mark} */`.length
    expect(firstFrame(failure)).toBe(`${file}:${place.line}:${column}`)
  },
)

test('a stack names the functions as the user named them', async () => {
  const failure: unknown = await remote.call(viaHelper, bare).catch((error: unknown) => error)
  expect(String((failure as Error).stack)).toMatch(/at declared \(.*\n.*at viaHelper \(/)
})

test('functionLocation says where the text of a function starts', () => {
  const line = (text: string): number => lines.findIndex(candidate => candidate.startsWith(text)) + 1
  expect(functionLocation(oneLine)).toEqual({ file, line: line('const oneLine'), column: 17 })
  expect(functionLocation(declared)).toEqual({ file, line: line('function declared'), column: 1 })
  expect(functionLocation(split)).toMatchObject({
    file,
    line: at('  split (row').line - 2,
  })
  expect(functionLocation(Reader)).toMatchObject({ file, line: line('class Reader') })
  expect(functionLocation(Plain)).toEqual({ file, line: line('class Plain'), column: 1 })
})

test('functions without a file have no location, and still ship', () => {
  expect(functionLocation(Math.max)).toBeUndefined()
  expect(functionLocation(oneLine.bind(null))).toBeUndefined()
  const made = vm.runInThisContext('new Function("x", "return x + 1")') as Function
  expect(functionLocation(made)).toBeUndefined()
  expect(reviveClosure(encodeClosure(capture(made)))(1)).toBe(2)
})

test('a function typed into a REPL keeps the name of its input', async () => {
  const fn = vm.runInThisContext('\n(row =>\n row.a.b)', { filename: 'REPL12' }) as Function
  expect(functionLocation(fn)).toEqual({ file: 'REPL12', line: 2, column: 2 })
  const failure: unknown = await remote.call(fn, {}).catch((error: unknown) => error)
  expect(String((failure as Error).stack)).toContain('at REPL12:3:8')
})

test('a rebuilt function can be captured again, and still knows its place', async () => {
  const again = reviveClosure(encodeClosure(capture(lower)))
  expect(functionLocation(again)).toEqual(functionLocation(lower))
  const failure: unknown = await remote.call(again, bare).catch((error: unknown) => error)
  expect(firstFrame(failure)).toBe(`${file}:${at('/* lower */').line}:${at('/* lower */').column + 11}`)
})
