import { createHash, randomBytes } from 'node:crypto'
import { hasCode, ShoalError, sleep, type ErrorCode } from '../../base/index.ts'
import type { ClientPutOptions, FileClient, PutReply } from '../../dht/index.ts'
import { counted, matchingBytes } from './download.ts'
import type { LocalSource } from './local-file.ts'

export interface UploadOptions extends ClientPutOptions {
  /**
   * Keep what is stored for a day when it is interrupted, and go on from there when the same file is put to the same path again. What is
   * stored is compared with the local file first. @default false: kept for the retries of this call only
   */
  resume?: boolean
  /** Told of bytes that were taken, in any number of steps; a negative number has to be sent again. `before`: by an earlier attempt. */
  onBytes?: (bytes: number, before?: boolean) => void
  /** Told that it goes on after its peer died. */
  onRetry?: (error: unknown, resumedAt: number) => void
}

export interface Uploaded extends PutReply {
  path: string
  /** Bytes that were stored by an earlier attempt. */
  resumedAt?: number
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
/** Smaller files are sent again as a whole. */
const RESUMABLE_BYTES_MIN = 2 ** 20

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
  const { resume = false, onBytes = () => {}, onRetry, ...put } = options
  const { openAt } = source
  if (openAt === undefined) {
    if (resume) throw notResumable(source.label)
    return { path, ...(await putFrom(files, path, source.bytes, put, onBytes)) }
  }
  const token = resume ? tokenOf(source, path, put) : randomBytes(16).toString('hex')
  const isResumable = resume || (source.sizeBytes ?? 0) >= RESUMABLE_BYTES_MIN
  let reported = 0
  let furthest = 0
  const report = (bytes: number, before?: boolean): void => {
    reported += bytes
    onBytes(bytes, before)
  }
  for (let tries = 0; ; tries++) {
    let start = NOTHING
    try {
      if (isResumable && (resume || tries > 0)) start = await storedOf(files, path, token, openAt, put.signal)
      if (start.bytes > furthest) {
        furthest = start.bytes
        tries = 0
      }
      report(start.bytes - reported, true)
      const from = start.blocks > 0 ? { from: start.blocks } : {}
      const resumable = isResumable ? { token, keep: resume, ...from } : {}
      const reply = await putFrom(files, path, openAt(start.bytes), { ...put, ...resumable }, bytes =>
        report(bytes),
      )
      return { path, ...reply, ...(start.bytes > 0 && { resumedAt: start.bytes }) }
    } catch (error) {
      put.signal?.throwIfAborted()
      // The answer to an earlier try may have been lost, not its effect.
      if (hasCode(error, 'ALREADY_EXISTS') && (resume || tries > 0)) {
        const there = await sameContent(files, path, openAt, source.sizeBytes, put.signal)
        if (there !== undefined) {
          report(there.bytes - reported, true)
          return { path, ...there, unchanged: true }
        }
      }
      // What was stored may be gone meanwhile, or taken over by another process.
      const isHopeful =
        WORTH_A_RETRY.some(code => hasCode(error, code)) || (isResumable && hasCode(error, 'LEASE_LOST'))
      if (!isHopeful || tries >= TRIES_MAX) throw error
      onRetry?.(error, furthest)
      await sleep(Math.min(RETRY_MS * 2 ** tries, RETRY_MS_MAX), { signal: put.signal })
    }
  }
}

/** What the mesh has of an interrupted upload, and is what the local file has there. */
interface Stored {
  blocks: number
  bytes: number
}

const NOTHING: Stored = { blocks: 0, bytes: 0 }

async function storedOf(
  files: FileClient,
  path: string,
  token: string,
  openAt: NonNullable<LocalSource['openAt']>,
  signal: AbortSignal | undefined,
): Promise<Stored> {
  const [open] = await files.openWrites(path, { token, signal })
  const blocks = (open?.blocks ?? []).toSorted((a, b) => a.index - b.index)
  const gap = blocks.findIndex(({ index }, at) => index !== at)
  const run = (gap === -1 ? blocks : blocks.slice(0, gap)).map(({ sizeBytes, sha256 }) => ({
    bytes: sizeBytes,
    sha256,
  }))
  const bytes = run.reduce((sum, block) => sum + block.bytes, 0)
  if (bytes === 0) return NOTHING
  // All or nothing: partitions after one that differs would be cut elsewhere.
  const matched = await matchingBytes(openAt(0), run)
  return matched === bytes ? { blocks: run.length, bytes } : NOTHING
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

/** The same file to the same path, cut alike, is the same upload; a file that changed is another one. */
function tokenOf(source: LocalSource, path: string, options: ClientPutOptions): string {
  const { format, partitionBytes, replication } = options
  const named = [path, source.sizeBytes, source.modifiedMs, format, partitionBytes, replication]
  return createHash('sha256').update(JSON.stringify(named)).digest('hex')
}

function notResumable(label: string): ShoalError {
  return new ShoalError(
    'LOCAL_FILE',
    { path: label, reason: 'it can be read only once' },
    `${label} can be read only once, so its upload cannot be resumed: put it without --resume, or from a file`,
  )
}
