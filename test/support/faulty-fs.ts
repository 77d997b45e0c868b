import * as fs from 'node:fs/promises'
import type { StoreFile, StoreFs } from '../../src/dht/index.ts'

export type FsOperation = Exclude<keyof StoreFs | keyof StoreFile, symbol>

/** True when this operation on this path is to fail. */
export type FaultRule = (operation: FsOperation, path: string) => boolean

/** The real file system, but for the operations that a rule makes fail. Rules can be set and taken back at any time. */
export class FaultyFs implements StoreFs {
  /** Operations so far, with the names of their files. */
  readonly calls: { operation: FsOperation; path: string }[] = []
  readonly #rules = new Map<FaultRule, string>()
  #freeBytes: number | undefined

  /** From now on `rule`'s operations reject with `code`; returns how to end that. */
  fail(code: 'EIO' | 'ENOSPC' | 'EROFS', rule: FaultRule): () => void {
    this.#rules.set(rule, code)
    return () => this.#rules.delete(rule)
  }

  /** What `statfs` says is free; undefined for the truth. */
  setFree(bytes: number | undefined): void {
    this.#freeBytes = bytes
  }

  async open(path: string, flags: 'r' | 'wx'): Promise<StoreFile> {
    this.#check('open', path)
    const file = await fs.open(path, flags)
    return {
      read: async (bytes, offset, length, position) => {
        this.#check('read', path)
        return file.read(bytes, offset, length, position)
      },
      writev: async chunks => {
        this.#check('writev', path)
        return file.writev(chunks)
      },
      datasync: async () => {
        this.#check('datasync', path)
        await file.datasync()
      },
      sync: async () => {
        this.#check('sync', path)
        await file.sync()
      },
      close: () => file.close(),
      [Symbol.asyncDispose]: () => file.close(),
    }
  }

  async mkdir(path: string, options: { recursive: true }): Promise<void> {
    this.#check('mkdir', path)
    await fs.mkdir(path, options)
  }

  async readdir(path: string): Promise<string[]> {
    this.#check('readdir', path)
    return fs.readdir(path)
  }

  async readFile(path: string): Promise<Uint8Array> {
    this.#check('readFile', path)
    return fs.readFile(path)
  }

  async rename(from: string, to: string): Promise<void> {
    this.#check('rename', from)
    await fs.rename(from, to)
  }

  async rm(path: string, options: { recursive?: boolean; force: true }): Promise<void> {
    this.#check('rm', path)
    await fs.rm(path, options)
  }

  async unlink(path: string): Promise<void> {
    this.#check('unlink', path)
    await fs.unlink(path)
  }

  async stat(path: string): Promise<{ size: number; mtimeMs: number }> {
    this.#check('stat', path)
    return fs.stat(path)
  }

  async utimes(path: string, atime: number, mtime: number): Promise<void> {
    this.#check('utimes', path)
    await fs.utimes(path, atime, mtime)
  }

  async statfs(path: string): Promise<{ bavail: number; bsize: number }> {
    this.#check('statfs', path)
    const truth = await fs.statfs(path)
    if (this.#freeBytes === undefined) return truth
    return { bavail: this.#freeBytes, bsize: 1 }
  }

  #check(operation: FsOperation, path: string): void {
    this.calls.push({ operation, path })
    for (const [rule, code] of this.#rules) {
      if (rule(operation, path)) {
        throw Object.assign(new Error(`${code}: planted failure, ${operation} '${path}'`), { code })
      }
    }
  }
}
