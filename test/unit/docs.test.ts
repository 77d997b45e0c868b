import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { upToDate } from '../../scripts/limits.ts'
import { raftDefaults } from '../../src/gossip/config.ts'

/** What docs/protocols.md lists is what the source has: neither less nor more. */

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const PROTOCOLS = readFileSync(join(ROOT, 'docs/protocols.md'), 'utf8')

/** First cells of the rows below a heading, without their backticks. */
function rowsBelow(heading: string): string[] {
  const [, after = ''] = PROTOCOLS.split(`${heading}\n`)
  const [section = ''] = after.split(/^#{2,3} /m)
  return [...section.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name!)
}

function sources(folder: string): string {
  const names = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
  return names
    .filter(name => name.endsWith('.ts'))
    .map(name => readFileSync(join(ROOT, folder, name), 'utf8'))
    .join('\n')
}

test.each(['gossip', 'dht', 'rdd', 'node'])('every message of %s is listed, and no other', folder => {
  const declared = [
    ...sources(`src/${folder}`).matchAll(/^ {2}name: '((?:gossip|dht|rdd|node)\.[a-z.]+)',$/gm),
  ]
  expect(declared.length).toBeGreaterThan(2)
  expect(rowsBelow(`### ${folder}`).toSorted()).toEqual(declared.map(([, name]) => name!).toSorted())
})

test('every error code is listed, and no other', () => {
  const source = readFileSync(join(ROOT, 'src/base/errors.ts'), 'utf8')
  const [, details = ''] = source.split('export interface ErrorDetails {\n')
  const codes = [...details.split('\n}\n')[0]!.matchAll(/^ {2}([A-Z_]+):/gm)].map(([, code]) => code!)
  expect(codes.length).toBeGreaterThan(40)
  expect(rowsBelow('## Errors')).toEqual(codes)
})

test('timers and limits are those of the source (else: node scripts/limits.ts)', async () => {
  expect(PROTOCOLS).toBe(await upToDate(PROTOCOLS))
  expect(PROTOCOLS).toContain(`| \`heartbeatMs\` | ${raftDefaults.heartbeatMs} | Leader to voters.`)
})

test('links between documents lead somewhere', () => {
  const documents = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md']
  for (const name of readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })) {
    if (name.endsWith('.md')) documents.push(join('docs', name))
  }
  expect(documents.length).toBeGreaterThan(10)
  const broken: string[] = []
  for (const document of documents) {
    const text = readFileSync(join(ROOT, document), 'utf8')
    for (const [, link] of text.matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)) {
      if (!existsSync(join(ROOT, dirname(document), link!))) broken.push(`${document}: ${link}`)
    }
  }
  expect(broken).toEqual([])
})
