import { ShoalError, sleep, type Transport } from '../../base/index.ts'
import { detachedPartAt, detachedStatus, type JobRecord } from '../../rdd/index.ts'
import type { MeshLog } from '../mesh-log.ts'
import { partsDirectory } from './detached-keeper.ts'

/** Tells how detached jobs stand: any peer can, from its own state, once that is as new as the question. */
export function answerDetached(parts: {
  transport: Pick<Transport, 'handle'>
  meshLog: Pick<MeshLog, 'state' | 'readBarrier' | 'onApplied' | 'onRestored'>
}): void {
  const { transport, meshLog } = parts
  const { state } = meshLog
  /** Those who wait for an end. */
  const waiting = new Set<() => void>()
  const wake = (): void => {
    for (const each of waiting) each()
  }
  meshLog.onApplied(({ part }) => {
    if (part === 'rdd') wake()
  })
  meshLog.onRestored(wake)

  const ended = async (jobId: string, waitMs: number, signal: AbortSignal): Promise<void> => {
    const over = new AbortController()
    const change = Promise.withResolvers<void>()
    const look = (): void => {
      if (state.jobs.get(jobId)?.status !== 'running') change.resolve()
    }
    waiting.add(look)
    try {
      look()
      await Promise.race([
        change.promise,
        sleep(waitMs, { signal: AbortSignal.any([signal, over.signal]) }).catch(() => undefined),
      ])
    } finally {
      waiting.delete(look)
      over.abort()
    }
  }

  transport.handle(detachedStatus, async ({ head: { jobId, waitMs }, signal }) => {
    await meshLog.readBarrier({ signal })
    if (waitMs > 0) await ended(jobId, waitMs, signal)
    const job = state.jobs.get(jobId)
    if (job?.detached === undefined) {
      const text = `${jobId} is no detached job that the mesh remembers`
      throw new ShoalError('JOB_UNKNOWN', { job: jobId }, text)
    }
    const { name, status, startedMs, endedMs, reason, code, keptUntilMs, detached } = job
    return {
      jobId,
      name,
      status,
      startedMs,
      detached,
      partsDone: partsDone(job),
      ...(endedMs !== undefined && { endedMs }),
      ...(reason !== undefined && { reason }),
      ...(code !== undefined && { code }),
      ...(keptUntilMs !== undefined && { keptUntilMs }),
    }
  })

  function partsDone({ jobId, status, detached }: JobRecord): number {
    if (status === 'done') return detached?.partitions ?? 0
    const directory = partsDirectory(jobId)
    if (!state.namespace.exists(directory)) return 0
    return state.namespace.list(directory).filter(({ path }) => detachedPartAt(path) !== undefined).length
  }
}
