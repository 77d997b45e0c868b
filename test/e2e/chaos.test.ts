import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { shoal } from '../support/cli-process.ts'
import { tempFolder } from '../support/temp-folder.ts'

let folder: Awaited<ReturnType<typeof tempFolder>>

beforeAll(async () => {
  folder = await tempFolder('chaos')
  const { code, stderr } = await shoal(['up', '--peers', '3', '--workers', '1', '--allow-chaos'], at())
  expect(stderr).toBe('')
  expect(code).toBe(0)
})

afterAll(async () => {
  await shoal(['down'], at())
  await folder[Symbol.asyncDispose]()
})

const at = (): { cwd: string } => ({ cwd: folder.path })

test('shoal chaos harms the mesh, which keeps its promises, and writes a history that can be checked', async () => {
  const args = ['--rounds', '3', '--clients', '3', '--seed', '11', '--actions', 'kill,cut,corrupt']
  const ran = await shoal(['chaos', ...args, '--history', 'h.jsonl', '--yes', '--json'], at())
  expect(ran.stderr).toContain('seed 11: 3 rounds of kill, cut, corrupt on 3 peers')
  expect(JSON.parse(ran.stdout)).toMatchObject({
    kept: true,
    seed: 11,
    rounds: 3,
    lost: [],
    wrongBytes: 0,
    linearizable: 'linearizable',
    problems: [],
  })
  expect(ran.code).toBe(0)

  const checked = await shoal(['chaos', 'check', 'h.jsonl'], at())
  expect(checked.stdout).toMatch(/^linearizable: \d+ operations/)
  expect(checked.code).toBe(0)

  // The same history with one answer changed into a lie.
  const lines = (await readFile(join(folder.path, 'h.jsonl'), 'utf8')).split('\n')
  const lie = lines.findIndex(line => line.includes('"op":"read"') && line.includes('"output":{"ok":'))
  lines[lie] = lines[lie]!.replace(/"output":\{"ok":"[^"]*"\}/, '"output":{"ok":"a lie"}')
  await writeFile(join(folder.path, 'lie.jsonl'), lines.join('\n'))
  const caught = await shoal(['chaos', 'check', 'lie.jsonl'], at())
  expect(caught.stdout).toContain('"a lie"')
  expect(caught.code).toBe(1)
})

test('it asks before, and where nobody can answer it does nothing', async () => {
  const ran = await shoal(['chaos', '--rounds', '1'], at())
  expect(ran.code).toBe(2)
  expect(ran.stderr).toContain('--yes')
})

test('it never touches a mesh that is not local', async () => {
  const ran = await shoal(['chaos', '--yes', '--peer', '/ip4/127.0.0.1/tcp/1'], at())
  expect(ran.code).toBe(2)
  expect(ran.stderr).toContain('local mesh only')
})
