import { randomBytes } from 'node:crypto'
import { asFileId, fromWire, type Transport } from '../base/index.ts'
import { PEER } from './config.ts'
import { commitOutput, holdOutput } from './log-messages.ts'
import type { MeshLog } from './mesh-log.ts'

const FILE_ID_BYTES = 16

/** Keeps and commits the output of a saved dataset for a client: one log entry makes all its files visible. */
export function outputHandler(transport: Transport, meshLog: MeshLog): void {
  transport.handle(commitOutput, async ({ head, signal }) => {
    const parts = head.parts.map(({ fileId, blockCount }) => ({ fileId: asFileId(fileId), blockCount }))
    const { path, winner, suffix, overwrite } = head
    const marker = asFileId(randomBytes(FILE_ID_BYTES).toString('hex'))
    const command = { type: 'commit-output', path, winner, parts, suffix, overwrite, marker } as const
    const result = await meshLog.proposeDht(command, { signal })
    if (!result.ok) throw fromWire(result.error)
    return { files: result.files }
  })
  transport.handle(holdOutput, async ({ head, signal }) => {
    const fileIds = head.fileIds.map(asFileId)
    const leaseMs = PEER.partLeaseMs
    const result = await meshLog.proposeDht({ type: 'extend-leases', fileIds, leaseMs }, { signal })
    if (!result.ok) throw fromWire(result.error)
    return { held: result.extended }
  })
}
