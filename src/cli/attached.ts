import type { AsOf } from '../dht/index.ts'
import type { Mesh } from '../node/index.ts'
import { interruptible } from './interrupt.ts'
import type { Settings } from './settings.ts'
import { staleNote } from './stale-note.ts'
import { note } from './terminal.ts'

/** Attaches to the mesh, does the work, and lets go. Ctrl-C aborts the signal. */
export async function attached<T>(
  settings: Settings,
  work: (mesh: Mesh, signal: AbortSignal) => Promise<T>,
  options: { name?: string } = {},
): Promise<T> {
  const { connect } = await import('../node/index.ts')
  return await interruptible(async signal => {
    const { peer, key } = settings
    let oldest: AsOf | undefined
    const mesh = await connect({
      ...(peer === undefined ? {} : { peer }),
      ...(key === undefined ? {} : { keyFile: key }),
      name: options.name ?? 'shoal',
      ...(settings.wait ? { onWaiting: once(() => note('waiting for a leader …')) } : { waitMs: 0 }),
      onStale: asOf => {
        if (oldest === undefined || ageOf(asOf) > ageOf(oldest)) oldest = asOf
      },
      signal,
    })
    try {
      return await work(mesh, signal)
    } finally {
      if (oldest !== undefined) note(staleNote(oldest))
      await mesh.close()
    }
  })
}

/** Of one that heard nobody since it began nothing is known. */
function ageOf({ ageMs = Infinity }: AsOf): number {
  return ageMs
}

function once(work: () => void): () => void {
  let isDone = false
  return () => {
    if (!isDone) work()
    isDone = true
  }
}
