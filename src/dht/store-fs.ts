/**
 * What the block store needs of the file system: `node:fs/promises` fits as it is, and so does a disk that fails, lies or
 * forgets. Errors are those of Node: `error.code` is `ENOENT`, `ENOSPC`, `EDQUOT`, `EIO`, `EROFS` …
 */
export interface StoreFs {
  /** `r`: a file or a directory (only to sync it); `wx`: a new file, EEXIST when it is there. */
  open(path: string, flags: 'r' | 'wx'): Promise<StoreFile>
  mkdir(path: string, options: { recursive: true }): Promise<unknown>
  /** Names, in any order. */
  readdir(path: string): Promise<string[]>
  readFile(path: string): Promise<Uint8Array>
  /** Replaces what is there. Durable once the directory was synced. */
  rename(from: string, to: string): Promise<void>
  rm(path: string, options: { recursive?: boolean; force: true }): Promise<void>
  unlink(path: string): Promise<void>
  stat(path: string): Promise<{ size: number; mtimeMs: number }>
  /** Seconds since 1970, as Node has it. The time is a hint (when a block was last verified): a crash may lose it. */
  utimes(path: string, atime: number, mtime: number): Promise<void>
  statfs(path: string): Promise<{ bavail: number; bsize: number }>
}

export interface StoreFile extends AsyncDisposable {
  /** May read less than asked for; 0 at the end of the file. */
  read(bytes: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>
  /** At the end of what was written so far. May write less than it was given. */
  writev(chunks: Uint8Array[]): Promise<{ bytesWritten: number }>
  /** What was written survives a crash, once its directory was synced too. */
  datasync(): Promise<void>
  /** Of a directory: its renames survive a crash. */
  sync(): Promise<void>
  close(): Promise<void>
}
