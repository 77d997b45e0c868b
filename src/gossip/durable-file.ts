import { open, rename, unlink } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { crc32 } from 'node:zlib'

/** Bytes summed or written between two turns of the event loop: about 1 ms of work. */
const SLICE_BYTES = 1024 * 1024

/** A name that a crash may leave behind; whoever finds it deletes it. */
export const TEMPORARY_SUFFIX = '.tmp'

/** CRC-32 over the parts, in slices that let heartbeats through. */
export async function sumInSlices(parts: readonly Uint8Array[]): Promise<number> {
  let sum = 0
  for (const part of parts) {
    for (let at = 0; at < part.byteLength; at += SLICE_BYTES) {
      sum = crc32(part.subarray(at, at + SLICE_BYTES), sum)
      if (part.byteLength > SLICE_BYTES) await setImmediate()
    }
  }
  return sum
}

/** Creates or replaces a file whole: after a crash there is the old one or the new one, never a mixture. */
export async function replaceFile(
  file: string,
  parts: readonly Uint8Array[],
  openFile: typeof open = open,
): Promise<void> {
  await prepareFile(file, parts, openFile)
  await placeFile(file)
}

/** The first half of `replaceFile`, the long one: nothing is changed yet. */
export async function prepareFile(
  file: string,
  parts: readonly Uint8Array[],
  openFile: typeof open = open,
): Promise<void> {
  const temporary = file + TEMPORARY_SUFFIX
  try {
    await using handle = await openFile(temporary, 'w', 0o600)
    for (const part of parts) await handle.appendFile(part)
    await handle.datasync()
  } catch (error) {
    await unlink(temporary).catch(() => undefined)
    throw error
  }
}

/** The second half. */
export async function placeFile(file: string): Promise<void> {
  await rename(file + TEMPORARY_SUFFIX, file)
  await syncDirectory(path.dirname(file))
}

/** Makes creations, renames and deletions in it durable. */
export async function syncDirectory(directory: string): Promise<void> {
  await using handle = await open(directory, 'r')
  await handle.sync()
}
