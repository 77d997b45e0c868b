import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * The tables of timers and limits in docs/protocols.md, from the `config.ts` of each folder: names, values, and what
 * their comments say. `node scripts/limits.ts` writes them anew; a test demands that they are up to date.
 */

const FILES = [
  'src/gossip/config.ts',
  'src/dht/config.ts',
  'src/rdd/config.ts',
  'src/rdd/shared-config.ts',
  'src/rdd/closure/config.ts',
  'src/rdd/engine/config.ts',
  'src/node/config.ts',
  'src/node/net/config.ts',
]
const HEADING = '## Timers and limits\n'
const DOCUMENT = 'docs/protocols.md'

const pathOf = (file: string): string => fileURLToPath(new URL(`../${file}`, import.meta.url))

async function limitsTables(): Promise<string> {
  const tables: string[] = []
  for (const file of FILES) {
    const source = readFileSync(pathOf(file), 'utf8')
    const exported = (await import(pathOf(file))) as Record<string, unknown>
    // In the order of the file, not of the alphabet.
    for (const [, name = ''] of source.matchAll(/^export const (\w+)/gm)) {
      const value = exported[name]
      if (typeof value === 'object' && value !== null) tables.push(table(file, name, value, source))
      else tables.push(table(file, name, { [name]: value }, source))
    }
  }
  return tables.join('\n')
}

/** The document with the tables as they should be. */
export async function upToDate(document: string): Promise<string> {
  const [before = ''] = document.split(HEADING)
  const intro =
    'Defaults; milliseconds and bytes by the name of the option. `node scripts/limits.ts` writes this part.'
  return `${before}${HEADING}\n${intro}\n\n${await limitsTables()}`
}

function table(file: string, name: string, options: object, source: string): string {
  const rows = Object.entries(options).map(
    ([option, value]) => `| \`${option}\` | ${shown(value)} | ${commentOf(source, name, option)} |`,
  )
  return `### \`${name}\` in \`${file}\`\n\n| option | value | meaning |\n| --- | --- | --- |\n${rows.join('\n')}\n`
}

function shown(value: unknown): string {
  const text = JSON.stringify(value)
  return typeof value === 'object' ? `\`${text}\`` : text
}

/** What stands before the option in the object itself, or else in the interface that is nearest above it. */
function commentOf(source: string, name: string, option: string): string {
  const at = source.indexOf(`export const ${name}`)
  const inside = source.slice(at, source.indexOf('\n}', at) + 1)
  const own =
    last(inside, option) ??
    (option === name ? last(source.slice(0, at + 200), `export const ${name}`) : undefined)
  const text = own ?? last(source.slice(0, at), option) ?? ''
  return text
    .replace(/\s*\n\s*\*\s?/g, ' ')
    .replace(/\s*@default.*$/, '')
    .trim()
    .replaceAll('|', '\\|')
}

function last(text: string, option: string): string | undefined {
  const end = [...text.matchAll(new RegExp(`\\*/\\s*${option}\\b`, 'g'))].at(-1)?.index
  return end === undefined ? undefined : text.slice(text.lastIndexOf('/**', end) + 3, end)
}

if (import.meta.main) {
  const path = pathOf(DOCUMENT)
  writeFileSync(path, await upToDate(readFileSync(path, 'utf8')))
}
