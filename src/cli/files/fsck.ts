import { hasCode } from '../../base/errors.ts'
import type { CheckedBlock, CheckedFile } from '../../dht/index.ts'
import type { Mesh } from '../../node/index.ts'
import { attached } from '../attached.ts'
import { EXIT_FAILED } from '../error-report.ts'
import type { Settings } from '../settings.ts'
import { StatusLine } from '../status-line.ts'
import { colors, print, printJson } from '../terminal.ts'
import { counted, humanBytes } from '../units.ts'
import { consistency } from './paths.ts'

export interface FsckOptions {
  /** Name files that are well, too. */
  files?: boolean
  /** Name every partition of the files that are shown. */
  blocks?: boolean
  /** And who holds it. */
  locations?: boolean
}

export interface FsckSums {
  files: number
  /** Of those, files that are not healthy. */
  bad: number
  partitions: number
  sizeBytes: number
  /** Partitions, by what is wrong with them; bad copies in `corrupt`. */
  underReplicated: number
  missing: number
  short: number
  corrupt: number
}

/** Healthy: as many good copies as wanted of everything. Degraded: too few of something, but all can be read. */
export type Verdict = 'healthy' | 'degraded' | 'damaged'

/** Between two looks at the walk, for people. */
const SHOW_EVERY_FILES = 500
/** Of so many files that are not well it is also told which partitions, unless all partitions were asked for. */
const EXPLAINED_MAX = 200

/** `shoal fs fsck`: page by page, so it takes its time and nobody is held up. Exit code 0 only when all is healthy. */
export async function fsck(path: string, options: FsckOptions, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    using line = new StatusLine()
    const sums = noSums()
    const told: CheckedFile[] = []
    const unheard = unheardPeers(mesh, signal)
    const onChecked = (): void => {
      if (sums.files % SHOW_EVERY_FILES === 0) line.show(`${path}: ${counted(sums.files, 'file')} checked …`)
    }
    const ask = { signal, ...consistency(settings) }
    for await (const file of examine(mesh, path, { ...options, ask, sums, onChecked })) {
      if (settings.json) {
        told.push(file)
        continue
      }
      line[Symbol.dispose]()
      for (const text of describeChecked(file, options)) print(text)
    }
    line[Symbol.dispose]()
    const verdict = verdictOf(sums)
    const silent = await unheard
    if (settings.json) printJson({ path, verdict, sums, unheard: silent, files: told })
    else print(describeSums(path, sums, silent))
    if (verdict !== 'healthy') process.exitCode = EXIT_FAILED
  })
}

/** The same as text, for the REPL. */
export async function fsckText(mesh: Mesh, path: string, signal: AbortSignal): Promise<string> {
  const sums = noSums()
  const lines: string[] = []
  for await (const file of examine(mesh, path, { ask: { signal }, sums }))
    lines.push(...describeChecked(file, {}))
  return [...lines, describeSums(path, sums, await unheardPeers(mesh, signal))].join('\n')
}

type Ask = { signal: AbortSignal; consistency?: 'stale' }

interface Examination extends FsckOptions {
  ask: Ask
  /** Filled on the way. */
  sums: FsckSums
  onChecked?: () => void
}

/** Files to be told of: all when asked for, else those that are not well, and of the first of these also which partitions. */
async function* examine(
  mesh: Mesh,
  path: string,
  { files, blocks, locations, ask, sums, onChecked }: Examination,
): AsyncGenerator<CheckedFile, void> {
  const named = blocks === true || locations === true
  for await (const file of mesh.fs.fsck(path, { ...ask, ...(named && { blocks: true }) })) {
    add(sums, file)
    onChecked?.()
    const isBad = verdictOf(file) !== 'healthy'
    if (isBad) sums.bad++
    else if (files !== true && !named) continue
    const explains = isBad && !named && sums.bad <= EXPLAINED_MAX
    yield explains ? ((await blocksOf(mesh, file.path, ask)) ?? file) : file
  }
}

/** One file with its partitions; undefined when it has gone meanwhile. */
async function blocksOf(mesh: Mesh, path: string, ask: Ask): Promise<CheckedFile | undefined> {
  try {
    for await (const file of mesh.fs.fsck(path, { ...ask, blocks: true })) return file
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND')) throw error
  }
  return undefined
}

/** Living peers that did not say which of their copies are bad. */
async function unheardPeers(mesh: Mesh, signal: AbortSignal): Promise<string[]> {
  const { peers } = await mesh.fs.blockHealth({ signal })
  return peers.flatMap(({ name, health }) => (health === undefined ? [name] : []))
}

export function noSums(): FsckSums {
  return {
    files: 0,
    bad: 0,
    partitions: 0,
    sizeBytes: 0,
    underReplicated: 0,
    missing: 0,
    short: 0,
    corrupt: 0,
  }
}

export function add(sums: FsckSums, file: CheckedFile): void {
  sums.files++
  for (const key of ['partitions', 'sizeBytes', 'underReplicated', 'missing', 'short', 'corrupt'] as const)
    sums[key] += file[key]
}

