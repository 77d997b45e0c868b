import type { StoredBlock, TextSplit } from './plan.ts'

export interface TextBlock {
  fileId: string
  /** Index in its file. */
  block: number
  blockId: string
  bytes: number
  /** All blocks of its file, when that is compressed: it is one split then. */
  packed?: StoredBlock[]
}

/** The last split of a block may be so much larger than the others, before one more is made (Hadoop's FileInputFormat). */
const SPLIT_SLOP = 1.1

/** At least `minPartitions` splits where the bytes allow: blocks are cut evenly, never joined. An empty block is one split. */
export function textSplits(blocks: readonly TextBlock[], minPartitions: number): TextSplit[] {
  const total = blocks.reduce((sum, block) => sum + block.bytes, 0)
  const goalBytes = Math.max(1, Math.ceil(total / minPartitions))
  return blocks.flatMap(({ fileId, block, blockId, bytes, packed }) => {
    if (packed !== undefined)
      return [{ fileId, block, blockId, start: 0, end: bytes, blockBytes: bytes, packed }]
    const splits: TextSplit[] = []
    let start = 0
    while ((bytes - start) / goalBytes > SPLIT_SLOP) {
      splits.push({ fileId, block, blockId, start, end: start + goalBytes, blockBytes: bytes })
      start += goalBytes
    }
    if (start < bytes || bytes === 0)
      splits.push({ fileId, block, blockId, start, end: bytes, blockBytes: bytes })
    return splits
  })
}
