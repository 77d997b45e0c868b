import { hasCode, sleep, type AbortOptions, type FileId } from '../../base/index.ts'
import type { FileClient } from '../../dht/index.ts'

export type FollowEvent =
  | { type: 'bytes'; bytes: Uint8Array }
  /** Another file has the path now; its bytes follow from the first. */
  | { type: 'replaced' }
  /** Nothing has the path for now. */
  | { type: 'gone' }

export interface FollowOptions extends AbortOptions {
  /** Where to begin in the file that is there now. @default its end */
  start?: number
  /** The version that `start` counts in; another one that has the path by now is followed from its first byte. @default the one that is there */
  fileId?: FileId
  /** Between two looks. @default 1_000 */
  pollMs?: number
}

/**
 * What is appended to a file from now on, for as long as the caller asks: ends only with the signal's reason.
 * @throws NOT_FOUND, IS_A_DIRECTORY when there is no such file at the beginning
 */
export async function* followFile(
  files: Pick<FileClient, 'stat' | 'get'>,
  path: string,
  options: FollowOptions = {},
): AsyncGenerator<FollowEvent, never> {
  const { signal, pollMs = 1_000 } = options
  const first = await files.stat(path, { signal })
  let version: FileId | undefined = options.fileId ?? first.fileId
  let at = options.start ?? first.sizeBytes
  for (;;) {
    try {
      const { fileId, sizeBytes } = await files.stat(path, { signal })
      if (fileId !== version) {
        if (version !== undefined) yield { type: 'replaced' }
        version = fileId
        at = 0
      }
      if (fileId !== undefined && sizeBytes > at) {
        for await (const bytes of files.get(path, { start: at, fileId, signal })) {
          at += bytes.length
          yield { type: 'bytes', bytes }
        }
        continue
      }
    } catch (error) {
      signal?.throwIfAborted()
      if (!hasCode(error, 'NOT_FOUND')) throw error
      if (version !== undefined) yield { type: 'gone' }
      version = undefined
      at = 0
    }
    await sleep(pollMs, { signal })
  }
}
