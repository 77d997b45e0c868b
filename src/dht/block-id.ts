import { asBlockId, asFileId, type BlockId, type FileId } from '../base/index.ts'

/** A block id taken apart: partition `index` of file `fileId`, as written by the attempt `writeId`. */
export interface BlockName {
  fileId: FileId
  index: number
  /** 1–16 hexadecimal digits, new for each attempt to write, so that two attempts never share a file on disk. */
  writeId: string
}

export const FILE_ID_PATTERN = /^[0-9a-f]{32}$/
/** Also what keeps a block id from ever being a path: no dot, no slash. */
export const BLOCK_ID_PATTERN = /^([0-9a-f]{32})-(0|[1-9][0-9]{0,7})-([0-9a-f]{1,16})$/

export function blockIdOf(fileId: FileId, index: number, writeId: string): BlockId {
  return asBlockId(`${fileId}-${index}-${writeId}`)
}

/** Undefined when the text is no block id. */
export function parseBlockId(text: string): BlockName | undefined {
  const match = BLOCK_ID_PATTERN.exec(text)
  if (match === null) return undefined
  return { fileId: asFileId(match[1]!), index: Number(match[2]), writeId: match[3]! }
}
