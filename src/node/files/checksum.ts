import { createHash } from 'node:crypto'
import type { FileClient, ReadOptions } from '../../dht/index.ts'

export interface FileChecksum {
  path: string
  algorithm: 'SHA-256'
  /** 64 hexadecimal digits over the bytes of the file, the same as `sha256sum` gives. */
  value: string
  sizeBytes: number
}

/**
 * A checksum of the content alone: equal bytes have equal checksums, however they are cut, copied or named. The mesh knows it of a
 * file of one partition; of a larger one all bytes are read.
 */
export async function checksumOf(
  files: Pick<FileClient, 'locate' | 'get'>,
  path: string,
  options: ReadOptions & { onBytes?: (bytes: number) => void } = {},
): Promise<FileChecksum> {
  const { onBytes, ...reading } = options
  const { fileId, sizeBytes, partitions } = await files.locate(path, reading)
  const [only] = partitions
  if (only !== undefined && partitions.length === 1) {
    onBytes?.(sizeBytes)
    return { path, algorithm: 'SHA-256', value: only.sha256, sizeBytes }
  }
  const hash = createHash('sha256')
  for await (const chunk of files.get(path, { ...reading, fileId })) {
    hash.update(chunk)
    onBytes?.(chunk.length)
  }
  return { path, algorithm: 'SHA-256', value: hash.digest('hex'), sizeBytes }
}
