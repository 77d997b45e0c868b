import { ShoalError } from '../../base/errors.ts'
import type { FileRange, StoredFile } from '../plan.ts'
import type { TaskContext } from './task-context.ts'

/** What a reader of a file format gets: one range of one version of a file. */
export interface FileInput {
  path: string
  /** Of the whole file. */
  sizeBytes: number
  start: number
  end: number
  /** Bytes [start, end) of the file, checksums verified. */
  bytes(start: number, end: number): AsyncGenerator<Uint8Array, void, undefined>
  /** The same in one piece, counted as memory of the task. */
  gather(start: number, end: number): Promise<Uint8Array<ArrayBuffer>>
  /** The reader has so many bytes in memory now. @throws TASK_MEMORY */
  hold(bytes: number): void
}

/** A function over a range of a file, as a builtin. */
export type FileReader = (input: FileInput, signal: AbortSignal) => AsyncIterable<readonly unknown[]>

export function fileInput(
  task: TaskContext,
  { path, blocks }: StoredFile,
  { start, end }: Omit<FileRange, 'file'>,
  operator: string,
): FileInput {
  const sizeBytes = blocks.reduce((sum, block) => sum + block.bytes, 0)
  const memory = task.holding(operator)
  async function* bytes(from: number, to: number): AsyncGenerator<Uint8Array, void, undefined> {
    let at = 0
    for (const block of blocks) {
      const first = Math.max(from - at, 0)
      const last = Math.min(to - at, block.bytes)
      at += block.bytes
      if (first >= last) continue
      const holders = task.input.holders[block.blockId] ?? []
      for await (const chunk of task.ports.readBlock(block.blockId, first, last, holders)) {
        task.metrics.bytesRead += chunk.length
        yield chunk
      }
    }
  }
  return {
    path,
    sizeBytes,
    start,
    end,
    bytes,
    async gather(from, to) {
      const length = Math.max(0, Math.min(to, sizeBytes) - from)
      if (length > memory.bytes) memory.resize(length)
      const whole = new Uint8Array(length)
      let at = 0
      for await (const chunk of bytes(from, to)) {
        whole.set(chunk, at)
        at += chunk.length
      }
      return whole
    },
    hold: held => memory.resize(held),
  }
}

export function badContent(path: string, reason: string, cause?: unknown): ShoalError<'BAD_CONTENT'> {
  const options = cause === undefined ? {} : { cause }
  return new ShoalError('BAD_CONTENT', { path, reason }, `${path}: ${reason}`, options)
}
