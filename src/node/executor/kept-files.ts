import { randomUUID } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { mkdir, open, readdir, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { ShoalError } from '../../base/index.ts'
import {
  checkFrame,
  damaged,
  FRAME_HEAD_BYTES,
  framedChunks,
  frameHead,
  readFrameHead,
} from '../../rdd/index.ts'
import { spillFailure } from './spill-files.ts'

/**
 * Files of kept partitions, written by workers as they compute, or here when memory runs out or a copy comes from another
 * peer. Each chunk has its checksum. Nothing here outlives the process: the directory is emptied when the peer starts.
 */
export class KeptFiles {
  readonly directory: string
  readonly #peer: string
  readonly #reserveBytes: number

  /** @param options.reserveBytes free space of the disk that is left to others. @param options.peer named in errors. */
  constructor(options: { directory: string; peer: string; reserveBytes: number }) {
    this.directory = options.directory
    this.#peer = options.peer
    this.#reserveBytes = options.reserveBytes
  }

  async open(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true })
    await mkdir(this.directory, { recursive: true })
  }

  /** @throws DISK_FULL, DISK_FAILED, and what the chunks throw: then there is no file. */
  async write(
    { partition }: { partition: number },
    chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ): Promise<{ path: string; sizeBytes: number }> {
    const path = join(this.directory, `${partition}-${randomUUID()}.rows`)
    let sizeBytes = 0
    try {
      const { bavail, bsize } = await statfs(this.directory)
      const freeBytes = bavail * bsize
      if (freeBytes < this.#reserveBytes) throw new ShoalError('DISK_FULL', { peer: this.#peer, freeBytes })
      const file = await open(path, 'w')
      try {
        for await (const chunk of chunks) {
          await file.writev([frameHead(chunk), chunk])
          sizeBytes += FRAME_HEAD_BYTES + chunk.length
        }
      } finally {
        await file.close()
      }
    } catch (error) {
      await rm(path, { force: true })
      throw error instanceof ShoalError ? error : spillFailure(this.#peer, 'write', error)
    }
    return { path, sizeBytes }
  }

  /** Who has it open reads on. */
  remove(path: string): void {
    void rm(path, { force: true }).catch(() => {
      // It goes when the peer starts again.
    })
  }

  /** What a thread wrote and did not hand over before it died. @param isKnown Files that are handed over. */
  async removeOf(threadPrefix: string, isKnown: (path: string) => boolean): Promise<void> {
    for (const name of await readdir(this.directory).catch(() => [])) {
      const path = join(this.directory, name)
      if (name.startsWith(threadPrefix) && !isKnown(path)) this.remove(path)
    }
  }

  /** The bytes of a file as they are, in pieces. Ends early when it cannot be read: the reader's checks say so. */
  async *frames(path: string): AsyncGenerator<Uint8Array, void, undefined> {
    const file = await open(path, 'r')
    try {
      for (;;) {
        const piece = new Uint8Array(PIECE_BYTES)
        const { bytesRead } = await file.read(piece, 0, piece.length, null)
        if (bytesRead === 0) return
        yield piece.subarray(0, bytesRead)
      }
    } finally {
      await file.close()
    }
  }
}

const PIECE_BYTES = 256 * 1024

/** Chunks as frames, for another peer. */
export async function* framed(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for (const chunk of chunks) {
    yield frameHead(chunk)
    yield chunk
  }
}

/** The chunks of frames that come in any pieces, each checked. @throws KEPT_DAMAGED */
export async function* unframed(
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let waiting: Uint8Array[] = []
  let bytes = 0
  let needed = FRAME_HEAD_BYTES
  for await (const piece of pieces) {
    waiting.push(piece)
    bytes += piece.length
    while (bytes >= needed) {
      const all = waiting.length === 1 ? waiting[0]! : Buffer.concat(waiting, bytes)
      waiting = [all]
      const head = readFrameHead(all.subarray(0, FRAME_HEAD_BYTES))
      needed = FRAME_HEAD_BYTES + head.bytes
      if (bytes < needed) break
      yield checkFrame(all.subarray(FRAME_HEAD_BYTES, needed), head.crc)
      waiting = bytes === needed ? [] : [all.subarray(needed)]
      bytes -= needed
      needed = FRAME_HEAD_BYTES
    }
  }
  if (bytes > 0) throw damaged('it is cut off')
}

/** The chunks of a file, read without waiting by whoever has nothing else to do meanwhile. Undefined when it is not there. */
export function readKeptFile(path: string, sizeBytes: number): Iterable<Uint8Array> | undefined {
  let descriptor: number
  try {
    descriptor = openSync(path, 'r')
  } catch {
    return undefined
  }
  return chunksOf(descriptor, sizeBytes)
}

function* chunksOf(descriptor: number, sizeBytes: number): Generator<Uint8Array, void, undefined> {
  try {
    yield* framedChunks((start, end) => {
      const bytes = new Uint8Array(end - start)
      for (let at = 0; at < bytes.length;) {
        const read = readSync(descriptor, bytes, at, bytes.length - at, start + at)
        if (read === 0) throw damaged('it is cut off')
        at += read
      }
      return bytes
    }, sizeBytes)
  } finally {
    closeSync(descriptor)
  }
}
