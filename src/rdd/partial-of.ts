import type { PartialResult } from './job-runner.ts'

/** One partition's result as it travelled: rows and what was added to accumulators, apart. */
export function partialOf(
  partition: number,
  { bytes, updateBytes }: { bytes: Uint8Array; updateBytes?: number | undefined },
): PartialResult {
  if (updateBytes === undefined) return { partition, bytes }
  const end = bytes.byteLength - updateBytes
  return { partition, bytes: bytes.subarray(0, end), updates: bytes.subarray(end) }
}
