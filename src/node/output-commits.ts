import { asFileId, fromWire, type Transport } from '../base/index.ts'
import { commitOutput } from './log-messages.ts'
import type { MeshLog } from './mesh-log.ts'

/** Commits the output of a saved dataset for a client: one log entry makes all its files visible. */
export function outputHandler(transport: Transport, meshLog: MeshLog): void {
  transport.handle(commitOutput, async ({ head, signal }) => {
    const parts = head.parts.map(({ fileId, blockCount }) => ({ fileId: asFileId(fileId), blockCount }))
    const { path, winner } = head
    const result = await meshLog.proposeDht({ type: 'commit-output', path, winner, parts }, { signal })
    if (!result.ok) throw fromWire(result.error)
    return { files: result.files }
  })
}
