import { resolve } from 'node:path'
import type { Mesh } from '../../node/index.ts'
import { Interrupted } from '../interrupt.ts'
import { reportError } from '../error-report.ts'
import type { Settings } from '../settings.ts'
import { errorColors, note } from '../terminal.ts'
import { JobBar } from './job-bar.ts'
import { importJob } from './job-file.ts'
import { RunningJobs } from './running-jobs.ts'
import { SkewNotes } from './skew-notes.ts'

/** A module that has ended but left its mesh open keeps the process; after so long without a job it is told. */
const FORGOTTEN_MS = 5_000

/**
 * `shoal run`. Ctrl-C cancels the jobs of the module and ends with 130, the second at once.
 * @throws what the module throws, SYNTAX_ERROR, LOCAL_FILE
 */
export async function runJob(file: string, args: readonly string[], settings: Settings): Promise<void> {
  // For modules that call connect() by themselves.
  if (settings.peer !== undefined) process.env['SHOAL_PEER'] = settings.peer
  if (settings.key !== undefined) process.env['SHOAL_KEY'] = resolve(settings.key)
  process.argv = [process.argv[0] ?? process.execPath, resolve(file), ...args]
  const library = await import('./job-library.ts')
  const bar = new JobBar()
  const skew = new SkewNotes()
  const meshes = new Map<Mesh, RunningJobs>()
  library.watchMeshes(mesh => {
    meshes.set(
      mesh,
      new RunningJobs(mesh, event => {
        bar.onEvent(event)
        skew.onEvent(event)
      }),
    )
  })

  let isInterrupted = false
  const onInterrupt = (): void => {
    const interrupted = new Interrupted()
    if (isInterrupted) process.exit(reportError(interrupted))
    isInterrupted = true
    bar[Symbol.dispose]()
    void stopAll(meshes).finally(() => process.exit(reportError(interrupted)))
  }
  process.on('SIGINT', onInterrupt)
  process.on('SIGTERM', onInterrupt)

  try {
    const { default: job } = await importJob(file)
    if (typeof job === 'function') {
      await using mesh = await library.connect({ name: 'shoal run' })
      await (job as (mesh: unknown, args: readonly string[]) => unknown)(mesh, args)
    }
  } catch (error) {
    // What ends because of Ctrl-C is reported once, above.
    if (isInterrupted) await new Promise(() => {})
    for (const mesh of meshes.keys()) await mesh.close()
    throw error
  } finally {
    bar[Symbol.dispose]()
  }
  remind(file, meshes)
}

async function stopAll(meshes: ReadonlyMap<{ close(): Promise<void> }, RunningJobs>): Promise<void> {
  for (const [mesh, jobs] of meshes) {
    const trouble = await jobs.cancelAll('interrupted at the terminal')
    if (trouble !== undefined) note(errorColors.dim(`the leader could not be told: ${trouble}`))
    await mesh.close()
  }
}

/** A module may go on after its last line, so it is not ended; but an open mesh would keep it forever. */
function remind(file: string, meshes: ReadonlyMap<unknown, RunningJobs>): void {
  setTimeout(() => {
    if (meshes.size === 0) return
    const isBusy = [...meshes.values()].some(({ count }) => count > 0)
    if (isBusy || !process.getActiveResourcesInfo().includes('TCPSocketWrap')) return
    note(
      `${file} has ended but seems to have left its mesh open: write \`await using mesh = await connect()\`, or close() it. ` +
        'Ctrl-C ends it now.',
    )
  }, FORGOTTEN_MS).unref()
}
