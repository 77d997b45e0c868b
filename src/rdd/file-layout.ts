import type { FileRange, StoredBlock, StoredFile } from './plan.ts'

/** How files become partitions: pure arithmetic over what was found of them. */

/** A file as a dataset finds it when its first action runs. */
export interface FoundFile extends StoredFile {
  /** What its blocks end at. A block of lines that is only part of a line makes it `binary`. */
  cut: 'lines' | 'csv' | 'binary'
  /** It begins as gzip or zstd does: nobody can begin in the middle of it. */
  packed: boolean
}

export type FileLayout =
  /** Files as they are, small ones together: about `partitions` of them, never more than files. */
  | { by: 'bytes'; partitions: number }
  | { by: 'file' }
  /** A block is a partition where blocks end at the ends of records; other files are one partition each. */
  | { by: 'block'; cuts: readonly FoundFile['cut'][] }
  /** Told one by one. */
  | { by: 'range'; parts: readonly (readonly FileRange[])[] }
  /** Records of so many bytes: about a block of them is a partition. */
  | { by: 'record'; bytes: number }

export function sizeOf(blocks: readonly StoredBlock[]): number {
  return blocks.reduce((sum, { bytes }) => sum + bytes, 0)
}

/** The ranges of files that each partition reads, files in order. */
export function partsOf(files: readonly FoundFile[], layout: FileLayout): FileRange[][] {
  switch (layout.by) {
    case 'bytes':
      return together(files, layout.partitions)
    case 'file':
      return files.map((file, index) => [whole(file, index)])
    case 'block':
      return files.flatMap((file, index) =>
        file.packed || !layout.cuts.includes(file.cut)
          ? [[whole(file, index)]]
          : cutAt(file, index, end => end),
      )
    case 'range':
      return layout.parts.map(ranges => [...ranges])
    case 'record':
      return files.flatMap((file, index) =>
        file.packed
          ? [[whole(file, index)]]
          : cutAt(file, index, end => Math.ceil(end / layout.bytes) * layout.bytes),
      )
  }
}

/** Blocks that a range is read from. The first block is read for the names of columns in it: last, as it does not decide where to run. */
export function blocksRead({ blocks }: StoredFile, { start, end }: FileRange): string[] {
  const read: string[] = []
  let at = 0
  for (const { blockId, bytes } of blocks) {
    if (at < end && at + bytes > start) read.push(blockId)
    at += bytes
  }
  const first = blocks[0]?.blockId
  return first === undefined || read.includes(first) ? read : [...read, first]
}

function whole({ blocks }: StoredFile, file: number): FileRange {
  return { file, start: 0, end: sizeOf(blocks) }
}

/** One range a block, its end moved by `align`, but never past the file's; an empty file is one range. */
function cutAt(file: StoredFile, index: number, align: (end: number) => number): FileRange[][] {
  const sizeBytes = sizeOf(file.blocks)
  const ranges: FileRange[][] = []
  let start = 0
  let blockEnd = 0
  for (const { bytes } of file.blocks) {
    blockEnd += bytes
    const end = Math.min(align(blockEnd), sizeBytes)
    if (end > start) ranges.push([{ file: index, start, end }])
    start = Math.max(start, end)
  }
  return ranges.length === 0 ? [[whole(file, index)]] : ranges
}

/** Neighbours, as long as they stay within the share of a partition. */
function together(files: readonly FoundFile[], partitions: number): FileRange[][] {
  const share = Math.max(
    1,
    Math.ceil(files.reduce((sum, { blocks }) => sum + sizeOf(blocks), 0) / partitions),
  )
  const parts: FileRange[][] = []
  let bytes = Infinity
  for (const [index, file] of files.entries()) {
    const range = whole(file, index)
    if (bytes + range.end > share) {
      parts.push([])
      bytes = 0
    }
    parts.at(-1)!.push(range)
    bytes += range.end
  }
  return parts
}
