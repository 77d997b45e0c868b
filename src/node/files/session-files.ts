import { basename } from 'node:path'
import { pathToFileURL } from 'node:url'
import { raceAbort, ShoalError, withDeadline, type AbortOptions } from '../../base/index.ts'
import type { FileFormat } from '../../dht/index.ts'
import { SESSION_FILES } from '../config.ts'
import type { FileSystem } from './file-system.ts'
import { readLocal, type LocalSource } from './local-file.ts'
import { localFiles, localVersion, type LocalVersion } from './local-paths.ts'
import { uploadFile } from './upload.ts'

/** A file of the mesh that stands for one of this machine. */
export interface StoredLocal {
  /** In the mesh. */
  path: string
  /** As a URL of this machine: what readers of whole files and errors tell. */
  shown: string
  format: FileFormat
}

/** Bytes of a local file on their way into the mesh. */
export interface LocalProgress {
  path: string
  bytes: number
  sizeBytes: number
}

export interface SessionFilesOptions {
  session: string
  /** Something is stored: the session must be known to the leader for as long as this process lives. */
  onStored: () => void
  onProgress?: ((progress: LocalProgress) => void) | undefined
}

interface Upload {
  path: Promise<string>
  abort: AbortController
  /** Callers that wait for it; the last to go ends it. */
  waiting: number
}

/**
 * Files of the mesh that last as long as one session: local files that datasets read, stored once for each version, and
 * elements that came from a stream. They lie in one folder, which is removed at the session's end, by the leader when the
 * process cannot do it itself.
 */
export class SessionFiles {
  readonly #files: FileSystem
  readonly #options: SessionFilesOptions
  readonly #uploads = new Map<string, Upload>()
  #stored = 0
  #storedBytes = 0

  constructor(files: FileSystem, options: SessionFilesOptions) {
    this.#files = files
    this.#options = options
  }

  get folder(): string {
    return `${SESSION_FILES.folder}/${this.#options.session}`
  }

  /** What a `file:` path stands for, stored in the mesh. @throws LOCAL_FILE, and as `fs.upload` does */
  async local(path: string, format: FileFormat, options: AbortOptions = {}): Promise<StoredLocal[]> {
    const stored: StoredLocal[] = []
    for (const file of await localFiles(path)) {
      const shown = pathToFileURL(file.path).href
      stored.push({ path: await this.#uploaded(file, format, options), shown, format })
    }
    return stored
  }

  /** Bytes of this process; the path they have in the mesh. */
  async keep(content: Uint8Array, options: AbortOptions = {}): Promise<string> {
    const openAt = (start: number): AsyncIterable<Uint8Array> => pieces(content.subarray(start))
    const source = { label: 'a stream', sizeBytes: content.byteLength, openAt, bytes: openAt(0) }
    return await this.#store(source, 'elements', 'binary', options)
  }

  /** Removes all of them; what is left for want of a leader, the next leader removes. */
  async close(): Promise<void> {
    for (const { abort } of this.#uploads.values()) {
      abort.abort(new ShoalError('CANCELLED', { what: 'storing a local file: the mesh was closed' }))
    }
    this.#uploads.clear()
    if (this.#stored === 0) return
    using deadline = withDeadline('removing the files of a session', SESSION_FILES.closeTimeoutMs)
    const removed = this.#files.rm(this.folder, { recursive: true, skipTrash: true, signal: deadline })
    await removed.catch(() => undefined)
  }

  async #uploaded(file: LocalVersion, format: FileFormat, { signal }: AbortOptions): Promise<string> {
    signal?.throwIfAborted()
    const key = `${file.path} ${file.version} ${format}`
    let upload = this.#uploads.get(key)
    if (upload === undefined) {
      const abort = new AbortController()
      const path = this.#upload(file, format, abort.signal)
      upload = { path, abort, waiting: 0 }
      this.#uploads.set(key, upload)
      path.catch(() => this.#uploads.delete(key))
    }
    upload.waiting++
    try {
      return await (signal === undefined ? upload.path : raceAbort(upload.path, signal))
    } finally {
      // Of one that is done this has no effect.
      if (--upload.waiting === 0 && signal?.aborted === true) upload.abort.abort(signal.reason)
    }
  }

  async #upload(file: LocalVersion, format: FileFormat, signal: AbortSignal): Promise<string> {
    const { path, sizeBytes } = file
    this.#storedBytes += sizeBytes
    try {
      if (this.#storedBytes > SESSION_FILES.localBytesMax) {
        const gib = SESSION_FILES.localBytesMax / 2 ** 30
        const reason = `a session stores at most ${gib} GiB of local files`
        const advice = `put it into the mesh (shoal fs put ${path} /…) and read it from there`
        throw new ShoalError('LOCAL_FILE', { path, reason }, `${path}: ${reason}; ${advice}`)
      }
      const source = await readLocal(path)
      const stored = await this.#store(source, basename(path), format, { signal })
      if ((await localVersion(path)).version !== file.version) {
        const reason = 'it changed while it was read'
        throw new ShoalError('LOCAL_FILE', { path, reason }, `cannot read ${path}: ${reason}`)
      }
      return stored
    } catch (error) {
      this.#storedBytes -= sizeBytes
      throw error
    }
  }

  async #store(
    source: LocalSource,
    name: string,
    format: FileFormat,
    { signal }: AbortOptions,
  ): Promise<string> {
    this.#options.onStored()
    const path = `${this.folder}/${this.#stored++}-${name.replaceAll(/[^\w.-]/g, '_').slice(-NAME_MAX)}`
    const { label, sizeBytes = 0 } = source
    const { onProgress } = this.#options
    let bytes = 0
    const onBytes = (more: number): void => {
      bytes += more
      onProgress?.({ path: label, bytes, sizeBytes })
    }
    const { replication } = SESSION_FILES
    await uploadFile(this.#files, source, path, { parents: true, format, replication, signal, onBytes })
    return path
  }
}

const NAME_MAX = 64
const PIECE_BYTES = 256 * 1024

async function* pieces(content: Uint8Array): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < content.byteLength; at += PIECE_BYTES) yield content.subarray(at, at + PIECE_BYTES)
}
