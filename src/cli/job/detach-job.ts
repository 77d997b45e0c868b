import { resolve } from 'node:path'
import { ShoalError } from '../../base/errors.ts'
import type { DetachedJob, RDD } from '../../index.ts'
import { attached } from '../attached.ts'
import type { Settings } from '../settings.ts'
import { note, print, printJson } from '../terminal.ts'
import { importJob } from './job-file.ts'

/**
 * `shoal run --detach`: what the module's default export gives for the mesh is handed over to it, and this process may go.
 * @throws what the module throws, SYNTAX_ERROR, LOCAL_FILE, PLAN_INVALID for a module that gives nothing to hand over
 */
export async function detachJob(
  file: string,
  args: readonly string[],
  save: string | undefined,
  settings: Settings,
): Promise<void> {
  process.argv = [process.argv[0] ?? process.execPath, resolve(file), ...args]
  const { default: make } = await importJob(file)
  if (typeof make !== 'function') throw nothing(file)
  await attached(
    settings,
    async (mesh, signal) => {
      const made: unknown = await (make as (mesh: unknown, args: readonly string[]) => unknown)(mesh, args)
      const job = isJob(made) ? made : isDataset(made) ? await handedOver(made, save, signal) : undefined
      if (job === undefined) throw nothing(file)
      if (settings.json) printJson({ jobId: job.jobId })
      else {
        print(job.jobId)
        note(`the mesh goes on with it; \`shoal job result ${job.jobId}\` waits for its end`)
      }
    },
    { name: 'shoal run' },
  )
}

async function handedOver(
  rdd: RDD<unknown>,
  save: string | undefined,
  signal: AbortSignal,
): Promise<DetachedJob<unknown>> {
  const detached = rdd.detached({ signal })
  return save === undefined ? await detached.collect() : await detached.saveAsTextFile(save)
}

function isJob(made: unknown): made is DetachedJob<unknown> {
  return typeof made === 'object' && made !== null && 'jobId' in made && 'result' in made
}

function isDataset(made: unknown): made is RDD<unknown> {
  return (
    typeof made === 'object' && made !== null && 'detached' in made && typeof made.detached === 'function'
  )
}

function nothing(file: string): ShoalError<'PLAN_INVALID'> {
  const reason = `${file} gives nothing that could be detached`
  return new ShoalError(
    'PLAN_INVALID',
    { reason },
    `${reason}: with --detach its default export is a function of the mesh that returns an RDD, or what rdd.detached() gives`,
  )
}
