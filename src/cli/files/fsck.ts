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
    const ask = { signal, ...consistency(settings) }
    const sums = noSums()
    const told: CheckedFile[] = []
    let bad = 0
    const named = options.blocks === true || options.locations === true
    const shows = options.files === true || named
    const unheard = unheardPeers(mesh, signal)
    for await (const file of mesh.fs.fsck(path, { ...ask, ...(named && { blocks: true }) })) {
      add(sums, file)
      if (sums.files % SHOW_EVERY_FILES === 0) line.show(`${path}: ${counted(sums.files, 'file')} checked …`)
      const isBad = verdictOf(file) !== 'healthy'
      if (isBad) bad++
      if (!isBad && !shows) continue
      const explain = isBad && !named && bad <= EXPLAINED_MAX
      const whole = explain ? ((await blocksOf(mesh, file.path, ask)) ?? file) : file
      if (settings.json) {
        told.push(whole)
        continue
      }
      line[Symbol.dispose]()
      for (const text of describeChecked(whole, options)) print(text)
    }
    line[Symbol.dispose]()
    const verdict = verdictOf(sums)
    const silent = await unheard
    if (settings.json) printJson({ path, verdict, sums, unheard: silent, files: told })
    else {
      print(describeSums(path, sums, silent))
      if (bad > EXPLAINED_MAX && !named)
        print(`  partitions are named of the first ${EXPLAINED_MAX} of ${bad} files only: --blocks names all`)
    }
    if (verdict !== 'healthy') process.exitCode = EXIT_FAILED
  })
}

/** One file with its partitions; undefined when it has gone meanwhile. */
async function blocksOf(
  mesh: Mesh,
  path: string,
  ask: { signal: AbortSignal; consistency?: 'stale' },
): Promise<CheckedFile | undefined> {
  for await (const file of mesh.fs.fsck(path, { ...ask, blocks: true })) return file
  return undefined
}

/** Living peers that did not say which of their copies are bad. */
async function unheardPeers(mesh: Mesh, signal: AbortSignal): Promise<string[]> {
  const { peers } = await mesh.fs.blockHealth({ signal })
  return peers.flatMap(({ name, health }) => (health === undefined ? [name] : []))
}

export function noSums(): FsckSums {
  return { files: 0, partitions: 0, sizeBytes: 0, underReplicated: 0, missing: 0, short: 0, corrupt: 0 }
}

export function add(sums: FsckSums, file: CheckedFile): void {
  sums.files++
  for (const key of ['partitions', 'sizeBytes', 'underReplicated', 'missing', 'short', 'corrupt'] as const)
    sums[key] += file[key]
}

export function verdictOf(found: Omit<FsckSums, 'files' | 'partitions' | 'sizeBytes'>): Verdict {
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
  const { files, partitions, sizeBytes, underReplicated, missing, short, corrupt } = sums
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
  if (unheard.length > 0)
    lines.push(yellow(`  ${unheard.join(', ')} did not say which of their copies are bad`))
  return lines.join('\n')
}
