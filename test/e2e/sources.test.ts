import { appendFileSync, existsSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { LocalCluster } from '../support/local-cluster.ts'
import { PackageFolder } from '../support/package-folder.ts'

const LIB = `
  export const twice = x => 2 * x
  export class Money { constructor(cents) { this.cents = cents } add(o) { return new Money(this.cents + o.cents) } }`

interface Program {
  double: (x: number) => number
  price: (x: number) => unknown
  late: (x: number) => Promise<number>
}

test('packages that closures use are found on every peer, and a peer that lacks one is named before any task runs', async () => {
  using folder = new PackageFolder()
  using bare = new PackageFolder()
  using newer = new PackageFolder()
  const manifest = { type: 'module', exports: { '.': './index.js', './late': './late.js' } }
  folder.install('coins', { version: '1.2.0', ...manifest }, { 'index.js': LIB, 'late.js': LIB })
  newer.install('coins', { version: '1.3.0', ...manifest }, { 'index.js': LIB, 'late.js': LIB })
  const program = await folder.program<Program>(
    'program.mjs',
    `import { twice, Money } from 'coins'
    export const double = x => twice(x)
    export const price = x => [x % 2, new Money(x).cents]
    export const late = async x => (await import('coins/late')).twice(x)`,
  )
  await using cluster = await LocalCluster.start(1, { packages: folder.directory })
  await cluster.add({ packages: newer.directory })
  await cluster.ready()
  const mesh = await cluster.connect()
  const warned: string[] = []
  const onWarning = (warning: Error): void => void warned.push(warning.message)
  process.on('warning', onWarning)

  expect(await mesh.range(100).map(program.double).sum()).toBe(9_900)
  expect(
    await mesh
      .range(10)
      .map(x => program.price(x) as [number, number])
      .reduceByKey((a, b) => a + b)
      .collectAsMap(),
  ).toEqual(
    new Map([
      [0, 20],
      [1, 25],
    ]),
  )
  expect(await mesh.range(4).mapAsync(program.late).collect()).toEqual([0, 2, 4, 6])
  await expect
    .poll(() => warned, { timeout: 20_000 })
    .toEqual(['peer p2 has coins 1.3.0; the closure was captured with 1.2.0'])
  process.off('warning', onWarning)

  const lacking = await cluster.add({ packages: bare.directory })
  await cluster.ready()
  const missing = {
    code: 'PACKAGE_MISSING',
    details: { package: 'coins', wanted: '1.2.0', peer: lacking.id },
    message:
      `peer p3 has no package "coins" in ${bare.directory} or above (the closure was captured with 1.2.0): ` +
      'npm install coins@1.2.0 there, or start the peer with --packages DIR',
  }
  // The leader asks whom it knows to run tasks, which a peer that joined does within a second.
  await expect
    .poll(() => failureOf(mesh.range(100, undefined, 1, 50).map(program.double).sum()), { timeout: 30_000 })
    .toMatchObject(missing)
  const mark = join(folder.directory, 'ran')
  const marked = mesh.range(100, undefined, 1, 50).map(x => {
    appendFileSync(mark, 'x')
    return program.double(x)
  })
  expect(await failureOf(marked.sum())).toMatchObject(missing)
  expect(existsSync(mark), 'no task ran').toBe(false)
  expect(await mesh.range(10).count(), 'jobs without packages run').toBe(10)
})

test('local files and streams are read through the mesh, and go with their session', async () => {
  using local = new PackageFolder()
  const lines = Array.from({ length: 5_000 }, (_, i) => `line ${i}`)
  local.write('logs/a.txt', `${lines.slice(0, 3_000).join('\n')}\n`)
  writeFileSync(join(local.directory, 'logs/b.txt.gz'), gzipSync(`${lines.slice(3_000).join('\n')}\n`))
  local.write('logs/_hidden', 'not me\n')
  local.write('people.csv', 'name,age\n"Ann\nLee",3\nBob,4\n')
  local.write('rows.jsonl', '{"a":1}\n{"a":2}\n')
  const url = pathToFileURL(local.directory).href
  await using cluster = await LocalCluster.start(3)
  const [first] = cluster.peers
  const mesh = await cluster.connect(first)

  expect(await mesh.textFile(`${url}/logs`).collect()).toEqual(lines)
  expect(await mesh.textFile(`${url}/logs/{a,b}*`, 4).count()).toBe(5_000)
  expect(await mesh.textFile(`file:${relative(process.cwd(), local.directory)}/logs/a.txt`).count()).toBe(
    3_000,
  )
  expect(await mesh.csv(`${url}/people.csv`, { header: true, multiLine: true }).collect()).toEqual([
    { name: 'Ann\nLee', age: '3' },
    { name: 'Bob', age: '4' },
  ])
  expect(
    await mesh
      .jsonLines<{ a: number }>(`${url}/rows.jsonl`)
      .map(({ a }) => a)
      .collect(),
  ).toEqual([1, 2])
  expect(await mesh.wholeTextFiles(`${url}/rows.jsonl`).keys().collect()).toEqual([`${url}/rows.jsonl`])

  const stored = async (): Promise<number> => {
    const [folder] = await mesh.fs.ls('/.sessions')
    return folder === undefined ? 0 : (await mesh.fs.ls(folder.path)).length
  }
  const before = await stored()
  expect(await mesh.textFile(`${url}/logs`).count()).toBe(5_000)
  expect(await stored(), 'the same version is stored once').toBe(before)
  local.write('logs/a.txt', 'new\n')
  expect(await mesh.textFile(`${url}/logs/a.txt`).collect()).toEqual(['new'])

  expect(await failureOf(mesh.textFile(`${url}/none.txt`).count())).toMatchObject({
    code: 'LOCAL_FILE',
    message: expect.stringContaining('none.txt'),
  })
  expect(await failureOf(mesh.textFile(`${url}/*.none`).count())).toMatchObject({ code: 'LOCAL_FILE' })
  expect(await failureOf(mesh.textFile(join(local.directory, 'rows.jsonl')).count())).toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining(`read it as 'file://${local.directory}/rows.jsonl'`),
  })

  const streamed = await mesh.fromAsync(
    (async function* () {
      for (let i = 0; i < 200_000; i++) yield { id: i, text: `some text to take place ${i}` }
    })(),
    6,
  )
  expect(await streamed.map(({ id }) => id).sum()).toBe(19_999_900_000)

  // Classes are made once in each thread: instances of one function are those of all others.
  class Money {
    cents: number
    constructor(cents: number) {
      this.cents = cents
    }
    plus(other: Money): Money {
      return new Money(this.cents + other.cents)
    }
  }
  const wallet = (): Promise<[number, Money][]> =>
    mesh
      .range(1_000, undefined, 1, 6)
      .map(i => [i % 3, new Money(i)] as const)
      .reduceByKey((a, b) => {
        if (!(a instanceof Money)) throw new Error('it lost its class')
        return a.plus(b)
      })
      .sortByKey()
      .collect() as Promise<[number, Money][]>
  await expect(wallet()).rejects.toMatchObject({ code: 'TASK_FAILED' })
  mesh.registerClass(Money)
  const purses = await wallet()
  expect(purses.map(([, money]) => [money instanceof Money, money.cents])).toEqual([
    [true, 166_833],
    [true, 166_167],
    [true, 166_500],
  ])

  // The peer that the client is attached to dies: the files have another copy.
  const again = mesh.textFile(`${url}/logs/b.txt.gz`)
  expect(await again.count()).toBe(2_000)
  await first!.kill()
  expect(await streamed.map(({ id }) => id).sum()).toBe(19_999_900_000)
  expect(await again.count()).toBe(2_000)
  local.write('late.txt', 'late\n'.repeat(1_000))
  expect(await mesh.textFile(`${url}/late.txt`).count()).toBe(1_000)

  const other = await cluster.connect()
  expect(await other.fs.ls('/.sessions')).toHaveLength(1)
  await mesh.close()
  expect(await other.fs.ls('/.sessions')).toEqual([])
})

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    return { value: await work }
  } catch (error) {
    return error
  }
}
