import { createHash } from 'node:crypto'
import { matchesGlob } from 'node:path'
import { isPacked } from '../base/decoded.ts'
import { ShoalError } from '../base/errors.ts'
import { sizeOf, type FoundFile } from './file-layout.ts'
import type { CommitOptions, FileResolver, OutputPart } from './job-runner.ts'
import type { StoredBlock, TextSplit } from './plan.ts'

/** Splits may be larger by this than an even cut, before one more is made (Hadoop's slop). */
const SPLIT_SLOP = 1.1

/** Text files in memory, for jobs that run in this process. A directory is a common prefix of paths. */
export class LocalFiles implements FileResolver {
  readonly #contents = new Map<string, Uint8Array>()
  readonly #blocks = new Map<string, Uint8Array>()
  #kept = 0
  /** Part files written by running jobs, by directory and name. */
  readonly #uncommitted = new Map<string, Uint8Array>()

  constructor(contents: Readonly<Record<string, string | Uint8Array>> = {}) {
    for (const [path, content] of Object.entries(contents)) this.write(path, content)
  }

  write(path: string, content: string | Uint8Array): void {
    this.#contents.set(path, typeof content === 'string' ? Buffer.from(content) : content)
  }

  /** @throws NOT_FOUND */
  read(path: string): Uint8Array {
    const content = this.#contents.get(path)
    if (content === undefined) throw notFound(path)
    return content
  }

  /** Paths of the files at or under `path`, sorted. */
  list(path: string): string[] {
    const prefix = path.endsWith('/') ? path : `${path}/`
    return [...this.#contents.keys()].filter(file => file === path || file.startsWith(prefix)).sort()
  }

  async resolveText(paths: readonly string[], minPartitions: number): Promise<TextSplit[]> {
    const files = await this.resolveFiles(paths)
    const total = files.reduce((sum, { blocks }) => sum + sizeOf(blocks), 0)
    const goal = Math.max(1, total / minPartitions)
    return files.flatMap(file => split(file, goal))
  }

  /** Each file is one block; its id is that of its content: an RDD goes on reading the version it began with. */
  async resolveFiles(paths: readonly string[]): Promise<FoundFile[]> {
    return paths.flatMap(path => {
      const found = this.#visible(path)
      if (found.length === 0 && this.list(unescaped(path)).length === 0) throw notFound(path)
      return found.map((file): FoundFile => {
        const content = this.read(file)
        const fileId = createHash('sha256').update(content).digest('hex').slice(0, 32)
        const blockId = `${fileId}-0-local`
        this.#blocks.set(blockId, content)
        const blocks = [{ blockId, bytes: content.byteLength }]
        return { path: file, fileId, blocks, cut: 'lines', packed: isPacked(content) }
      })
    })
  }

  async keep(content: Uint8Array): Promise<FoundFile> {
    const path = `/.sessions/${this.#kept++}`
    this.write(path, content)
    const [found] = await this.resolveFiles([path])
    return found!
  }

  #visible(path: string): string[] {
    const plain = unescaped(path)
    if (this.#contents.has(plain)) return [plain]
    const matching = [...this.#contents.keys()].filter(file => matchesGlob(file, path))
    const files = matching.length > 0 ? matching.sort() : this.list(plain)
    return files.filter(file => !/\/[._][^/]*$/.test(file))
  }

  async checkOutput(path: string): Promise<void> {
    if (this.list(path).length > 0) throw new ShoalError('ALREADY_EXISTS', { path }, `${path} exists already`)
  }

  async commitOutput(path: string, parts: readonly OutputPart[], options: CommitOptions = {}): Promise<void> {
    const { suffix = '', overwrite = false } = options
    if (!overwrite) await this.checkOutput(path)
    for (const old of this.list(path)) this.#contents.delete(old)
    for (const { file } of parts) {
      const staged = `${path}/${file}`
      this.#contents.set(staged + suffix, this.#uncommitted.get(staged) ?? new Uint8Array())
      this.#uncommitted.delete(staged)
    }
    this.#contents.set(`${path}/_SUCCESS`, new Uint8Array())
  }

  stage(directory: string, file: string, content: Uint8Array): void {
    this.#uncommitted.set(`${directory}/${file}`, content)
  }

  block(blockId: string): Uint8Array {
    const content = this.#blocks.get(blockId)
    if (content === undefined) throw notFound(blockId)
    return content
  }
}

function split({ fileId, blocks, packed }: FoundFile, goalBytes: number): TextSplit[] {
  const [{ blockId, bytes: blockBytes }] = blocks as [StoredBlock]
  const common = { fileId, block: 0, blockId, blockBytes }
  if (packed) return [{ ...common, start: 0, end: blockBytes, packed: blocks }]
  const count = Math.max(1, Math.ceil(blockBytes / goalBytes / SPLIT_SLOP))
  const cut = (i: number): number => Math.floor((i * blockBytes) / count)
  return Array.from({ length: count }, (_, i) => ({ ...common, start: cut(i), end: cut(i + 1) }))
}

/** The path that is meant when it is no pattern. */
function unescaped(path: string): string {
  return path.replaceAll(/\\(.)/g, '$1')
}

function notFound(path: string): ShoalError<'NOT_FOUND'> {
  return new ShoalError('NOT_FOUND', { path }, `${path} does not exist`)
}