export function verdictOf(
  found: Pick<FsckSums, 'underReplicated' | 'missing' | 'short' | 'corrupt'>,
): Verdict {
  if (found.missing > 0) return 'damaged'
  return found.underReplicated + found.short + found.corrupt > 0 ? 'degraded' : 'healthy'
}

/** A line for the file, and one for each partition that is not as it should be, or for all that were asked for. */
export function describeChecked(file: CheckedFile, options: FsckOptions): string[] {
  const { path, sizeBytes, partitions, replication, blocks = [] } = file
  const size = `${humanBytes(sizeBytes)} in ${counted(partitions, 'partition')}, ×${replication}`
  const lines = [`${path}: ${[...troubles(file), size].join(', ')}`]
  const showsAll = options.blocks === true || options.locations === true
  for (const block of blocks) {
    if (showsAll || !isWell(block)) lines.push(`  ${describeBlock(block, options)}`)
  }
  return lines
}

function troubles({ missing, underReplicated, short, corrupt }: CheckedFile): string[] {
  const { red, yellow, green } = colors
  const said: string[] = []
  if (missing > 0) said.push(red(`${counted(missing, 'partition')} MISSING`))
  if (underReplicated > 0) said.push(yellow(`${counted(underReplicated, 'partition')} with too few copies`))
  if (short > 0) said.push(yellow(`${counted(short, 'partition')} in fewer copies for want of peers`))
  if (corrupt > 0) said.push(red(`${corrupt} corrupt ${corrupt === 1 ? 'copy' : 'copies'}`))
  return said.length === 0 ? [green('healthy')] : said
}

function describeBlock(block: CheckedBlock, options: FsckOptions): string {
  const { index, blockId, bytes, wanted, holders } = block
  const good = namesOf(block, 'good')
  const texts = [
    `partition ${index}: ${good.length} of ${counted(wanted, 'copy').replace('copys', 'copies')}`,
  ]
  // Without one good copy it is only these that can bring it back.
  const dead = namesOf(block, 'dead')
  if (dead.length > 0) {
    const isMissing = good.length === 0
    texts.push(
      (isMissing ? colors.red : colors.yellow)(
        `${dead.join(', ')} ${dead.length === 1 ? 'is' : 'are'} not here${isMissing ? ': it comes back with any of them' : ''}`,
      ),
    )
  }
  const corrupt = namesOf(block, 'corrupt')
  if (corrupt.length > 0) texts.push(colors.red(`corrupt at ${corrupt.join(', ')}`))
  const lost = namesOf(block, 'missing')
  if (lost.length > 0) texts.push(colors.yellow(`gone from the disk of ${lost.join(', ')}`))
  if (holders.length === 0) texts.push(colors.red('nobody is known to hold it'))
  if (options.locations === true && good.length > 0) texts.push(`good at ${good.join(', ')}`)
  if (options.blocks === true) texts.push(`${humanBytes(bytes)}, block ${blockId}`)
  return texts.join('; ')
}

function namesOf({ holders }: CheckedBlock, state: CheckedBlock['holders'][number]['state']): string[] {
  return holders.filter(holder => holder.state === state).map(({ name }) => name)
}

function isWell(block: CheckedBlock): boolean {
  const good = namesOf(block, 'good').length
  return good >= block.wanted && namesOf(block, 'corrupt').length === 0
}

const SAID: Record<Verdict, string> = {
  healthy: 'every partition has as many good copies as wanted',
  degraded: 'everything can be read, but not everything has as many good copies as wanted',
  damaged: 'some partitions have no living copy: their files cannot be read whole now',
}

export function describeSums(path: string, sums: FsckSums, unheard: readonly string[]): string {
  const { red, yellow, green, bold } = colors
  const verdict = verdictOf(sums)
  const color = { healthy: green, degraded: yellow, damaged: red }[verdict]
  const { files, bad, partitions, sizeBytes, underReplicated, missing, short, corrupt } = sums
  const counts: [string, number][] = [
    ['without a living copy', missing],
    ['with too few copies', underReplicated],
    ['in fewer copies for want of peers', short],
  ]
  const lines = [
    `${path}: ${bold(color(verdict.toUpperCase()))}: ${files === 0 ? 'there are no files' : SAID[verdict]}`,
    `  ${counted(files, 'file')} in ${counted(partitions, 'partition')}, ${humanBytes(sizeBytes)}`,
    ...counts.map(([what, count]) => `  ${count} ${what}`),
    `  ${corrupt} corrupt ${corrupt === 1 ? 'copy' : 'copies'}`,
  ]
  if (bad > EXPLAINED_MAX)
    lines.push(
      `  partitions are named of the first ${EXPLAINED_MAX} of ${bad} bad files, or of all with --blocks`,
    )
  if (unheard.length > 0)
    lines.push(yellow(`  ${unheard.join(', ')} did not say which of their copies are bad`))
  return lines.join('\n')
}
