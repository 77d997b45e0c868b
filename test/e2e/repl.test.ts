import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { JobListing } from '../../src/node/index.ts'
import { shoal } from '../support/cli-process.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { KEYS, TerminalSession } from '../support/terminal-session.ts'
import { waitFor } from '../support/wait-for.ts'

/** The REPL through a pseudo-terminal, against a mesh of two peers. */

const folder = await tempFolder('repl')
const cwd = folder.path
const history = join(cwd, 'history')
const PROMPT = /shoal> $/

beforeAll(async () => {
  const ran = await shoal(['up', '--peers', '2', '--workers', '1'], { cwd })
  expect(ran, ran.stderr).toMatchObject({ code: 0 })
})

afterAll(async () => {
  await shoal(['down'], { cwd })
  await folder[Symbol.asyncDispose]()
})

async function open(): Promise<TerminalSession> {
  const session = new TerminalSession(['repl'], { cwd, env: { SHOAL_HISTORY: history } })
  await session.expect(PROMPT)
  return session
}

test('it greets with the peer, takes TypeScript over several lines, awaits, and ships what was typed', async () => {
  await using session = await open()
  session.type('const factor: number = 3')
  await session.expect(PROMPT)
  session.type('function scale(n: number): number {')
  await session.expect(/\| $/)
  session.type('  return n * factor')
  await session.expect(/\| $/)
  session.type('}')
  await session.expect(PROMPT)
  session.type('await mesh.range(5).map(n => scale(n)).collect()')
  await session.expect(/\[ 0, 3, 6, 9, 12 \]\s+shoal> $/)

  session.type('const factor = await Promise.resolve(10)')
  await session.expect(PROMPT)
  session.type('mesh.range(5).map((n: number) => scale(n)).sum()')
  await session.expect(/(?<!\d)100\s+shoal> $/)
})

test('a dataset alone says what it would do; errors are short and the session goes on', async () => {
  await using session = await open()
  session.type('const small = mesh.range(3, 30).filter(n => n % 2 === 0)')
  await session.expect(PROMPT)
  session.type('small')
  const described = await session.expect(PROMPT)
  expect(described).toMatch(
    /\(8\) filter at REPL1:1 \[1\]\s+\| +range at REPL1:1 \[0\]\s+nothing has run: call an action/,
  )

  session.type('await small.map(n => { throw new RangeError(`no ${n}`) }).count()')
  const failed = await session.expect(PROMPT)
  expect(failed).toMatch(/error TASK_FAILED: RangeError: no \d+, at REPL3:1:\d+/)
  expect(failed).toMatch(/on peer p[12], stage 0, partition \d, attempt \d/)
  session.type('let x = = 1')
  await session.expect(/error SYNTAX_ERROR: line 1: Expression expected\s+let x = = 1\s+\^\s+shoal> $/)
  session.type('missing.thing')
  await session.expect(/error: ReferenceError: missing is not defined\s+at REPL4:1:1\s+shoal> $/)
})

test('Ctrl-C cancels the job that runs, and the prompt comes back; so does it for a loop and a promise', async () => {
  await using session = await open()
  session.type('await mesh.range(0, 2, 1, 2).map(n => { while (true); return n }).sum({ name: "endless" })')
  await session.expect(/endless .*0 of 2 tasks, .*running/)
  // Typed ahead: it must wait, not run beside the job.
  session.type('"typed " + "ahead"')
  session.press(KEYS.ctrlC)
  await session.expect(/interrupted: .*cancelled: interrupted at the terminal[^]*'typed ahead'\s+shoal> $/)
  await waitFor('the job to be listed as cancelled', async () => {
    const { stdout } = await shoal(['jobs', '--json'], { cwd })
    return (JSON.parse(stdout) as JobListing[]).find(({ name }) => name === 'endless')?.status === 'cancelled'
  })

  session.type('await new Promise(() => {})')
  await session.expect(/\n/)
  session.press(KEYS.ctrlC)
  await session.expect(/interrupted\s+shoal> $/)
  session.type('console.log("looping"); while (true) {}')
  await session.expect(/\nlooping\s/)
  session.press(KEYS.ctrlC)
  await session.expect(/interrupted\s+shoal> $/)
  session.type('await mesh.range(4).count()')
  await session.expect(/(?<!\d)4\s+shoal> $/)
})

test('a line that begins with a dot is explained; .editor takes it', async () => {
  await using session = await open()
  session.type('mesh.range(4)')
  await session.expect(PROMPT)
  session.type('  .map(n => n * 2)')
  await session.expect(/the line before has run already: .*\.editor[^]*shoal> $/)
  session.type('.editor')
  await session.expect(/Ctrl\+D to finish/)
  session.type('await mesh.range(4)')
  session.type('.map(n => n * 2).collect()')
  session.press(KEYS.ctrlD)
  await session.expect(/\[ 0, 2, 4, 6 \]\s+shoal> $/)
})

test('Tab completes members, what operators give, and paths of the mesh', async () => {
  expect(
    (await shoal(['fs', 'put', '-', '/books/whale.txt', '--parents'], { cwd, input: 'Ishmael\n' })).code,
  ).toBe(0)
  await using session = await open()
  session.press(`mesh.para${KEYS.tab}`)
  await session.expect(/mesh\.parallelize$/)
  session.press(`([3, 1, 2]).sortB${KEYS.tab}`)
  await session.expect(/\.sortBy$/)
  session.press(`(n => n).takeO${KEYS.tab}`)
  await session.expect(/\.takeOrdered$/)
  session.press(KEYS.ctrlC)
  await session.expect(PROMPT)
  session.press(`await mesh.textFile('/bo${KEYS.tab}`)
  await session.expect(/'\/books\/$/)
  session.press(KEYS.tab)
  await session.expect(/whale\.txt$/)
  session.type(`').collect()`)
  await session.expect(/\[ 'Ishmael' \]\s+shoal> $/)
})

test('Ctrl-D leaves with 0, and the history is there the next time', async () => {
  {
    await using session = await open()
    session.type('6 * 7 * 101')
    await session.expect(/\n4242\s+shoal> $/)
    session.press(KEYS.ctrlD)
    expect(await session.exitCode()).toBe(0)
  }
  expect(await readFile(history, 'utf8')).toMatch(/^6 \* 7 \* 101$/m)
  await using session = await open()
  session.press(KEYS.up)
  await session.expect(/6 \* 7 \* 101$/)
  session.press(KEYS.enter)
  await session.expect(/\n4242\s+shoal> $/)
})

test('input from a pipe runs to its end; an error in it is the exit code', async () => {
  const fine = await shoal(['repl'], {
    cwd,
    input: 'const words = mesh.parallelize(\n  ["b", "a"],\n)\nawait words.sortBy(w => w).collect()\n',
  })
  expect(fine).toMatchObject({ code: 0, stdout: "[ 'a', 'b' ]\n", stderr: '' })
  const wrong = await shoal(['repl'], { cwd, input: 'nope\n1 + 1\n' })
  expect(wrong).toMatchObject({ code: 1, stdout: '2\n' })
  expect(wrong.stderr).toMatch(/^error: ReferenceError: nope is not defined/)
})
