import { hasCode, ShoalError, type AbortOptions } from '../base/index.ts'
import type { FileClient } from '../dht/index.ts'
import {
  textSplits,
  type FileResolver,
  type OutputPart,
  type TextBlock,
  type TextSplit,
} from '../rdd/index.ts'
import { commitOutput } from './log-messages.ts'
import type { MeshAccess } from './mesh-access.ts'

/** The files of the mesh as datasets see them. */
export class MeshFiles implements FileResolver {
  readonly #files: FileClient
  readonly #access: MeshAccess
  readonly #session: string
  #commits = 0

  constructor(files: FileClient, access: MeshAccess, session: string) {
    this.#files = files
    this.#access = access
    this.#session = session
  }

  /** A directory stands for the files in it, in the order of their names, but for hidden ones (`_…`, `.…`). */
  async resolveText(
    paths: readonly string[],
    minPartitions: number,
    options: AbortOptions = {},
  ): Promise<TextSplit[]> {
    const blocks: TextBlock[] = []
    for (const path of paths) {
      for (const file of await this.#filesOf(path, options)) {
        const { fileId, partitions } = await this.#files.locate(file, options)
        for (const place of partitions) {
          if (place.midLine === true) throw lineTooLong(file, place.index)
          blocks.push({ fileId, block: place.index, blockId: place.blockId, bytes: place.bytes })
        }
      }
    }
    return textSplits(blocks, minPartitions)
  }

  async #filesOf(path: string, options: AbortOptions): Promise<string[]> {
    const status = await this.#files.stat(path, options)
    if (status.type === 'file') return [status.path]
    const entries = await this.#files.ls(path, options)
    return entries
      .filter(entry => entry.type === 'file' && !/^[._]/.test(entry.name))
      .map(entry => entry.path)
  }

  async checkOutput(path: string, options: AbortOptions = {}): Promise<void> {
    try {
      await this.#files.stat(path, options)
    } catch (error) {
      if (hasCode(error, 'NOT_FOUND')) return
      throw error
    }
    throw new ShoalError(
      'ALREADY_EXISTS',
      { path },
      `${path} exists already: remove it or save to another path`,
    )
  }

  async commitOutput(path: string, parts: readonly OutputPart[], options: AbortOptions = {}): Promise<void> {
    const winner = `${this.#session}/${++this.#commits}`
    await this.#access.callAttached(
      commitOutput,
      {
        path,
        winner,
        parts: parts.map(({ file }) => {
          const [fileId = '', blockCount = '0'] = file.split(' ')
          return { fileId, blockCount: Number(blockCount) }
        }),
      },
      options,
    )
  }
}

function lineTooLong(path: string, index: number): ShoalError {
  return new ShoalError(
    'PLAN_INVALID',
    { reason: `a line of ${path} is too long` },
    `${path}: a line that begins in partition ${index} is longer than a partition may be; ` +
      `put the file again with a larger partition size (--partition-bytes), or read it as binary`,
  )
}
