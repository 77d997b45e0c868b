import type { Settings } from '../settings.ts'
import { attached } from '../attached.ts'
import { colors, isWatched, note, print, printJson, shown } from '../terminal.ts'

/** `shoal job result`. @throws what the job failed with, RESULT_GONE, JOB_UNKNOWN */
export async function showResult(jobId: string, keep: boolean, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const job = mesh.detachedJob(jobId)
    const { status, parts } = await job.status({ signal })
    if (status === 'running' && isWatched())
      note(
        colors.dim(
          `${parts.done} of ${parts.of} parts are done; waiting for the rest (Ctrl-C leaves the job alone)`,
        ),
      )
    const result = await job.result({ signal, keep })
    const { path } = await job.status({ signal })
    if (settings.json) printJson(path === undefined ? { result: plain(result) } : { path })
    else if (path !== undefined) print(`saved in ${path}`)
    else if (Array.isArray(result))
      for (const row of result) print(typeof row === 'string' ? row : shown(row))
    else print(typeof result === 'string' ? result : shown(result))
  })
}

/** As JSON has it: what it has no word for becomes what is nearest. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  if (value instanceof Map) return [...value].map(plain)
  if (value instanceof Set) return [...value].map(plain)
  if (Array.isArray(value)) return value.map(plain)
  if (value === null || typeof value !== 'object' || value instanceof Date) return value
  if (ArrayBuffer.isView(value))
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]))
}
