import { open } from 'node:fs/promises'
import { z } from 'zod'
import { pack, unpack } from '../base/index.ts'
import { sumInSlices } from './durable-file.ts'
import { peerId } from './messages.ts'
import type { Snapshot } from './raft-types.ts'

const MAGIC = Buffer.from('SHOALSN1')
/** Magic, sum, length of the head. */
const PREFIX_BYTES = 16
const NAME = /^snap-(\d{16})$/

const metaSchema = z.object({
  index: z.number(),
  term: z.number(),
  timeMs: z.number(),
  voters: z.array(peerId),
})

export function snapshotName(index: number): string {
  return `snap-${String(index).padStart(16, '0')}`
}

/** Or undefined when the file is none. */
export function snapshotIndex(name: string): number | undefined {
  const digits = NAME.exec(name)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

/** What the file of a snapshot holds. */
export async function snapshotParts({ data, ...meta }: Snapshot): Promise<Uint8Array[]> {
  const head = pack(meta)
  const prefix = Buffer.alloc(PREFIX_BYTES)
  MAGIC.copy(prefix)
  prefix.writeUInt32LE(head.byteLength, 12)
  prefix.writeUInt32LE(await sumInSlices([prefix.subarray(12), head, data]), 8)
  return [prefix, head, data]
}

/** Undefined when it is damaged. */
export async function readSnapshotFile(file: string): Promise<Snapshot | undefined> {
  await using handle = await open(file, 'r')
  const bytes = await handle.readFile()
  if (bytes.byteLength < PREFIX_BYTES || !bytes.subarray(0, 8).equals(MAGIC)) return undefined
  if ((await sumInSlices([bytes.subarray(12)])) !== bytes.readUInt32LE(8)) return undefined
  const dataAt = PREFIX_BYTES + bytes.readUInt32LE(12)
  const meta = metaSchema.parse(unpack(bytes.subarray(PREFIX_BYTES, dataAt)))
  return { ...meta, data: new Uint8Array(bytes.buffer, bytes.byteOffset + dataAt, bytes.byteLength - dataAt) }
}
