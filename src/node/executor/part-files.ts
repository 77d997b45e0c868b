import { ShoalError } from '../../base/index.ts'
import type { FileFormat } from '../../dht/index.ts'

/** A part file that is stored durably; `file` is what commits it, unless it counts already (`PartTarget.kept`). */
export interface StoredPart {
  file: string
  bytes: number
}

/** The name of an attempt's part file, and where it may be cut. */
export interface PartTarget {
  path: string
  format: FileFormat
  /** Copies wanted. @default the mesh's */
  replication?: number | undefined
  /** It counts as soon as it is complete: the first attempt's stays, another's is thrown away. */
  kept: boolean
}

interface Part {
  push(chunk: Uint8Array): Promise<void>
  end(): void
  fail(error: Error): void
  done: Promise<StoredPart>
}

/** The part files that running tasks write into the mesh: streamed while the task runs, durable when it ends. */
export class PartFiles {
  readonly #putPart: (target: PartTarget, source: AsyncIterable<Uint8Array>) => Promise<StoredPart>
  readonly #open = new Map<string, Part>()

  constructor(putPart: (target: PartTarget, source: AsyncIterable<Uint8Array>) => Promise<StoredPart>) {
    this.#putPart = putPart
  }

  /** Resolves when the next bytes may come. */
  async write(key: string, target: PartTarget, bytes: Uint8Array): Promise<void> {
    let part = this.#open.get(key)
    if (part === undefined) this.#open.set(key, (part = openPart(source => this.#putPart(target, source))))
    await part.push(bytes)
  }

  /** Ends the file; an empty partition has an empty file. */
  async close(key: string, target: PartTarget): Promise<StoredPart> {
    const part = this.#open.get(key) ?? openPart(source => this.#putPart(target, source))
    this.#open.delete(key)
    part.end()
    return await part.done
  }

  async abandon(key: string): Promise<void> {
    const part = this.#open.get(key)
    if (part === undefined) return
    this.#open.delete(key)
    part.fail(new ShoalError('CANCELLED', { what: 'a part file of a failed task' }))
    await part.done.catch(() => {})
  }
}

/** A hand-over of one chunk at a time from `push` to the file's reader. */
function openPart(put: (source: AsyncIterable<Uint8Array>) => Promise<StoredPart>): Part {
  let chunk: Uint8Array | undefined
  let ended = false
  let failure: Error | undefined
  let taken = Promise.withResolvers<void>()
  let offered = Promise.withResolvers<void>()
  async function* source(): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (failure !== undefined) throw failure
      if (chunk !== undefined) {
        const bytes = chunk
        chunk = undefined
        yield bytes
        taken.resolve()
        continue
      }
      if (ended) return
      await offered.promise
      offered = Promise.withResolvers()
    }
  }
  const done = put(source())
  // Its failure is the writer's too: no push may wait for a reader that is gone.
  done.catch((error: unknown) => {
    failure ??= error instanceof Error ? error : new Error(String(error))
    taken.reject(failure)
  })
  taken.promise.catch(() => {})
  return {
    async push(bytes) {
      if (failure !== undefined) throw failure
      taken = Promise.withResolvers()
      chunk = bytes
      offered.resolve()
      await taken.promise
    },
    end() {
      ended = true
      offered.resolve()
    },
    fail(error) {
      failure = error
      offered.resolve()
    },
    done,
  }
}
