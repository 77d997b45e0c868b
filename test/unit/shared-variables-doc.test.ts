import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, expect, test } from 'vitest'

/** The examples of docs/shared-variables.md print what stands behind their arrows. */

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'shoal-doc-'))

afterAll(() => rmSync(directory, { recursive: true, force: true }))

const page = readFileSync(join(ROOT, 'docs/shared-variables.md'), 'utf8')
const examples = [...page.matchAll(/```ts\n([^]*?)```/g)].map(([, code]) => code!)

test.each(examples)('example %#', async code => {
  const file = join(directory, `example-${examples.indexOf(code)}.ts`)
  writeFileSync(
    file,
    `import { format } from 'node:util'
     import { createLocal } from ${JSON.stringify(pathToFileURL(join(ROOT, 'src/rdd/index.ts')).href)}
     const mesh = createLocal()
     export const printed: string[] = []
     const console = { log: (...values: unknown[]) => void printed.push(format(...values)) }
     ${code}`,
  )
  const { printed } = (await import(pathToFileURL(file).href)) as { printed: string[] }
  const wanted = [...code.matchAll(/\/\/ → (.*)/g)].map(([, text]) => text!)
  expect(wanted.length).toBeGreaterThan(0)
  expect(printed).toEqual(wanted)
})
