import { hasCode, ShoalError, type AbortOptions } from '../base/index.ts'
import type { FileClient } from '../dht/index.ts'
import {
  textSplits,
  type FileResolver,
  type OutputPart,
  type TextBlock,
  type TextSplit,
} from '../rdd/index.ts'
import { PEER } from './config.ts'
import { commitOutput, HELD_PARTS_MAX, holdOutput } from './log-messages.ts'
import type { MeshAccess } from './mesh-access.ts'

/** The files of the mesh as datasets see them. */
export class MeshFiles implements FileResolver {
  readonly #files: FileClient
  readonly #access: MeshAccess
  readonly #session: string
  readonly #holdEveryMs: number
  #commits = 0

  /** @param holdEveryMs how often parts of an unfinished dataset are kept. @default a third of their lease */
  constructor(
    files: FileClient,
    access: MeshAccess,
    session: string,
    holdEveryMs: number = PEER.partLeaseMs / 3,
  ) {
    this.#holdEveryMs = holdEveryMs
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

  holdOutput(parts: () => readonly OutputPart[]): Disposable {
    const stop = new AbortController()
    let busy = false
    const hold = async (): Promise<void> => {
      const fileIds = parts().map(({ file }) => file.split(' ')[0] ?? '')
      for (let at = 0; at < fileIds.length; at += HELD_PARTS_MAX) {
        const request = { fileIds: fileIds.slice(at, at + HELD_PARTS_MAX) }
        await this.#access.callAttached(holdOutput, request, { signal: stop.signal })
      }
    }
    const timer = setInterval(() => {
      if (busy) return
      busy = true
      hold()
        // The next time comes long before the lease ends; what is lost all the same the commit reports.
        .catch(() => undefined)
        .finally(() => (busy = false))
    }, this.#holdEveryMs)
    timer.unref()
    return {
      [Symbol.dispose]: () => {
        clearInterval(timer)
        stop.abort()
      },
    }
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
