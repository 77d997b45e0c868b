import vm from 'node:vm'
import { afterAll, describe, expect, test } from 'vitest'
import { capture, encodeClosure, Packages, reviveClosure } from '../../../../src/rdd/closure/index.ts'
import { PackageFolder } from '../../../support/package-folder.ts'
import { RemotePeer } from './fixtures/in-worker.ts'

const folder = new PackageFolder()
const bare = new PackageFolder()
const remote = new RemotePeer(folder.directory)
const lacking = new RemotePeer(bare.directory)
afterAll(async () => {
  await remote[Symbol.asyncDispose]()
  await lacking[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
  bare[Symbol.dispose]()
})

folder.install(
  'modern',
  {
    version: '2.3.4',
    type: 'module',
    exports: {
      '.': { import: './index.js', require: './index.cjs' },
      './math': './lib/math.js',
      './features/*': { types: './types/*.d.ts', default: './features/*.js' },
      './hidden/*': null,
    },
  },
  {
    'index.js': `
      export { twice } from './lib/math.js'
      export default function greet(name) { return 'hello ' + name }
      export class Point {
        static origin() { return new Point(0, 0) }
        constructor(x, y) { this.x = x; this.y = y }
        get length() { return Math.hypot(this.x, this.y) }
      }
      export class Vault { #secret = 7; read() { return this.#secret } }
      export const tools = { deep: { add: (a, b) => a + b } }
      export const adder = n => m => n + m
      export function usesPrivate(x) { return secret(x) }
      export class Shy { constructor() { this.open = 1; Object.defineProperty(this, 'hidden', { value: 2 }) } }
      export class Trouble extends Error { constructor(n) { super('trouble ' + n); this.n = n } }
      const secret = x => x * 100
      export const leak = () => secret`,
    'index.cjs': `exports.twice = x => -x; exports.old = x => 'cjs ' + x`,
    'lib/math.js': `export const twice = x => 2 * x\nexport const cube = x => x ** 3`,
    'features/red.js': `export const red = s => '<' + s + '>'`,
  },
)
folder.install(
  'classic',
  { main: './lib/main.js' },
  {
    'lib/main.js': `
      module.exports = function classic(x) { return 'classic ' + x }
      module.exports.shout = s => s.toUpperCase()
      function Legacy(n) { this.n = n }
      Legacy.prototype.next = function () { return this.n + 1 }
      module.exports.Legacy = Legacy`,
    'lib/extra.js': `exports.extra = x => x + ' extra'`,
  },
)
folder.install(
  '@scope/compiled',
  { version: '0.4.1', main: 'index.js' },
  {
    'index.js': `
      Object.defineProperty(exports, '__esModule', { value: true })
      const inner = require('./inner.js')
      Object.defineProperty(exports, 'inner', { enumerable: true, get: function () { return inner.inner; } });
      exports.default = x => 'default ' + x`,
    'inner.js': `exports.inner = x => 'inner ' + x`,
  },
)

type Jobs = Record<string, (...args: unknown[]) => unknown>
const jobs = await folder.program<Jobs>(
  'job.mjs',
  `
  import greet, { twice, Point, tools, Vault, adder, leak, usesPrivate, Shy, Trouble } from 'modern'
  import * as modern from 'modern'
  import { cube } from 'modern/math'
  import { red } from 'modern/features/red'
  import classic, { shout, Legacy } from 'classic'
  import { extra } from 'classic/lib/extra.js'
  import compiled, { inner } from '@scope/compiled'
  import { createRequire } from 'node:module'
  const { old } = createRequire(import.meta.url)('modern')
  const { deep: { add } } = tools
  const point = new Point(3, 4)
  const vault = new Vault()
  const legacy = new Legacy(1)
  const shy = new Shy()
  const trouble = new Trouble(3)
  const helper = x => twice(x) + 1
  class Mine extends Point { sum() { return this.x + this.y } }
  const addThree = adder(3)
  const secret = leak()
  export const named = x => twice(x)
  export const byDefault = x => greet(x)
  export const namespace = x => modern.twice(x) + modern.default('you')
  export const subpath = x => cube(x)
  export const pattern = x => red(x)
  export const cjs = x => classic(x) + shout(x)
  export const cjsSubpath = x => extra(x)
  export const getter = x => compiled.default(x) + inner(x)
  export const required = x => old(x)
  export const destructured = (a, b) => add(a, b)
  export const through = x => helper(x)
  export const instance = () => point.length
  export const isInstance = () => point instanceof Point && new Mine(1, 2).sum() + Mine.origin().x
  export const statics = () => Point.origin().length
  export const legacyInstance = () => legacy.next()
  export const inside = x => usesPrivate(x)
  export const direct = twice
  export const dynamic = async x => (await import('modern/math')).cube(x)
  export const method = { async run(x) { const { default: f } = await import('classic'); return f(x) } }.run
  export const error = () => [trouble.message, trouble.n, trouble instanceof Trouble]
  export const proxied = (namespace => {
    const __vi_import_0__ = namespace
    return x => (0, __vi_import_0__.twice)(x) + (0, __vi_import_0__.default)('you')
  })(new Proxy(modern, {}))
  export const refusesHidden = () => shy.open
  export const refusesVault = () => vault.read()
  export const refusesClosure = x => addThree(x)
  export const refusesPrivate = x => secret(x)
  export const refusesRelative = async () => import('./other.mjs')
  export const computed = async name => Object.keys(await import(name))
  `,
)

function job(name: string): (...args: unknown[]) => unknown {
  const found = jobs[name]
  if (found === undefined) throw new Error(`no job ${name}`)
  return found
}

describe('what comes from packages travels by name', () => {
  const cases: [name: string, args: unknown[], value: unknown][] = [
    ['named', [4], 8],
    ['byDefault', ['you'], 'hello you'],
    ['namespace', [1], '2hello you'],
    ['subpath', [2], 8],
    ['pattern', ['x'], '<x>'],
    ['cjs', ['a'], 'classic aA'],
    ['cjsSubpath', ['a'], 'a extra'],
    ['getter', ['a'], 'default ainner a'],
    ['required', [1], 'cjs 1'],
    ['destructured', [1, 2], 3],
    ['through', [2], 5],
    ['instance', [], 5],
    ['isInstance', [], 3],
    ['statics', [], 0],
    ['legacyInstance', [], 2],
    ['inside', [2], 200],
    ['direct', [5], 10],
    ['error', [], ['trouble 3', 3, true]],
    ['proxied', [1], '2hello you'],
    ['dynamic', [3], 27],
    ['method', ['m'], 'classic m'],
  ]
  test.each(cases)('%s', async (name, args, value) => {
    expect(await job(name)(...args), 'as the program itself computes it').toEqual(value)
    expect(await remote.call(job(name), ...args)).toEqual(value)
  })

  test('none of their text is shipped', () => {
    const text = Buffer.from(encodeClosure(capture(job('inside')))).toString()
    expect(text).toContain('modern')
    expect(text).not.toContain('100')
  })

  test('the captured closure says which packages it needs, with their versions here', () => {
    expect(capture(job('named')).packages).toEqual([{ name: 'modern', version: '2.3.4' }])
    expect(capture(job('getter')).packages).toEqual([{ name: '@scope/compiled', version: '0.4.1' }])
    expect(capture(job('dynamic')).packages).toEqual([{ name: 'modern', version: '2.3.4' }])
    expect(capture(job('through')).packages).toEqual([{ name: 'modern', version: '2.3.4' }])
    expect(capture(() => 1).packages).toEqual([])
  })

  test('what is typed into a REPL may use packages, too', async () => {
    const context = vm.createContext({ modern: await import(`${folder.url}/node_modules/modern/index.js`) })
    vm.runInContext(
      'const { twice } = modern; var helper = x => twice(x) + modern.tools.deep.add(x, 1)',
      context,
    )
    const fn = vm.runInContext('x => helper(x) + new modern.Point(3, 4).length', context) as Function
    const captured = capture(fn, { globals: context })
    expect(captured.packages).toEqual([{ name: 'modern', version: '2.3.4' }])
    expect(await remote.revive(encodeClosure(captured), 1)).toBe(9)
  })

  test('a computed import() finds packages and modules of Node, with a warning', async () => {
    expect(capture(job('computed')).warnings[0]).toMatch(/resolved on the executing peer/)
    expect(await remote.call(job('computed'), 'modern/math')).toEqual(['cube', 'twice'])
    expect(await remote.call(job('computed'), 'node:path')).toContain('join')
    await expect(remote.call(job('computed'), './job.mjs')).rejects.toThrow(/names a file of the requester/)
  })
})

describe('what cannot be named is refused where the operator is called', () => {
  const cases: [name: string, variable: string, reason: RegExp][] = [
    ['refusesHidden', 'shy', /package "modern", which keeps something hidden in it \(hidden\)/],
    ['refusesVault', 'vault', /instance of Vault, whose #private state/],
    ['refusesClosure', 'addThree', /function of the package "modern" that is none of its exports/],
    ['refusesPrivate', 'secret', /make it inside the function/],
    ['refusesRelative', '', /import\('\.\/other\.mjs'\).*import it at the top of the file/],
  ]
  test.each(cases)('%s', (name, variable, reason) => {
    expect(() => capture(job(name), { operator: 'map' })).toThrow(
      expect.objectContaining({
        code: 'CLOSURE_REFUSED',
        details: expect.objectContaining({ variable, reason: expect.stringMatching(reason) }),
        message: expect.stringMatching(/^job\.mjs:\d+: map\(\): cannot ship/),
      }),
    )
  })
})

describe('on a peer that lacks the package', () => {
  test('nothing of the closure runs', async () => {
    await expect(lacking.call(job('named'), 1)).rejects.toMatchObject({
      code: 'PACKAGE_MISSING',
      details: { package: 'modern', wanted: '2.3.4' },
      message: expect.stringContaining(bare.directory),
    })
    await expect(lacking.call(job('dynamic'), 1)).rejects.toMatchObject({ code: 'PACKAGE_MISSING' })
  })

  test('a check says what is missing, and which versions will not do', () => {
    const other = new PackageFolder()
    other.install('major', { version: '2.0.0' }, {})
    other.install('minor', { version: '1.9.0' }, {})
    other.install('zero', { version: '0.2.0' }, {})
    other.install('patch', { version: '0.1.9' }, {})
    other.install('same', { version: '1.0.0-rc.1' }, {})
    const { missing, warnings } = new Packages(`${other.directory}/below/it`).check([
      { name: 'absent', version: '1.0.0' },
      { name: 'unknown' },
      { name: 'major', version: '1.0.0' },
      { name: 'minor', version: '1.2.0' },
      { name: 'zero', version: '0.1.0' },
      { name: 'patch', version: '0.1.0' },
      { name: 'same', version: '1.0.0-rc.1' },
    ])
    expect(missing).toEqual([
      { name: 'absent', wanted: '1.0.0' },
      { name: 'unknown' },
      { name: 'major', wanted: '1.0.0', have: '2.0.0' },
      { name: 'zero', wanted: '0.1.0', have: '0.2.0' },
    ])
    expect(warnings).toEqual([
      'has minor 1.9.0; the closure was captured with 1.2.0',
      'has patch 0.1.9; the closure was captured with 0.1.0',
    ])
    other[Symbol.dispose]()
  })

  test('a version without the export is refused by name', () => {
    const other = new PackageFolder()
    other.install('modern', { version: '2.0.0', exports: './index.js' }, { 'index.js': 'exports.x = 1' })
    const name = { package: 'modern', version: '2.3.4', subpath: '.', as: 'import' as const, path: ['twice'] }
    expect(() => new Packages(other.directory).named(name)).toThrow(
      /version 2\.0\.0 of modern .* has no modern\.twice, which version 2\.3\.4 has/,
    )
    other[Symbol.dispose]()
  })

  test('bytes that name anything but a package of node_modules are refused', () => {
    const { nodes, root } = capture(job('direct'))
    for (const name of ['../outside', '..', '/etc', 'a/b', '']) {
      const forged = nodes.map(node => (node.kind === 'package' ? { ...node, package: name } : node))
      const bytes = encodeClosure({ root, nodes: forged })
      expect(() => reviveClosure(bytes), name).toThrow(expect.objectContaining({ code: 'BAD_MESSAGE' }))
    }
    const forged = nodes.map(node => (node.kind === 'package' ? { ...node, subpath: './../../x' } : node))
    const bytes = encodeClosure({ root, nodes: forged })
    expect(() => reviveClosure(bytes)).toThrow(expect.objectContaining({ code: 'BAD_MESSAGE' }))
  })
})
