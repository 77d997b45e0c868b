import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ShoalError, type MeshId, type PeerId } from '../base/index.ts'
import { salvageLog, seizeLog, setAside } from '../gossip/index.ts'
import { DataDirectory, readMeshRecord, type MeshRecord } from './data-directory.ts'
import { isSameLineage, loadIdentity, nextGeneration } from './net/index.ts'
import { lockHolder } from './process-lock.ts'

/** What is readable of a peer's directory; nothing is changed by looking. */
export interface DirectoryReport {
  directory: string
  meshId: MeshId
  name: string
  peerId: PeerId
  /** Of the process that has it open. */
  pid?: number
  term: number
  votedFor?: PeerId
  lastIndex: number
  lastTerm: number
  /** Everything up to here is known to be committed; what comes after it may or may not be. */
  committedAtLeast: number
  voters: readonly PeerId[]
  isDamaged: boolean
  /** It lost its log once and has not made up for it: what it has may be old. */
  forgot: boolean
}

/** @throws DATA_DIR_INVALID when it is no peer's directory */
export async function inspectDirectory(path: string): Promise<DirectoryReport> {
  const { meshId, name } = await meshOf(path)
  const { id } = await loadIdentity(path)
  const log = await salvageLog(join(path, 'meta'))
  const holder = await lockHolder(path)
  const votedFor = log.hardState?.votedFor
  return {
    directory: path,
    meshId,
    name,
    peerId: id,
    ...(holder !== undefined && { pid: holder.pid }),
    term: log.hardState?.term ?? 0,
    ...(votedFor !== undefined && { votedFor }),
    lastIndex: log.lastIndex,
    lastTerm: log.lastTerm,
    committedAtLeast: log.snapshot?.index ?? 0,
    voters: log.voters,
    isDamaged: log.isDamaged,
    forgot: log.forgot,
  }
}

/**
 * Makes the peer of this directory the only voter of a new generation of its mesh, with what is readable of its log. For
 * a mesh whose majority is lost for good; peers of the generation before are refused from then on. Whatever the lost peers
 * alone had acknowledged is gone. May be repeated after it was interrupted.
 * @throws DATA_DIR_LOCKED while the peer runs, DATA_DIR_INVALID
 */
export async function recoverMesh(
  path: string,
  wallMs = Date.now(),
): Promise<{ meshId: MeshId; was: MeshId }> {
  const before = await meshOf(path)
  await using directory = await DataDirectory.open(path)
  const { id } = await loadIdentity(path)
  const meshId = nextGeneration(before.meshId)
  // First, so that no crash on the way leaves a peer that leads alone in the generation of the others.
  await directory.writeMesh({ ...before, meshId, recoveredFrom: before.meshId })
  await seizeLog(directory.metaPath, id, wallMs)
  return { meshId, was: before.meshId }
}

/**
 * Brings a peer that was left behind into the generation that was recovered: it keeps its id and its blocks, and fetches the log anew.
 * @throws DATA_DIR_LOCKED, MESH_MISMATCH when that is no generation of its mesh
 */
export async function rejoinMesh(path: string, meshId: MeshId, wallMs = Date.now()): Promise<void> {
  const before = await meshOf(path)
  if (!isSameLineage(before.meshId, meshId) || before.meshId === meshId) {
    const text = `${path} belongs to mesh ${before.meshId}, of which ${meshId} is no other generation`
    throw new ShoalError('MESH_MISMATCH', { mine: before.meshId, theirs: meshId }, text)
  }
  await using directory = await DataDirectory.open(path)
  await setAside(directory.metaPath, `of generation ${before.meshId}, which was given up`, wallMs)
  await directory.writeMesh({ ...before, meshId, recoveredFrom: before.meshId })
}

async function meshOf(path: string): Promise<MeshRecord> {
  const record = existsSync(path) ? await readMeshRecord(path) : undefined
  if (record !== undefined) return record
  const reason = 'it belongs to no mesh'
  throw new ShoalError(
    'DATA_DIR_INVALID',
    { directory: path, reason },
    `${path} is no directory of a peer: ${reason}. Name the one that \`shoal peer --data\` was given, or .shoal/peers/NAME`,
  )
}
