import { join } from 'node:path'
import { ShoalError, type BlockId } from '../base/index.ts'
import { BLOCK_ID_PATTERN } from './block-id.ts'
import { hashText } from './ring.ts'

/** Directories under `blocks/`, so that none holds more than a few thousand files at a million blocks. */
const FAN_OUT = 256

/** Where the data of a block is, or would be; for readers without the store (see block-file.ts). */
export function blockDataPath(directory: string, blockId: BlockId): string {
  return join(fanOf(directory, blockId), blockId)
}

/** The directory that holds the block's two files. */
export function fanOf(directory: string, blockId: BlockId): string {
  // Only ids of this form ever become file names, whatever a remote peer calls its blocks.
  if (!BLOCK_ID_PATTERN.test(blockId))
    throw new ShoalError('BAD_MESSAGE', { type: 'block id', reason: blockId })
  return join(directory, 'blocks', fanName(hashText(blockId) % FAN_OUT))
}

/** All directories of blocks. */
export function fansOf(directory: string): string[] {
  return Array.from({ length: FAN_OUT }, (_, fan) => join(directory, 'blocks', fanName(fan)))
}

function fanName(fan: number): string {
  return fan.toString(16).padStart(2, '0')
}
