import vm from 'node:vm'
import { expect, test } from 'vitest'
import { IncompleteSnippet, snippetOf } from '../../../src/cli/repl/snippet.ts'

/** As the REPL does it, in a global scope of its own that the lines share. */
async function session(...lines: string[]): Promise<unknown> {
  const context = vm.createContext({ later: async (value: unknown) => await Promise.resolve(value) })
  let last: unknown
  for (const [i, line] of lines.entries()) {
    const { code, isAsync } = snippetOf(`${line}\n`, `REPL${i + 1}`)
    const script = new vm.Script(code, {
      importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    })
    const result: unknown = script.runInContext(context)
    last = isAsync ? ((await result) as { value?: unknown } | undefined)?.value : result
  }
  return last
}

test.each<[claim: string, lines: string[], value: unknown]>([
  ['const may be declared again', ['const a: number = 1', 'const a = 2', 'a'], 2],
  [
    'let without a value forgets the old one',
    ['let a = 1', 'let a: string | undefined', 'typeof a'],
    'undefined',
  ],
  [
    'a class may be declared again',
    ['class A { x = 1 }', 'class A { y = 2 }', 'Object.keys(new A())[0]'],
    'y',
  ],
  [
    'functions see what was declared before',
    ['const k = 3', 'function f(n: number) { return n * k }', 'f(2)'],
    6,
  ],
  ['await anywhere', ['(await later(20)) + (await later(22))'], 42],
  ['what is declared beside an await stays', ['const a = await later(1), b = 2', 'a + b'], 3],
  ['patterns beside an await', ['const { a, b: [c, ...d], e = 5 } = await later({ a: 1, b: [2, 3, 4] })', '[a, c, ...d, e].join()'], '1,2,3,4,5'], // prettier-ignore
  ['functions and classes beside an await', ['await later(1); function f() { return 1 } class B { x = 2 }', 'f() + new B().x'], 3], // prettier-ignore
  ['for await', ['let sum = 0', 'for await (const n of [later(1), 2]) sum += n', 'sum'], 3],
  ['an await within a function is its own', ['const f = async () => await later(7)', 'await f()'], 7],
  ['imports', ['import path, { basename as base } from "node:path"', 'base("/a/b") + path.sep'], 'b/'],
  ['a whole module', ['import * as path from "node:path"', 'path.basename("/a/b")'], 'b'],
  ['types alone are nothing', ['interface A { x: number }', 'type B = A | string', '1 as unknown as B'], 1],
  ['an object in braces', ['{ a: 1, b: 2 }.b'], 2],
  ['a block in braces', ['{ const a = 1; a + 1 }'], 2],
  ['generic arrows', ['const id = <T>(x: T): T => x', 'id<string>("x")'], 'x'],
])('%s', async (_claim, lines, value) => {
  expect(await session(...lines)).toBe(value)
})

test.each([
  'foo(',
  'const x = {',
  'const x: number =',
  'mesh.range(10).map((n: number) => {',
  'interface A {',
  'type A = {',
  'class A {\n  x = 1',
  '`text',
  '/* comment',
  'if (a) {',
  'mesh.',
  'const f = async () => {\n  await g()',
])('%j goes on in the next line', source => {
  expect(() => snippetOf(`${source}\n`, 'REPL1')).toThrow(IncompleteSnippet)
})

test.each([
  ['a b', 1, "Expected ';', '}' or <eof>\n  a b\n    ^"],
  ['const a = 1\nlet x = = 2', 2, 'Expression expected\n  let x = = 2\n          ^'],
  ['"text', 1, 'Unterminated string constant\n  "text\n  ^^^^^'],
  [')', 1, 'Expression expected\n  )\n  ^'],
  ['enum A { B }', 1, 'TypeScript enum is not supported in strip-only mode\n  enum A { B }\n  ^^^^^^^^^^^^'],
])('%j is wrong in line %d', (source, line, message) => {
  expect(() => snippetOf(`${source}\n`, 'REPL1')).toThrow(
    expect.objectContaining({ code: 'SYNTAX_ERROR', details: expect.objectContaining({ line }), message: `line ${line}: ${message}` }), // prettier-ignore
  )
})

test('lines keep their numbers, so that errors point to them', () => {
  const { code } = snippetOf('const a: number = 1\nconst b = await a\nb.c.d\n', 'REPL1')
  expect(code.split('\n')[2]).toContain('b.c.d')
})
