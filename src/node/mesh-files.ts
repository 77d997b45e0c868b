import { existsSync } from 'node:fs'
import { isAbsolute } from 'node:path'
import {
  hasCode,
  isPacked,
  PACKED_HEAD_BYTES,
  ShoalError,
  type AbortOptions,
  type FileId,
} from '../base/index.ts'
import type { FileClient, FileEntry } from '../dht/index.ts'
import {
  sizeOf,
  textSplits,
  type CommitOptions,
  type FoundFile,
  type FileResolver,
  type OutputPart,
  type ResolveOptions,
  type TextBlock,
  type TextSplit,
} from '../rdd/index.ts'
import { PEER } from './config.ts'
import { unescaped } from './files/glob.ts'
import { isLocalPath } from './files/local-paths.ts'
import { inParallel } from './files/parallel.ts'
import type { SessionFiles } from './files/session-files.ts'
import { expandPattern } from './files/tree.ts'
import { commitOutput, HELD_PARTS_MAX, holdOutput } from './log-messages.ts'
import type { MeshAccess } from './mesh-access.ts'

/** Files looked up at the same time: a directory of thousands takes a second, not a minute. */
const FIND_AT_ONCE = 16

/** The files of the mesh as datasets see them. */
export class MeshFiles implements FileResolver {
  readonly #files: FileClient
  readonly #access: MeshAccess
  readonly #session: string
  readonly #ofSession: Pick<SessionFiles, 'local' | 'keep'>
  readonly #holdEveryMs: number
  #commits = 0

  /** @param holdEveryMs how often parts of an unfinished dataset are kept. @default a third of their lease */
  constructor(
    files: FileClient,
    access: MeshAccess,
    session: string,
    ofSession: Pick<SessionFiles, 'local' | 'keep'>,
    holdEveryMs: number = PEER.partLeaseMs / 3,
  ) {
    this.#holdEveryMs = holdEveryMs
    this.#files = files
    this.#access = access
    this.#session = session
    this.#ofSession = ofSession
  }

  /**
   * A directory stands for the files in it, in the order of their names, but for hidden ones (`_…`, `.…`); a pattern for what it
   * matches.
   */
  async resolveText(
    paths: readonly string[],
    minPartitions: number,
    options: AbortOptions = {},
  ): Promise<TextSplit[]> {
    const blocks: TextBlock[] = []
    for (const { path, fileId, blocks: stored, packed, midLine } of await this.#found(
      paths,
      'lines',
      options,
    )) {
      if (packed) {
        const bytes = sizeOf(stored)
        blocks.push({ fileId, block: 0, blockId: stored[0]!.blockId, bytes, packed: stored })
        continue
      }
      if (midLine !== undefined) throw lineTooLong(path, midLine)
      for (const [block, { blockId, bytes }] of stored.entries())
        blocks.push({ fileId, block, blockId, bytes })
    }
    return textSplits(blocks, minPartitions)
  }

  async resolveFiles(
    paths: readonly string[],
    { cut = 'binary', ...options }: ResolveOptions = {},
  ): Promise<FoundFile[]> {
    return await this.#found(paths, cut, options)
  }

  async keep(content: Uint8Array, options: AbortOptions = {}): Promise<FoundFile> {
    const path = await this.#ofSession.keep(content, options)
    const [found] = await this.#found([path], 'binary', options)
    if (found === undefined) throw new ShoalError('NOT_FOUND', { path }, `${path} is gone`)
    return found
  }

  /** Each file's version, blocks and compression. `midLine`: first partition that begins a line which it does not end. */
  async #found(
    paths: readonly string[],
    localCut: FoundFile['cut'],
    options: AbortOptions,
  ): Promise<(FoundFile & { midLine: number | undefined })[]> {
    const entries: (Pick<FileEntry, 'path' | 'format'> & { shown?: string })[] = []
    for (const path of paths) {
      const ofPath = isLocalPath(path)
        ? this.#ofSession.local(path, localCut, options)
        : this.#filesOf(path, options)
      entries.push(...(await ofPath))
    }
    const found: (FoundFile & { midLine: number | undefined })[] = []
    await inParallel(
      entries.entries(),
      FIND_AT_ONCE,
      options.signal,
      async ([index, { path, format, shown }]) => {
        const { fileId, sizeBytes, partitions } = await this.#files.locate(path, options)
        const midLine = partitions.find(place => place.midLine === true)?.index
        const packed = sizeBytes > 0 && (await this.#isPacked(path, fileId, options))
        const cut = midLine === undefined ? (format ?? 'lines') : 'binary'
        const blocks = partitions.map(({ blockId, bytes }) => ({ blockId, bytes }))
        found[index] = { path: shown ?? path, fileId, cut, packed, midLine, blocks }
      },
    )
    return found
  }

  async #isPacked(path: string, fileId: FileId, options: AbortOptions): Promise<boolean> {
    const head: Uint8Array[] = []
    for await (const chunk of this.#files.get(path, { ...options, fileId, end: PACKED_HEAD_BYTES }))
      head.push(chunk)
    return isPacked(Buffer.concat(head))
  }

  async #filesOf(path: string, options: AbortOptions): Promise<FileEntry[]> {
    const files: FileEntry[] = []
    const entries = await expandPattern(this.#files, path, options).catch((error: unknown) => {
      throw hasCode(error, 'NOT_FOUND') && existsSync(unescaped(path)) ? isHere(path) : error
    })
    for (const entry of entries) {
      if (entry.type === 'file') files.push(entry)
      else files.push(...(await this.#files.ls(entry.path, options)).filter(isVisible))
    }
    return files
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

  async commitOutput(
    path: string,
    parts: readonly OutputPart[],
    { suffix = '', overwrite = false, ...options }: CommitOptions = {},
  ): Promise<void> {
    const winner = `${this.#session}/${++this.#commits}`
    await this.#access.callAttached(
      commitOutput,
      {
        path,
        winner,
        suffix,
        overwrite,
        parts: parts.map(({ file }) => {
          const [fileId = '', blockCount = '0'] = file.split(' ')
          return { fileId, blockCount: Number(blockCount) }
        }),
      },
      options,
    )
  }
}

function isVisible({ type, name }: FileEntry): boolean {
  return type === 'file' && !/^[._]/.test(name)
}

/** Somebody who comes from Spark in local mode. */
function isHere(path: string): ShoalError {
  const local = isAbsolute(path) ? `file://${path}` : `file:${path}`
  return new ShoalError(
    'NOT_FOUND',
    { path },
    `there is no ${path} in the mesh; there is one on this machine: read it as '${local}', or put it into the mesh (shoal fs put)`,
  )
}

function lineTooLong(path: string, index: number): ShoalError {
  return new ShoalError(
    'PLAN_INVALID',
    { reason: `a line of ${path} is too long` },
    `${path}: a line that begins in partition ${index} is longer than a partition may be; ` +
      `put the file again with a larger partition size (--partition-bytes), or read it as binary`,
  )
}
