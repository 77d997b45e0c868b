import { toWire, type Logger } from '../../base/index.ts'
import { JOBS, type JobsResult } from '../../rdd/index.ts'
import type { FileService } from '../../dht/index.ts'
import type { MeshLog } from '../mesh-log.ts'
import { collect } from '../relay.ts'
import type { DetachedPorts } from './detached-keeper.ts'

/** The log and the files of this peer, as the keeper of detached jobs sees them. */
export function detachedPorts(parts: {
  meshLog: Pick<MeshLog, 'state' | 'proposeDht' | 'proposeJob'>
  files: Pick<FileService, 'open'>
  log: Logger
}): DetachedPorts {
  const { meshLog, files, log } = parts
  const { state } = meshLog
  return {
    jobs: () => state.jobs.list(),
    exists: path => state.namespace.exists(path),
    list: path => (state.namespace.exists(path) ? state.namespace.list(path) : undefined),
    read: async (path, { signal }) => {
      const { body } = await files.open(path, { signal })
      return await collect(body, JOBS.planBytesMax)
    },
    record: async (command, options) => (await meshLog.proposeJob(command, options)) as JobsResult,
    commitOutput: async ({ marker, ...output }, options) => {
      const result = await meshLog.proposeDht(
        { type: 'commit-output', ...output, parts: [], marker },
        options,
      )
      return result.ok ? undefined : result.error
    },
    remove: async (path, options) => {
      const result = await meshLog.proposeDht({ type: 'rm', path, recursive: true }, options)
      if (!result.ok) log.debug({ path, error: toWire(result.error) }, 'a directory of a detached job stays')
    },
    epochMs: () => Date.now(),
    log,
  }
}
