import { hasCode } from '../base/index.ts'
import type { FileService } from '../dht/index.ts'
import { PEER } from './config.ts'
import type { PartTarget, StoredPart } from './executor/part-files.ts'

/**
 * Stores the part file that a task writes. One of a dataset that somebody gathers waits, invisible, to be committed with the
 * others; one that counts by itself becomes a file of its job's directory, unless another attempt's is there already. That
 * directory is not made here: when it is gone the job is over.
 */
export async function storePart(
  files: Pick<FileService, 'put' | 'writeOpen'>,
  { path, format, replication, kept }: PartTarget,
  source: AsyncIterable<Uint8Array>,
): Promise<StoredPart> {
  if (!kept) {
    const options = { format, replication, parents: true, leaseMs: PEER.partLeaseMs }
    const { fileId, blockCount, bytes } = await files.writeOpen(path, source, options)
    return { file: `${fileId} ${blockCount}`, bytes }
  }
  try {
    const { fileId, partitions, bytes } = await files.put(path, source, { format, replication })
    return { file: `${fileId} ${partitions}`, bytes }
  } catch (error) {
    if (!hasCode(error, 'ALREADY_EXISTS')) throw error
    // The task may still be writing: it is let go on to its end, or until it is called off.
    let bytes = 0
    for await (const chunk of source) bytes += chunk.byteLength
    return { file: '', bytes }
  }
}
