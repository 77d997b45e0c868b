import { createHash } from 'node:crypto'
import { ShoalError } from '../base/errors.ts'
import type { FileResolver, OutputPart } from './job-runner.ts'
import type { TextSplit } from './plan.ts'

/** Splits may be larger by this than an even cut, before one more is made (Hadoop's slop). */
const SPLIT_SLOP = 1.1

/** Text files in memory, for jobs that run in this process. A directory is a common prefix of paths. */
export class LocalFiles implements FileResolver {
  readonly #contents = new Map<string, Uint8Array>()
  readonly #blocks = new Map<string, Uint8Array>()
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
    const files = paths.flatMap(path => {
      const found = this.list(path)
      if (found.length === 0) throw notFound(path)
      return found.map(file => this.read(file))
    })
    const total = files.reduce((sum, { byteLength }) => sum + byteLength, 0)
    const goal = Math.max(1, total / minPartitions)
    return files.flatMap(content => this.#split(content, goal))
  }

  async checkOutput(path: string): Promise<void> {
    if (this.list(path).length > 0) throw new ShoalError('ALREADY_EXISTS', { path }, `${path} exists already`)
  }

  async commitOutput(path: string, parts: readonly OutputPart[]): Promise<void> {
    for (const { file } of parts) {
      const staged = `${path}/${file}`
      this.#contents.set(staged, this.#uncommitted.get(staged) ?? new Uint8Array())
      this.#uncommitted.delete(staged)
    }
  }

  stage(directory: string, file: string, content: Uint8Array): void {
    this.#uncommitted.set(`${directory}/${file}`, content)
  }

  block(blockId: string): Uint8Array {
    const content = this.#blocks.get(blockId)
    if (content === undefined) throw notFound(blockId)
    return content
  }

  /** The file id is that of its content: an RDD goes on reading the version it began with. */
  #split(content: Uint8Array, goalBytes: number): TextSplit[] {
    const fileId = createHash('sha256').update(content).digest('hex').slice(0, 32)
    const blockId = `${fileId}-0-local`
    this.#blocks.set(blockId, content)
    const blockBytes = content.byteLength
    const count = Math.max(1, Math.ceil(blockBytes / goalBytes / SPLIT_SLOP))
    const cut = (i: number): number => Math.floor((i * blockBytes) / count)
    return Array.from({ length: count }, (_, i) => ({
      fileId,
      block: 0,
      blockId,
      start: cut(i),
      end: cut(i + 1),
      blockBytes,
    }))
  }
}

function notFound(path: string): ShoalError<'NOT_FOUND'> {
  return new ShoalError('NOT_FOUND', { path }, `${path} does not exist`)
}
