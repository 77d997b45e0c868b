import { decoded, type FileId } from '../../base/index.ts'
import {
  FileClient,
  type ClientPutOptions,
  type FileEntry,
  type PutReply,
  type ReadOptions,
} from '../../dht/index.ts'
import { checksumOf, type FileChecksum } from './checksum.ts'
import { copyTree, type TreeCopyOptions } from './copy-tree.ts'
import {
  downloadFile,
  downloadTree,
  type Downloaded,
  type DownloadOptions,
  type TreeDownloadOptions,
} from './download.ts'
import { followFile, type FollowEvent, type FollowOptions } from './follow.ts'
import { readLocal } from './local-file.ts'
import { scanLocal } from './local-tree.ts'
import { expandPattern, walkTree } from './tree.ts'
import { uploadTrees, type TreeUploadOptions } from './upload-tree.ts'
import { uploadFile, type Uploaded, type UploadOptions } from './upload.ts'

/** The files of the mesh, and their way from and to this machine: what `mesh.fs` is. */
export class FileSystem extends FileClient {
  /** What a path with `*`, `?`, `[a-c]` or `{a,b}` stands for, by path; `\` takes the next character as it is. @throws NOT_FOUND */
  async glob(pattern: string, options: ReadOptions = {}): Promise<FileEntry[]> {
    return await expandPattern(this, pattern, options)
  }

  /** Everything below a directory, each directory before what is in it. */
  walk(path: string, options: ReadOptions = {}): AsyncGenerator<FileEntry, void> {
    return walkTree(this, path, options)
  }

  /** SHA-256 of the content, as `sha256sum` gives it; how the file is cut does not matter. */
  async checksum(
    path: string,
    options: ReadOptions & { onBytes?: (bytes: number) => void } = {},
  ): Promise<FileChecksum> {
    return await checksumOf(this, path, options)
  }

  /** The bytes of a file without gzip or zstd, which its first bytes tell. @throws BAD_CONTENT */
  text(path: string, options: ReadOptions = {}): AsyncGenerator<Uint8Array, void> {
    return decoded(path, this.get(path, options))
  }

  /** What is appended to a file, until the signal aborts. */
  follow(path: string, options: FollowOptions = {}): AsyncGenerator<FollowEvent, never> {
    return followFile(this, path, options)
  }

  /**
   * Copies a file inside the mesh; cut and copied as it is there, unless told otherwise. The bytes pass through here.
   * @throws as `get` and `put` do
   */
  async cp(
    from: string,
    to: string,
    options: ClientPutOptions & { onBytes?: (bytes: number) => void } = {},
  ): Promise<PutReply> {
    const { onBytes, ...given } = options
    const { signal } = given
    const { fileId, format, partitionBytes, replication } = await this.stat(from, { signal })
    const like = {
      ...(format !== undefined && { format }),
      ...(partitionBytes !== undefined && { partitionBytes }),
      ...(replication !== undefined && { replication }),
    }
    return await this.put(to, this.#watched(from, fileId, onBytes, signal), { ...like, ...given })
  }

  /** Copies a directory with all in it, several files at a time. */
  async cpTree(from: string, to: string, options: TreeCopyOptions = {}): Promise<void> {
    await copyTree(this, from, to, options)
  }

  async *#watched(
    path: string,
    fileId: FileId | undefined,
    onBytes: ((bytes: number) => void) | undefined,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void> {
    const version = fileId === undefined ? {} : { fileId }
    for await (const chunk of this.get(path, { signal, ...version })) {
      onBytes?.(chunk.length)
      yield chunk
    }
  }

  /** Stores a local file (`-`: standard input). Goes on by itself when its peer dies. @throws LOCAL_FILE, as `put` does */
  async upload(local: string, path: string, options: UploadOptions = {}): Promise<Uploaded> {
    return await uploadFile(this, await readLocal(local), path, options)
  }

  /** Stores a local folder with all in it, several files at a time. Links, sockets and devices are left out. */
  async uploadTree(local: string, path: string, options: TreeUploadOptions = {}): Promise<void> {
    const tree = await scanLocal(local, options.signal === undefined ? {} : { signal: options.signal })
    await uploadTrees(this, [tree], path, options)
  }

  /** Copies a file to a local path, where it appears whole or not at all. @throws LOCAL_FILE */
  async download(path: string, local: string, options: DownloadOptions = {}): Promise<Downloaded> {
    return await downloadFile(this, path, local, options)
  }

  /** Copies a directory with all in it into a local folder, which is made. */
  async downloadTree(path: string, local: string, options: TreeDownloadOptions = {}): Promise<void> {
    await downloadTree(this, path, local, options)
  }
}
