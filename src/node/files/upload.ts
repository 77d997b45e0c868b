import { hasCode, sleep, type ErrorCode } from '../../base/index.ts'
import type { ClientPutOptions, FileClient, PutReply } from '../../dht/index.ts'
import { counted, matchingBytes } from './download.ts'
import type { LocalSource } from './local-file.ts'

export interface UploadOptions extends ClientPutOptions {
  /** Told of bytes that were taken, in any number of steps; a negative number has to be sent again. */
  onBytes?: (bytes: number) => void
  /** Told that it goes on after its peer died. */
  onRetry?: (error: unknown) => void
}

export interface Uploaded extends PutReply {
  path: string
  /** The very same bytes were there already; nothing was written. */
  unchanged?: true
}

/** The peer is gone, or the mesh is between two leaders; another try may do well. */
const WORTH_A_RETRY: readonly ErrorCode[] = [
  'CONNECTION_LOST',
  'UNREACHABLE',
  'TIMEOUT',
  'NO_QUORUM',
  'NOT_LEADER',
  'UNKNOWN_OUTCOME',
  'UNDER_REPLICATED',
]
/** Without any progress; with the pauses between them enough to find another leader. */
const TRIES_MAX = 8
const RETRY_MS = 100
const RETRY_MS_MAX = 5_000

/**
 * Stores a local file and makes it visible, whole. When the peer that takes it dies, or the mesh has no leader for a while, it goes on
 * with the partition that is not stored yet; a source that can be read only once is not tried again.
 * @throws what `FileClient.put` does, LOCAL_FILE
 */
export async function uploadFile(
  files: FileClient,
  source: LocalSource,
  path: string,
  options: UploadOptions = {},
): Promise<Uploaded> {
  const { onBytes = () => {}, onRetry, ...put } = options
  const { openAt } = source
  if (openAt === undefined) return { path, ...(await putFrom(files, path, source.bytes, put, onBytes)) }
  let reported = 0
  const report = (bytes: number): void => {
    reported += bytes
    onBytes(bytes)
  }
  for (let tries = 0; ; tries++) {
    try {
      report(-reported)
      return { path, ...(await putFrom(files, path, openAt(0), put, report)) }
    } catch (error) {
      put.signal?.throwIfAborted()
      // The answer to an earlier try may have been lost, not its effect.
      if (hasCode(error, 'ALREADY_EXISTS') && tries > 0) {
        const there = await sameContent(files, path, openAt, source.sizeBytes, put.signal)
        if (there !== undefined) {
          report(there.bytes - reported)
          return { path, ...there, unchanged: true }
        }
      }
      const isHopeful = WORTH_A_RETRY.some(code => hasCode(error, code))
      if (!isHopeful || tries >= TRIES_MAX) throw error
      onRetry?.(error)
      await sleep(Math.min(RETRY_MS * 2 ** tries, RETRY_MS_MAX), { signal: put.signal })
    }
  }
}

async function sameContent(
  files: FileClient,
  path: string,
  openAt: NonNullable<LocalSource['openAt']>,
  sizeBytes: number | undefined,
  signal: AbortSignal | undefined,
): Promise<PutReply | undefined> {
  const there = await files.locate(path, { signal })
  if (there.sizeBytes !== sizeBytes) return undefined
  if ((await matchingBytes(openAt(0), there.partitions)) !== sizeBytes) return undefined
  return { fileId: there.fileId, bytes: sizeBytes, partitions: there.partitions.length, index: 0 }
}

async function putFrom(
  files: FileClient,
  path: string,
  source: AsyncIterable<Uint8Array>,
  options: ClientPutOptions,
  onBytes: (bytes: number) => void,
): Promise<PutReply> {
  const failure: { error?: unknown } = {}
  const watched = async function* (): AsyncGenerator<Uint8Array, void> {
    try {
      yield* counted(source, onBytes)
    } catch (error) {
      failure.error = error
      throw error
    }
  }
  return await files.put(path, watched(), options).catch((error: unknown) => {
    // The mesh only learns that the bytes stopped; why is known here.
    throw failure.error ?? error
  })
}
